"""The model to beat: made once, kept, and made again when what was kept is damaged."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.lab import Cancelled, InputError, baseline, load_task
from helpers.lab.models.torch import MeanPoolClassifier
from helpers.lab.progress import Progress
from helpers.lab.training import baselines


@pytest.fixture
def made(monkeypatch, tiny_model, fresh_home):
    """Stands in for the training; the list of what it was asked for."""
    asked = []

    def make(task, name, weights, epochs, seed, *_):
        asked.append((task.name, epochs, seed))
        return tiny_model

    monkeypatch.setattr(baselines, "_make", make)
    return asked


def entries(home) -> list:
    """Finished models in the cache."""
    return [path for path in (home / "cache" / "baselines").iterdir()
            if path.is_dir() and not path.name.startswith(".")]


def test_minilm_learns_the_task_and_a_second_call_comes_from_the_cache(tiny_task, fresh_home):
    told = []
    first = baseline(tiny_task, epochs=1, progress=Progress(lambda fraction, message: told.append(fraction)))
    texts = tiny_task.test["text"][:]
    assert (first.predict(texts).argmax(axis=1) == tiny_task.test["label"][:]).mean() >= 0.9
    assert first.card.name == "MiniLM-L6 fp32, PyTorch"
    assert 22_000_000 < first.card.parameters < 23_000_000  # 22.7 million, as published
    assert told == sorted(told)
    assert told[-1] == 1.0

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
    told = []

    def cancelled():
        return any("step 1" in message for message in told)

    with pytest.raises(Cancelled):
        baseline(tiny_task, epochs=4, progress=Progress(lambda _, message: told.append(message), cancelled))
    assert told[-1].startswith("fine-tuning: step 1 of 12")
    assert entries(fresh_home) == []


KILLED_WHILE_SAVING = """
import os, signal, sys
from helpers.lab import baseline, load, load_task
from helpers.lab.training import baselines
from helpers.lab.models import torch as torch_model
baselines._make = lambda *_: load(sys.argv[2])
torch_model.save_file = lambda weights, path: (open(path, "wb").write(b"half"), os.kill(os.getpid(), signal.SIGKILL))
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


def test_another_encoder_gives_the_model_its_name(tiny_task, made, monkeypatch, tmp_path):
    names = []
    make = baselines._make
    monkeypatch.setattr(baselines, "_make", lambda task, name, *rest: names.append(name) or make(task, name, *rest))
    (tmp_path / "my-encoder").mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "my-encoder" / file).touch()
    baseline(tiny_task)
    baseline(tiny_task, tmp_path / "my-encoder")
    assert names == ["MiniLM-L6", "my-encoder"]


@pytest.mark.parametrize("classes", [2, 4])
def test_the_first_head_gives_logistic_regressions_probabilities(tiny_model, classes):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(classes)
    means, labels = rng.normal(size=(60, 64)).astype(np.float32), rng.integers(0, classes, 60)
    module = MeanPoolClassifier(tiny_model.module.encoder, classes)
    baselines._fit_head(module, means, labels.tolist())
    expected = LogisticRegression(C=10, max_iter=200).fit(means, labels).predict_proba(means)
    with torch.inference_mode():
        found = module.classifier(torch.from_numpy(means)).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_mean_leaves_padding_out(tiny_model):
    ids, mask = torch.tensor([[101, 7592, 102]]), torch.tensor([[1, 1, 1]])
    padded = torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(mask, (0, 3))
    with torch.inference_mode():
        states = tiny_model.module.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        found = tiny_model.module.embed(*padded)
    torch.testing.assert_close(found, states.mean(dim=1), atol=1e-5, rtol=1e-5)
