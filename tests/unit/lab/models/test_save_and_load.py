"""Saved and loaded, each model predicts the same; damage and mischief are said, and nothing in a file is run."""

import json
import shutil

import numpy as np
import pytest

from helpers.lab import InputError, Model, load
from helpers.lab.models.model import folder_bytes

RUNTIMES = ["pytorch", "onnxruntime", "openvino", "scikit-learn"]
ARTEFACTS = {"pytorch": "weights.safetensors", "onnxruntime": "model.onnx", "openvino": "model.bin",
             "scikit-learn": "weights.npz"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_reloaded_model_answers_the_same(models, saved, texts, runtime):
    np.testing.assert_array_equal(load(saved[runtime]).predict(texts), models[runtime].predict(texts))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_reloaded_model_has_the_same_card(models, saved, runtime):
    assert load(saved[runtime]).card == models[runtime].card
    assert isinstance(load(saved[runtime]), Model)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_folder_may_be_moved_once_the_model_is_loaded(saved, texts, tmp_path, runtime):
    shutil.copytree(saved[runtime], tmp_path / "model")
    model = load(tmp_path / "model")
    before = model.predict(texts[:5])
    shutil.rmtree(tmp_path / "model")
    np.testing.assert_array_equal(model.predict(texts[:5]), before)
    model.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").predict(texts[:5]), before)


def test_the_bytes_of_a_folder_are_those_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "inner" / "b").write_bytes(b"4567")
    assert folder_bytes(tmp_path) == 7


# Damage and mischief

def change_facts(folder, **changes):
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | changes))


@pytest.fixture
def copied(saved, tmp_path):
    def copying(runtime):
        return shutil.copytree(saved[runtime], tmp_path / "copy")
    return copying


@pytest.mark.parametrize("content", ["", "{", "[]", '"pytorch"', "{}", '{"runtime": "pytorch"}',
                                     '{"runtime": "pytorch", "name": "x", "classes": 3, "surprise": 1}'])
def test_a_broken_description_is_said(copied, content):
    folder = copied("pytorch")
    (folder / "model.json").write_text(content)
    with pytest.raises(InputError, match="The folder 'copy' holds no readable model"):
        load(folder)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(InputError, match="The folder 'nothing' holds no readable model"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"garbage"),
                                    lambda path: path.write_bytes(path.read_bytes()[:100])])
def test_a_damaged_artefact_is_said(copied, runtime, damage):
    folder = copied(runtime)
    damage(folder / ARTEFACTS[runtime])
    with pytest.raises(InputError, match="The model in 'copy' is damaged or incomplete"):
        load(folder)


def test_weights_of_another_shape_are_said(copied):
    folder = copied("pytorch")
    change_facts(folder, classes=7)
    with pytest.raises(InputError, match="The model in 'copy' is damaged or incomplete"):
        load(folder)


def test_a_damaged_tokenizer_is_said(copied):
    folder = copied("onnxruntime")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="The model in 'copy' is damaged or incomplete"):
        load(folder)


def test_a_name_in_a_file_is_never_imported(copied, tmp_path, monkeypatch):
    (tmp_path / "mischief.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = copied("pytorch")
    for runtime in ("mischief", "mischief.Model", "../mischief"):
        change_facts(folder, runtime=runtime)
        with pytest.raises(InputError, match="No installed package reads models"):
            load(folder)
    change_facts(folder, runtime="pytorch")
    config = json.loads((folder / "config.json").read_text())
    custom = {"auto_map": {"AutoModel": "mischief.Model", "AutoConfig": "mischief.Config"}, "model_type": "mischief"}
    (folder / "config.json").write_text(json.dumps(config | custom))
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
    assert not (tmp_path / "ran").exists()


class Explosive:
    """What a pickle could hold: it writes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_in_a_file_is_never_opened(copied, tmp_path):
    folder = copied("scikit-learn")
    arrays = dict(np.load(folder / "weights.npz"))
    np.savez(folder / "weights.npz", **arrays | {"array0": np.array([Explosive(tmp_path / "ran")], dtype=object)})
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["Explosive", "mischief.Model", "FunctionTransformer"])
def test_a_pipeline_holds_known_estimators_only(copied, name):
    folder = copied("scikit-learn")
    text = (folder / "pipeline.json").read_text()
    assert '"LogisticRegression"' in text
    (folder / "pipeline.json").write_text(text.replace("LogisticRegression", name))
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
