"""What all models share: the same answers in pieces, in streams and alone; and cards."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from helpers.lab import load
from helpers.lab.models.model import Card, TextModel

RUNTIMES = ["pytorch", "onnxruntime", "openvino", "scikit-learn"]


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime", "openvino"])
@pytest.mark.parametrize("settings", [{"streams": 2, "micro_batch": 3}, {"micro_batch": 1}, {"streams": 2}])
def test_streams_and_micro_batches_give_the_rows_in_their_order(saved, models, texts, runtime, settings, tmp_path):
    shutil.copytree(saved[runtime], tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    facts["settings"] |= settings
    (tmp_path / "model" / "model.json").write_text(json.dumps(facts))
    np.testing.assert_allclose(load(tmp_path / "model").predict(texts), models[runtime].predict(texts), atol=1e-5)


@pytest.mark.parametrize(("rows", "settings", "expected"), [
    (1, {"streams": 2, "micro_batch": 4}, [1]), (4, {"streams": 2, "micro_batch": 4}, [2, 2]),
    (5, {"streams": 2, "micro_batch": 4}, [2, 3]), (12, {"streams": 2, "micro_batch": 4}, [3, 3, 3, 3]),
    (16, {"streams": 2, "micro_batch": 4}, [4, 4, 4, 4]), (9, {"micro_batch": 4}, [1, 4, 4]), (5, {}, [5])])
def test_rows_are_shared_out_so_that_no_stream_is_idle(tiny_model, texts, rows, settings, expected, monkeypatch):
    monkeypatch.setattr("helpers.lab.models.model.usable_cores", lambda: 2)
    sizes = []

    class Noting(TextModel):
        def _logits(self, ids, mask):
            sizes.append(len(ids))
            return np.zeros((len(ids), 3), np.float32)

    Noting(Card("noting", 3, "test", settings), tiny_model.encoder).predict(texts[:rows])
    assert sorted(sizes) == expected


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_row_gets_the_same_answer_alone_as_in_company(models, texts, runtime):
    together = models[runtime].predict(texts)
    alone = np.concatenate([models[runtime].predict([text]) for text in texts[:8]])
    np.testing.assert_allclose(alone, together[:8], atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_input_gives_no_rows(models, runtime):
    logits = models[runtime].predict([])
    assert logits.shape == (0, 3)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_empty_text_is_answered(models, runtime):
    assert np.isfinite(models[runtime].predict(["", "a cat"])).all()


def test_a_tuple_of_texts_is_as_good_as_a_list(models, texts):
    for model in models.values():
        np.testing.assert_array_equal(model.predict(tuple(texts[:3])), model.predict(texts[:3]))


# Cards

def test_a_derived_card_adds_up_settings_and_making_times():
    card = Card("base", 3, settings={"runtime": "pytorch", "seed": 1}, parameters=10, made_in_s=5.0)
    assert card.derive("int8", "model optimization", 2.0, runtime="onnxruntime") == Card(
        "int8", 3, "model optimization", {"runtime": "onnxruntime", "seed": 1}, 10, None, 7.0)
    assert card.settings == {"runtime": "pytorch", "seed": 1}


def test_cards_are_not_shared_by_mistake(tiny_model):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_model.card.name = "other"
