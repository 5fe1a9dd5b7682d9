"""Counts of a PyTorch module, what it answers by, and its way back to transformers."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, SIZES, SPECIALS, build, make_tokenizer
from scipy.special import softmax
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from helpers.hardware_codesign import make, option
from helpers.lab import InputError, baseline, load_pretrained
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.models.model import Card
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters, model_digest
from helpers.model_optimization import distill, prune, quantize


@pytest.mark.parametrize("tokens", [8, 32])
def test_multiplications_are_those_of_the_architecture(tiny_model, tokens):
    """Each of 2 layers: 4 matrices of 64 x 64, 2 of 64 x 128, 2 products of T x T x 64; then pooler and classifier."""
    layer = tokens * (4 * 64 * 64 + 2 * 64 * 128) + 2 * tokens * tokens * 64
    assert count_macs(tiny_model.module, tokens) == 2 * layer + 64 * 64 + 64 * 3


def test_parameters_are_those_of_the_architecture(tiny_model):
    """Embeddings of 30,522 words, 128 places and 2 kinds; 2 layers; pooler; classifier; two numbers a norm."""
    layer = 4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64) + 2 * 2 * 64
    expected = (30522 + 128 + 2) * 64 + 2 * 64 + 2 * layer + (64 * 64 + 64) + (64 * 3 + 3)
    assert count_parameters(tiny_model.module) == expected


# The way back to transformers

TEXTS = ["the cat was seen near a big hammer", "rain and storm again today then", "", "a dog", "horse " * 30,
         "zzz qqq the", "fog"]
LABELS = ("animals", "tools", "weather", "else")


def opened(folder, texts):
    """(logits, label names) as transformers gives them, all texts in one padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).logits.numpy(), [model.config.id2label[number] for number in range(len(LABELS))]


def mean_pooled(name, folder, classes=4):
    """A small encoder under a linear layer on the mean of its token vectors, as `baseline` makes them."""
    kind, sizes, pad_id, framed = ARCHITECTURES[name]
    tokenizer = make_tokenizer(TEXTS[:4], pad_id, framed)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**sizes, vocab_size=len(tokenizer), pad_token_id=pad_id, bos_token_id=1,
                                         eos_token_id=2, cls_token_id=1, sep_token_id=2, initializer_range=0.3)
    module = MeanPoolClassifier(AutoModel.from_config(config), classes)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "norm" in name.lower() or "classifier" in name:
                weight += torch.randn_like(weight)
    labels = LABELS if classes == len(LABELS) else tuple(map(str, range(classes)))
    return TorchTextModel(Card(name, classes, labels=labels), TextEncoder.of_checkpoint(folder, 20), module)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "distilbert", "electra", "modernbert"])
def test_transformers_opens_a_mean_of_token_vectors_with_the_same_logits(tmp_path, name):
    model = mean_pooled(name, tmp_path)
    logits, labels = opened(model.to_transformers(tmp_path / "out"), TEXTS)
    assert tuple(labels) == LABELS
    np.testing.assert_allclose(logits, model.predict(TEXTS), atol=1e-5)
    assert np.ptp(logits) > 1


@pytest.mark.parametrize("name", ["albert", "mpnet", "gpt2"])
def test_a_mean_that_transformers_cannot_take_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(InputError, match=f"no classifier of the architecture {name} that takes the mean"):
        mean_pooled(name, tmp_path).to_transformers(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_of_more_classes_than_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="17 classes are too many for a head of 32 hidden values"):
        mean_pooled("distilbert", tmp_path, classes=17).to_transformers(tmp_path / "out")
    np.testing.assert_allclose(*(answer(mean_pooled("bert", tmp_path, classes=31)) for answer in (
        lambda model: model.predict(TEXTS),
        lambda model: opened(model.to_transformers(tmp_path / "out"), TEXTS)[0])), atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"qwen2"}))
def test_transformers_opens_a_loaded_classifier_with_the_same_logits(tiny_task, tmp_path, name):
    build(name, tmp_path / "from", tiny_task.train["text"][:], tiny_task.labels[::-1])
    model, texts = load_pretrained(tmp_path / "from", tiny_task), tiny_task.test["text"][:]
    folder = model.to_transformers(tmp_path / "to")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert tuple(classifier.config.id2label.values()) == tiny_task.labels
    with torch.inference_mode():
        logits = classifier(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
    np.testing.assert_allclose(logits.numpy(), model.predict(texts), atol=1e-5)
    np.testing.assert_allclose(load_pretrained(folder, tiny_task).predict(texts), model.predict(texts), atol=1e-5)


def test_a_tokenizer_that_transformers_does_not_take_from_the_folder_is_refused(tiny_task, tmp_path):
    """For Qwen2 it splits texts in its own way, which is Qwen's own; this test's tokenizer splits in another."""
    build("qwen2", tmp_path / "from", tiny_task.train["text"][:], tiny_task.labels)
    with pytest.raises(InputError, match="For a qwen2 transformers takes its own tokenizer"):
        load_pretrained(tmp_path / "from", tiny_task).to_transformers(tmp_path / "to")
    assert not (tmp_path / "to").exists()
    alphabet = {letter: number for number, letter in enumerate([*SPECIALS, *sorted(ByteLevel.alphabet())])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=alphabet, merges=[], unk_token="<unk>", pad_token="<x>",
                                            eos_token="</s>", bos_token="<s>")
    config = transformers.Qwen2Config(**SIZES, vocab_size=len(tokenizer), num_key_value_heads=2, pad_token_id=3,
                                      id2label=dict(enumerate(tiny_task.labels)))
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "bytes")
    tokenizer.save_pretrained(tmp_path / "bytes")
    model, texts = load_pretrained(tmp_path / "bytes", tiny_task), tiny_task.test["text"][:]
    again = load_pretrained(model.to_transformers(tmp_path / "to"), tiny_task)
    np.testing.assert_allclose(again.predict(texts), model.predict(texts), atol=1e-5)


def test_minilm_goes_to_transformers_and_comes_back(tiny_task, fresh_home, tmp_path):
    model, texts = baseline(tiny_task, epochs=0.4), [*tiny_task.test["text"][:], "caf\u00e9 " * 400]
    answers = transformers.pipeline("text-classification", model=str(model.to_transformers(tmp_path / "minilm")),
                                    top_k=None)(texts, truncation=True, batch_size=8)
    chances = [[answer["score"] for answer in sorted(row, key=lambda answer: tiny_task.labels.index(answer["label"]))]
               for row in answers]
    np.testing.assert_allclose(chances, softmax(model.predict(texts), axis=1), atol=1e-5)
    np.testing.assert_allclose(load_pretrained(tmp_path / "minilm", tiny_task).predict(texts), model.predict(texts),
                               atol=1e-5)


def test_weights_in_few_bits_are_written_as_the_numbers_that_they_stand_for(tiny_model, tiny_task, tmp_path):
    model = quantize(tiny_model, tiny_task, "weight-only", bits=4)
    folder = model.to_transformers(tmp_path / "out")
    texts = tiny_task.test["text"][:]
    np.testing.assert_allclose(load_pretrained(folder, tiny_task, labels=tiny_task.labels).predict(texts),
                               model.predict(texts), atol=1e-5)


def test_distilled_and_evenly_pruned_models_are_written_and_uneven_ones_refused(tiny_model, tiny_task, tmp_path):
    student = distill(tiny_model, tiny_task, layers=1, augmented=0, epochs=0.4)
    texts = tiny_task.test["text"][:]
    again = load_pretrained(student.to_transformers(tmp_path / "student"), tiny_task, labels=tiny_task.labels)
    np.testing.assert_allclose(again.predict(texts), student.predict(texts), atol=1e-5)
    masked = prune(tiny_model, tiny_task, "magnitude", 0.5)
    again = load_pretrained(masked.to_transformers(tmp_path / "masked"), tiny_task, labels=tiny_task.labels)
    np.testing.assert_allclose(again.predict(texts), masked.predict(texts), atol=1e-5)
    with pytest.raises(InputError, match=r"cannot describe the weights .*: layers of different widths"):
        prune(tiny_model, tiny_task, "structured", 0.5).to_transformers(tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_what_is_no_model_of_transformers_is_refused(tiny_model, tiny_task, tmp_path):
    with pytest.raises(InputError, match=r"its form \(dynamic int8\) is PyTorch's own. Write 'tiny'"):
        make(tiny_model, option("pytorch", "int8")).to_transformers(tmp_path / "out")
    with pytest.raises(InputError, match="a Sequential is none of its models"):
        TorchTextModel(tiny_model.card, tiny_model.encoder, torch.nn.Sequential(tiny_model.module)).to_transformers(
            tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="'out' is there already"):
        tiny_model.to_transformers(tmp_path / "out")


def test_rows_are_padded_to_no_more_than_the_positions(tiny_model):
    with pytest.raises(InputError, match="'tiny' has positions for 128 tokens: padding=128 at most"):
        make(tiny_model, option("pytorch", padding=129))


def test_a_digest_is_of_all_that_an_answer_depends_on(tiny_model):
    shorter = TorchTextModel(tiny_model.card, TextEncoder(Tokenizer.from_str(tiny_model.encoder.to_json()), 5),
                             tiny_model.module)
    squared = copy.deepcopy(tiny_model.module)
    squared.config.hidden_act = "relu2"
    one_off = copy.deepcopy(tiny_model.module)
    with torch.no_grad():
        one_off.classifier.bias[0] += 1
    others = [shorter, *(TorchTextModel(tiny_model.card, tiny_model.encoder, module) for module in (squared, one_off))]
    same = TorchTextModel(dataclasses.replace(tiny_model.card, name="another"), tiny_model.encoder, tiny_model.module)
    assert model_digest(same) == model_digest(tiny_model)
    assert len({model_digest(model) for model in [tiny_model, *others]}) == 4
