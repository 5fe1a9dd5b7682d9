"""Pruning by each method: its share is removed, it is recovered by training, and it loads again."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from tiny_texts import rows_and_labels, texts_of
from tiny_texts import trained as make_trained
from torch.nn import functional

from helpers.lab import Cancelled, InputError, compare, export, load, tfidf_baseline
from helpers.lab.data.tokenizer import pad
from helpers.lab.models.modules.classifiers import OwnHeadClassifier
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.progress import Progress
from helpers.model_optimization import METHODS, anatomy, prune, quantize
from helpers.model_optimization.encoder.parts import layer_weights

STRUCTURED = ["structured", "heads", "neurons", "layers", "width"]


@pytest.fixture(scope="module")
def made(tiny_model, tiny_task):
    """Each method at its default; the original must stay as it was."""
    state = copy.deepcopy(tiny_model.module.state_dict())
    result = {method: prune(tiny_model, tiny_task, method) for method in METHODS}
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny_model.module.state_dict().items())
    return result


@pytest.fixture(scope="module")
def trained(tiny_model, tiny_task):
    return make_trained(tiny_model, tiny_task, "trained", epochs=6)


@torch.inference_mode()
def training_loss(model, task) -> float:
    rows, labels = rows_and_labels(model, task)
    ids, mask = (torch.from_numpy(array) for array in pad(rows))
    return float(functional.cross_entropy(model.module(ids, mask), torch.tensor(labels)))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_structured_pruning_keeps_the_budget(tiny_model, tiny_task, share):
    model = prune(tiny_model, tiny_task, "structured", share)
    tokens = round(np.mean([len(row) for row in tiny_model.encoder.encode(texts_of(tiny_task))]))
    left = anatomy(model.module).macs(tokens) / anatomy(tiny_model.module).macs(tokens)
    assert 1 - share - 0.08 < left <= 1 - share
    assert model.card.macs == count_macs(model.module, tokens)
    assert model.card.parameters == count_parameters(model.module) < tiny_model.card.parameters


def test_each_method_removes_its_share(made):
    sizes = {method: model.card.settings["sizes"] for method, model in made.items()}
    whole = {"layers": 2, "heads": [4, 4], "neurons": [128, 128], "width": 64}
    assert sizes["magnitude"] == sizes["2:4"] == whole
    assert sum(sizes["heads"]["heads"]) == 4
    assert sum(sizes["neurons"]["neurons"]) == 128
    assert sizes["layers"]["layers"] == 1
    assert sizes["width"]["width"] == 32


@pytest.mark.parametrize("method", list(METHODS))
def test_a_pruned_model_answers_the_same_after_a_reload(made, tiny_task, tmp_path, method):
    made[method].save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.predict(texts_of(tiny_task)), made[method].predict(texts_of(tiny_task)))
    assert again.card == made[method].card


@pytest.mark.parametrize("method", STRUCTURED)
def test_what_is_removed_is_not_saved(made, tiny_model, tmp_path, method):
    made[method].save(tmp_path / "pruned")
    tiny_model.save(tmp_path / "whole")
    gone = tiny_model.card.parameters - made[method].card.parameters
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("whole", "pruned")]
    assert sizes[0] - sizes[1] == pytest.approx(4 * gone, abs=5000)  # names and shapes in the header


def test_a_model_cut_in_every_way_goes_to_the_other_runtimes(made, tiny_task):
    cut = prune(made["width"], tiny_task, "structured", 0.4)
    expected = cut.predict(texts_of(tiny_task))
    for runtime in ("onnxruntime", "openvino"):
        np.testing.assert_allclose(export(cut, runtime).predict(texts_of(tiny_task)), expected, atol=1e-4)
    int8 = quantize(cut, tiny_task, "dynamic-int8")
    assert 0 < np.abs(int8.predict(texts_of(tiny_task)) - expected).max() < expected.std()
    assert int8.card.settings["method"] == "structured"
    assert int8.card.parameters == cut.card.parameters


def test_pruned_models_stand_in_one_table(made, tiny_model, tiny_task):
    frame = compare([tiny_model, *made.values()], tiny_task, rows=4, rounds=2, energy=False, memory=False).frame()
    assert frame["model"].is_unique
    assert set(frame["strategy"][1:]) == {"model optimization"}
    dense = frame["artefact_mb"][0]
    assert frame["artefact_mb"][1] == pytest.approx(dense, rel=1e-3)  # zeros are stored like any other number


def test_a_classifier_with_its_own_head_is_cut_too(tiny_model, tiny_task, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
                        intermediate_size=128, initializer_range=0.15, num_labels=3)
    module = OwnHeadClassifier(BertForSequenceClassification(config))
    model = TorchTextModel(tiny_model.card, tiny_model.encoder, module)
    cut = prune(prune(model, tiny_task, "layers", 0.33), tiny_task, "structured", 0.5)
    assert cut.card.settings["sizes"]["layers"] == 2
    cut.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts_of(tiny_task)), cut.predict(texts_of(tiny_task)))
    with pytest.raises(InputError, match="The hidden width is cut only in models of baseline"):
        prune(model, tiny_task, "width")


def test_a_pruned_model_has_the_zeros_that_its_card_says(made):
    for method in ("magnitude", "2:4"):
        weights = layer_weights(made[method].module)
        zeros = sum(int((layer.weight == 0).sum()) for layer in weights.values())
        assert zeros == sum(layer.weight.numel() for layer in weights.values()) / 2
        assert made[method].card.settings["zeros"] == 0.5
    groups = torch.cat([layer.weight.reshape(-1, 4) for layer in layer_weights(made["2:4"].module).values()])
    assert ((groups != 0).sum(1) == 2).all()


@pytest.mark.parametrize("method", ["magnitude", "structured"])
def test_training_recovers_what_pruning_lost(trained, tiny_task, method):
    blind = dataclasses.replace(tiny_task, validation=None)
    cut = prune(trained, blind, method, 0.8)
    recovered = prune(trained, blind, method, 0.8, epochs=4, learning_rate=2e-3)
    assert training_loss(trained, tiny_task) < 0.5 * training_loss(cut, tiny_task)
    assert training_loss(recovered, tiny_task) < 0.7 * training_loss(cut, tiny_task)
    assert recovered.card.settings["zeros"] >= (0.8 if method == "magnitude" else 0)


def test_gradual_zeros_end_at_the_same_share(trained, tiny_task):
    model = prune(trained, tiny_task, "magnitude", 0.75, steps=3, epochs=3, learning_rate=1e-3)
    assert model.card.settings["zeros"] == 0.75
    assert model.card.name == "75% of weights zeroed, in 3 steps, recovered, PyTorch"


def test_a_teacher_pulls_the_answers_towards_its_own(trained, tiny_task):
    """The teacher here swaps two labels: who learns from it alone answers as it does, not as the labels say."""
    module = copy.deepcopy(trained.module)
    with torch.no_grad():
        module.classifier.weight[[0, 1]] = module.classifier.weight[[1, 0]]
        module.classifier.bias[[0, 1]] = module.classifier.bias[[1, 0]]
    wrong = TorchTextModel(dataclasses.replace(trained.card, name="wrong"), trained.encoder, module)
    own, taught = (prune(trained, tiny_task, "neurons", 0.5, epochs=10, learning_rate=3e-3, teacher=teacher)
                   for teacher in (None, wrong))
    texts = tiny_task.train["text"][:]
    agreement = [(model.predict(texts).argmax(1) == wrong.predict(texts).argmax(1)).mean() for model in (own, taught)]
    assert agreement[0] < 0.5 < 0.8 < agreement[1]
    assert taught.card.settings["teacher"] == "wrong"
    assert taught.card.name == "50% of neurons pruned, by taylor, recovered with its teacher, PyTorch"


def test_pruning_tells_its_progress_and_can_be_cancelled(tiny_model, tiny_task):
    reports = []
    prune(tiny_model, tiny_task, "neurons", 0.2, steps=2, epochs=1,
          progress=Progress(lambda fraction, message: reports.append(fraction)))
    assert reports == sorted(reports)
    assert 0.9 < reports[-1] <= 1
    with pytest.raises(Cancelled):
        prune(tiny_model, tiny_task, progress=Progress(cancelled=lambda: True))


@pytest.mark.parametrize(("options", "sentence"), [
    ({"method": "lottery"},
     r"Unknown pruning method 'lottery'. Choose one of: magnitude, 2:4, structured, .*width, or another N:M pattern\."),
    ({"method": "4:4"}, r"The pattern 4:4 must keep at least one weight and fewer than all, such as 2:4\."),
    ({"method": "2:5"}, r"have 64 weights: no multiple of 5\."),
    ({"method": "2:4", "sparsity": 0.7}, r"The pattern 2:4 makes 0\.5 of the weights zero, at once"),
    ({"sparsity": 1.0}, r"lies between 0 and 1, 1 left out; it was 1\.0\."),
    ({"sparsity": 0.99}, r"At most \d\d% can be cut: one head and 8 neurons per layer stay\."),
    ({"importance": "luck"}, r"Unknown importance 'luck'. Choose one of: taylor, magnitude\."),
    ({"scope": "row"}, r"Unknown sparsity scope 'row'. Choose one of: global, layer\."),
    ({"steps": 0}, r"at least one step"),
])
def test_what_cannot_be_pruned_is_refused_in_a_sentence(tiny_model, tiny_task, options, sentence):
    with pytest.raises(InputError, match=sentence):
        prune(tiny_model, tiny_task, **options)


def test_only_a_pytorch_model_is_pruned(tiny_task):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be pruned; .* runs in scikit-learn"):
        prune(tfidf_baseline(tiny_task), tiny_task)
