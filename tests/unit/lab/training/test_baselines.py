"""The model to beat: made once, cached, and made again when its entry is damaged; and classifiers from elsewhere."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax

from helpers.lab import Cancelled, InputError, baseline, compare, export, load, load_pretrained, load_task
from helpers.lab.data.tokenizer import Coverage
from helpers.lab.progress import Progress
from helpers.lab.training import baselines
from helpers.lab.training.weights import find_weights, short_name


@pytest.fixture
def made(monkeypatch, tiny_model, fresh_home):
    """Stands in for the training; the list of what it was asked for."""
    asked = []

    def make(task, encoder, epochs, max_length, seed, progress):
        asked.append((task.name, epochs, seed))
        return tiny_model

    monkeypatch.setattr(baselines, "_make", make)
    return asked


def entries(home) -> list:
    """Finished models in the cache."""
    return [path for path in (home / "cache" / "baselines").iterdir()
            if path.is_dir() and not path.name.startswith(".")]


def test_minilm_learns_the_task_and_a_second_call_comes_from_the_cache(tiny_task, fresh_home):
    reports = []
    first = baseline(tiny_task, epochs=1, progress=Progress(lambda fraction, message: reports.append(fraction)))
    texts = tiny_task.test["text"][:]
    assert (first.predict(texts).argmax(axis=1) == tiny_task.test["label"][:]).mean() >= 0.9
    assert first.card.name == "MiniLM-L6 fp32, PyTorch"
    assert 22_000_000 < first.card.parameters < 23_000_000  # 22.7 million, as published
    assert reports == sorted(reports)
    assert reports[-1] == 1.0

    second = baseline(tiny_task, epochs=1, progress=Progress(lambda *_: pytest.fail("trained again")))
    np.testing.assert_array_equal(second.predict(texts), first.predict(texts))
    assert second.card == first.card


def test_other_data_epochs_or_seeds_are_other_models(tiny_task, made):
    for task, options in [(tiny_task, {}), (tiny_task, {}), (tiny_task, {"seed": 1}), (tiny_task, {"epochs": 2}),
                          (tiny_task.take(train=50), {})]:
        baseline(task, **options)
    assert [(epochs, seed) for _, epochs, seed in made] == [(8.0, 0), (8.0, 1), (2, 0), (8.0, 0)]


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "weights.safetensors").write_bytes(b"half"),
    lambda folder: (folder / "model.json").unlink(),
    lambda folder: (folder / "tokenizer.json").write_text("{")], ids=["weights", "description", "tokenizer"])
def test_a_damaged_cached_model_is_quarantined_said_and_made_again(tiny_task, made, fresh_home, damage):
    before = baseline(tiny_task).predict(["a cat"])
    [folder] = entries(fresh_home)
    damage(folder)
    with pytest.warns(UserWarning, match=r"quarantined as .*damaged-1; it is made again"):
        again = baseline(tiny_task)
    assert len(made) == 2
    np.testing.assert_array_equal(again.predict(["a cat"]), before)
    assert folder.with_name(f"{folder.name}.damaged-1").is_dir()
    assert baseline(tiny_task).card == again.card
    assert len(made) == 2


def test_cancel_stops_the_training_and_leaves_no_entry(tiny_task, fresh_home):
    reports = []

    def cancelled():
        return any("step 1" in message for message in reports)

    with pytest.raises(Cancelled):
        baseline(tiny_task, epochs=4, progress=Progress(lambda _, message: reports.append(message), cancelled))
    assert reports[-1].startswith("fine-tuning: step 1 of 12")
    assert entries(fresh_home) == []


KILLED_WHILE_SAVING = """
import os, signal, sys
from helpers.lab import baseline, load, load_task
from helpers.lab.training import baselines
from helpers.lab.training.weights import find_weights
from helpers.lab.models import torch as torch_model
baselines._make = lambda *_: load(sys.argv[2])
torch_model.save_weights = lambda weights, path: (open(path, "wb").write(b"half"), os.kill(os.getpid(), signal.SIGKILL))
baseline(load_task(sys.argv[1]))
"""


def test_a_run_killed_while_it_saves_leaves_no_broken_entry(tiny_task, tiny_model, made, fresh_home, tmp_path):
    rows = [(text, tiny_task.labels[label]) for split in (tiny_task.train, tiny_task.test)
            for text, label in zip(split["text"], split["label"], strict=True)]
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    tiny_model.save(tmp_path / "model")
    arguments = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path / "rows.tsv"), str(tmp_path / "model")]
    done = subprocess.run(arguments, env=os.environ | {"HELPERS_HOME": str(fresh_home)}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert entries(fresh_home) == []
    task = load_task(tmp_path / "rows.tsv")
    baseline(task)
    baseline(task)
    assert len(made) == 1
    assert len(entries(fresh_home)) == 1


def test_images_are_refused():
    with pytest.raises(InputError, match="The baseline reads text; the task 'digits' has images"):
        baseline(load_task("digits"))


def test_another_encoder_gives_the_model_its_name(tiny_task, narrow_encoder, fresh_home):
    assert baseline(tiny_task, narrow_encoder, epochs=0.1).card.name == "narrow-encoder fp32, PyTorch"


def test_a_class_without_a_training_row_never_wins(tiny_task, narrow_encoder, fresh_home):
    rows = [row for row, label in enumerate(tiny_task.train["label"][:]) if label != 1]
    task = dataclasses.replace(tiny_task, train=tiny_task.train.select(rows))
    logits = baseline(task, narrow_encoder, epochs=1).predict(task.test["text"][:])
    assert softmax(logits, axis=1)[:, 1].max() < 1e-6


def test_the_mean_leaves_padding_out(tiny_model):
    ids, mask = torch.tensor([[101, 7592, 102]]), torch.tensor([[1, 1, 1]])
    padded = torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(mask, (0, 3))
    with torch.inference_mode():
        states = tiny_model.module.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        result = tiny_model.module.embed(*padded)
    torch.testing.assert_close(result, states.mean(dim=1), atol=1e-5, rtol=1e-5)


def classifier(folder: Path, labels: list[str], named: bool = True) -> Path:
    """A small BERT with a classifier's head, saved as `transformers` saves it, with MiniLM's tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(4)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
                        **(names if named else {"num_labels": len(labels)}))
    BertForSequenceClassification(config).save_pretrained(folder)
    shutil.copy(find_weights() / "tokenizer.json", folder)
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Knows the tiny task's labels, in another order."""
    return classifier(tmp_path_factory.mktemp("hub") / "my-classifier", ["weather", "animals", "tools"])


def answers_of_transformers(folder: Path, texts: list[str]) -> list[str]:
    """Label names as the library itself gives them, one text at a time."""
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    with torch.inference_mode():
        best = [int(model(torch.tensor([tokenizer.encode(text).ids])).logits.argmax()) for text in texts]
    return [model.config.id2label[index] for index in best]


def test_a_pretrained_classifier_answers_in_the_tasks_order_of_labels(pretrained, tiny_task):
    texts = tiny_task.test["text"][:]
    expected = answers_of_transformers(pretrained, texts)
    assert len(set(expected)) > 1
    answers = load_pretrained(pretrained, tiny_task).predict(texts).argmax(axis=1)
    assert [tiny_task.labels[answer] for answer in answers] == expected


def test_a_pretrained_classifier_is_named_after_its_folder(pretrained, tiny_task):
    assert load_pretrained(str(pretrained), tiny_task).card.name == "my-classifier fp32, PyTorch"


def test_a_pretrained_classifier_is_saved_loaded_and_exported_like_any_model(pretrained, tiny_task, tmp_path):
    model, texts = load_pretrained(pretrained, tiny_task), tiny_task.test["text"][:]
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict(texts), model.predict(texts))
    np.testing.assert_allclose(export(model, "onnxruntime").predict(texts), model.predict(texts), atol=1e-4)


def test_a_model_without_a_head_is_refused_with_the_right_call(tiny_task, tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path / "bare")
    shutil.copy(find_weights() / "tokenizer.json", tmp_path / "bare")
    with pytest.raises(InputError, match=r"'bare' has no head for classifying texts \(it is a BertModel\)") as caught:
        load_pretrained(tmp_path / "bare", tiny_task)
    assert "use baseline(task, encoder=...)" in str(caught.value)


def test_a_head_of_another_size_is_refused(tiny_task, tmp_path):
    folder = classifier(tmp_path / "two", ["animals", "tools"])
    with pytest.raises(InputError, match=r"knows 2 labels, the task 'tiny' has 3; .* for one, 'weather'"):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize(("labels", "named"), [(["animals", "tools", "plants"], True), (["a", "b", "c"], False)])
def test_a_head_of_other_labels_is_refused(tiny_task, tmp_path, labels, named):
    folder = classifier(tmp_path / "other", labels, named)
    missing = "weather" if named else "animals"
    with pytest.raises(InputError, match=f"it does not know, for one, '{missing}'"):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_is_refused_with_what_it_lacks(pretrained, tiny_task, tmp_path, file):
    folder = shutil.copytree(pretrained, tmp_path / "partial")
    (folder / file).unlink()
    with pytest.raises(InputError, match=f"The model folder 'partial' has no {file}"):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize("part", ["classifier", "bert.pooler"])
def test_a_head_without_its_weights_is_refused_and_named(pretrained, tiny_task, tmp_path, part):
    """transformers would fill it in with random numbers."""
    folder = shutil.copytree(pretrained, tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if not name.startswith(part)},
              folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"lacks weights that it needs .{part}\.\S*bias, {part}\.\S*weight"):
        load_pretrained(folder, tiny_task)


def test_code_that_comes_with_a_model_is_never_run(pretrained, tiny_task, tmp_path):
    folder = shutil.copytree(pretrained, tmp_path / "with-code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mischief", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(InputError, match=r"A folder's code is never run"):
        load_pretrained(folder, tiny_task)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_refused_by_name_with_the_way_out(pretrained, tiny_task, tmp_path):
    folder = shutil.copytree(pretrained, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin, a pickle .* save_pretrained"):
        load_pretrained(folder, tiny_task)


def test_torn_weights_are_a_sentence(pretrained, tiny_task, tmp_path):
    folder = shutil.copytree(pretrained, tmp_path / "torn")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match="The model in 'torn' cannot be read"):
        load_pretrained(folder, tiny_task)


def test_the_labels_of_a_reordered_head_are_saved_in_its_order(pretrained, tiny_task):
    config = load_pretrained(pretrained, tiny_task).module.config
    assert tuple(config.id2label[number] for number in range(3)) == tiny_task.labels


# Labels that a checkpoint does not name

def test_outputs_without_names_are_named_by_labels(tiny_task, tmp_path):
    folder = classifier(tmp_path / "unnamed", ["weather", "animals", "tools"], named=False)
    texts = tiny_task.test["text"][:]
    expected = answers_of_transformers(folder, texts)
    assert set(expected) <= {"LABEL_0", "LABEL_1", "LABEL_2"}
    names = {"LABEL_0": "weather", "LABEL_1": "animals", "LABEL_2": "tools"}
    model = load_pretrained(folder, tiny_task, labels=[*names.values()])
    answers = model.predict(texts).argmax(axis=1)
    assert [tiny_task.labels[answer] for answer in answers] == [names[one] for one in expected]
    assert model.card.labels == tiny_task.labels
    model.save(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "model.json").read_text())["labels"] == list(tiny_task.labels)
    assert load(tmp_path / "ours").card == model.card


def test_outputs_without_names_are_refused_with_the_call_to_make(tiny_task, tmp_path):
    folder = classifier(tmp_path / "unnamed", ["a", "b", "c"], named=False)
    with pytest.raises(InputError, match=r"its outputs have no names \(LABEL_0, …\)") as caught:
        load_pretrained(folder, tiny_task)
    assert 'load_pretrained("unnamed", task, labels=["animals", "tools", "weather"]), reordered' in str(caught.value)


@pytest.mark.parametrize(("labels", "sentence"), [
    (["animals", "tools"], "knows 3 labels, the task 'tiny' has 3; labels= names 2; .* for one, 'weather'"),
    (["animals", "tools", "plants"], "labels= names 'plants', but no 'weather'; the labels of the task 'tiny' are: 'a"),
    (["animals", "tools", "tools"], "labels= names no 'weather'; .* Name each once"),
    ("animals", "takes the names of the classes in a list"), ([0, 1, 2], "takes the names of the classes in a list")])
def test_labels_that_do_not_fit_are_refused(tiny_task, tmp_path, labels, sentence):
    folder = classifier(tmp_path / "unnamed", ["a", "b", "c"], named=False)
    with pytest.raises(InputError, match=sentence):
        load_pretrained(folder, tiny_task, labels=labels)


def test_labels_in_another_spelling_are_the_same_labels(tiny_task, tmp_path):
    """As load_task takes those of a second file."""
    folder, texts = classifier(tmp_path / "loud", ["Weather", " ANIMALS", "tools"]), tiny_task.test["text"][:]
    expected = [label.strip().lower() for label in answers_of_transformers(folder, texts)]
    answers = load_pretrained(folder, tiny_task).predict(texts).argmax(axis=1)
    assert [tiny_task.labels[answer] for answer in answers] == expected


# Names

def test_two_checkpoints_and_what_is_made_from_them_can_be_told_apart(pretrained, tiny_task, tmp_path):
    first, second = load_pretrained(pretrained, tiny_task), load_pretrained(pretrained, tiny_task, name="in March")
    assert (first.card.name, second.card.name) == ("my-classifier fp32, PyTorch", "in March")
    exported = [export(model, "onnxruntime").card.name for model in (first, second)]
    assert exported == ["my-classifier fp32, ONNX Runtime", "in March fp32, ONNX Runtime"]
    result = compare([first, second], tiny_task, rows=4, rounds=2, energy=False, memory=False)
    assert list(result.frame()["model"]) == ["my-classifier fp32, PyTorch", "in March"]
    second.save(tmp_path)
    assert export(load(tmp_path), "onnxruntime").card.name == "in March fp32, ONNX Runtime"


def test_a_name_is_given_to_cached_models_too_and_minilms_own_names_stay(tiny_task, made, tiny_model):
    assert baseline(tiny_task, name="in March").card.name == "in March"
    model = baseline(tiny_task)
    assert model.card.name == "MiniLM-L6 fp32, PyTorch"
    assert export(model, "onnxruntime").card.name == "fp32, ONNX Runtime"
    assert len(made) == 1
    assert tiny_model.card.name == "tiny"


@pytest.mark.parametrize(("given", "name"), [
    ("FacebookAI/roberta-base", "roberta-base"), ("runs/tickets/checkpoint-500", "tickets/checkpoint-500"),
    ("my-roberta/", "my-roberta"), ("somewhere/model", "somewhere/model"),
    ("hub/models--me--my-bert/snapshots/0123456789abcdef0123456789abcdef01234567", "my-bert")])
def test_a_checkpoint_is_named_by_what_tells_it_from_others(given, name):
    assert short_name(given) == name


def test_a_folder_named_by_a_dot_has_its_name(pretrained, monkeypatch):
    monkeypatch.chdir(pretrained)
    assert short_name(".") == "my-classifier"


# The cache knows contents

def test_a_replaced_encoder_is_another_model_and_a_moved_one_is_the_same(tiny_task, made, narrow_encoder, tmp_path):
    folder = shutil.copytree(narrow_encoder, tmp_path / "first")
    baseline(tiny_task, folder)
    moved = baseline(tiny_task, shutil.copytree(folder, tmp_path / "second"))
    assert (len(made), moved.card.name) == (1, "second fp32, PyTorch")
    weights, times = load_file(folder / "model.safetensors"), (folder / "model.safetensors").stat()
    name = next(iter(weights))
    weights[name] = weights[name] + 1  # as large, and as old
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    os.utime(folder / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    baseline(tiny_task, folder)
    assert len(made) == 2
    baseline(tiny_task, folder, max_length=16)
    assert len(made) == 3


# What an encoder does not read

def test_unknown_and_cut_tokens_are_said_before_training_and_when_cached(tiny_task, narrow_encoder, fresh_home):
    def changed(split):
        return split.map(lambda row: {"text": row["text"] + " \u58f9\u8cb3\u5341" + " rain" * 40})

    task = dataclasses.replace(tiny_task, train=changed(tiny_task.train), test=changed(tiny_task.test))
    with (pytest.warns(UserWarning, match=r"% of the tokens of the training texts are unknown to narrow-encoder"),
          pytest.warns(UserWarning, match=r"narrow-encoder reads 20 tokens of a text: 100% of the training texts"),
          pytest.raises(Cancelled)):
        baseline(task, narrow_encoder, max_length=20, progress=Progress(None, lambda: True))
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"narrow-encoder reads 20 tokens of a text: 100% of the t"):
            model = baseline(task, narrow_encoder, max_length=20, epochs=0.1)
    assert model.encoder.max_tokens == 20
    assert model.card.coverage == model.encoder.coverage(task.test["text"][:])
    assert export(model, "onnxruntime").card.coverage == model.card.coverage


def test_texts_that_are_read_whole_are_passed_over_in_silence(tiny_task, narrow_encoder, fresh_home, recwarn):
    assert baseline(tiny_task, narrow_encoder, epochs=0.1).card.coverage == Coverage(0, 0, 0)
    assert [one for one in recwarn if "narrow-encoder" in str(one.message)] == []


def test_a_longer_limit_changes_nothing_for_texts_below_it(tiny_task, pretrained):
    texts = tiny_task.test["text"][:]
    short, long = (load_pretrained(pretrained, tiny_task, max_length=length) for length in (32, 64))
    np.testing.assert_array_equal(short.predict(texts), long.predict(texts))
