"""Adapters: what is trained and what stays, saving, merging, and memory."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertModel

from helpers.efficient_architectures import merge, tune
from helpers.efficient_architectures.adapters.tuning import train_as
from helpers.efficient_architectures.options import ADAPTERS
from helpers.lab import InputError, compare, load, tfidf_baseline
from helpers.lab.models.model import Card
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.training.heads import pretrained, set_head

WIDTH, LAYERS, INNER = 32, 2, 64  # of the narrow encoder
HEAD = WIDTH * 3 + 3


def test_as_many_parameters_are_trained_as_on_paper(tuned):
    norms = 2 * WIDTH * (1 + 2 * LAYERS)  # the embeddings' and two a layer, scale and shift
    biases = WIDTH + LAYERS * (6 * WIDTH + INNER + WIDTH)  # q, k, v, out, two norms, the two of the feed-forward part
    bottlenecks = LAYERS * 2 * (WIDTH * 4 + 4 + 4 * WIDTH + WIDTH)
    expected = {"probe": 0, "bitfit": biases, "ia3": LAYERS * (2 * WIDTH + INNER),
                "lora": LAYERS * 2 * 4 * 2 * WIDTH, "bottleneck": bottlenecks + norms}
    assert {kind: tuned[kind].trainable for kind in expected} == expected
    assert tuned["full"].head == HEAD


@pytest.mark.parametrize("kind", [kind for kind in ADAPTERS if kind != "full"])
def test_the_published_weights_stay_and_the_adapter_moves(kind, tuned, narrow_encoder):
    published = BertModel.from_pretrained(narrow_encoder).state_dict()
    mine = tuned[kind]
    for name, weight in mine.model.module.encoder.state_dict().items():
        plain = name.replace(".base_layer", "").replace("dense.base.", "dense.")
        if plain in published and f"encoder.{name}" not in mine.delta:
            torch.testing.assert_close(weight, published[plain], rtol=0, atol=0)
    if kind in ("lora", "bottleneck"):
        side = "lora_B" if kind == "lora" else "adapter.up.weight"
        assert all(tensor.abs().max() > 0 for name, tensor in mine.delta.items() if side in name), "it started at zero"


@pytest.mark.parametrize("kind", ADAPTERS[1:])
def test_every_kind_learns(kind, tiny_task, narrow_encoder):
    """From a head of random numbers, which the encoder has to suit."""
    module, reader = pretrained(narrow_encoder, 3)
    set_head(module, np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32), np.zeros(3, np.float32))
    labels = torch.tensor(tiny_task.train["label"][:])

    def loss(model) -> float:
        return float(cross_entropy(torch.tensor(model.predict(tiny_task.train["text"][:])), labels))

    before = loss(TorchTextModel(Card("untrained", 3), reader, module))
    after = loss(train_as(module, reader, tiny_task, kind, rank=4, epochs=20, learning_rate=3e-3).model)
    assert after < 0.7 * before


@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_kind_predicts_the_same_after_a_reload(kind, tuned, tiny_task, tmp_path):
    model, texts = tuned[kind].model, tiny_task.test["text"][:]
    model.save(tmp_path / "once")
    again = load(tmp_path / "once")
    assert (type(again), again.card) == (type(model), model.card)
    np.testing.assert_array_equal(again.predict(texts), model.predict(texts))
    again.save(tmp_path / "twice")
    np.testing.assert_array_equal(load(tmp_path / "twice").predict(texts), model.predict(texts))


def test_adapted_models_stand_side_by_side_in_a_comparison(tuned, tiny_task):
    models = [tuned[kind].model for kind in ("full", "bottleneck")]
    frame = compare(models, tiny_task, rows=16, rounds=2, energy=False).frame()
    assert list(frame["model"]) == [model.card.name for model in models]
    assert (frame["peak_mb"] > 0).all()


@pytest.mark.parametrize("kind", ["lora", "ia3", "bitfit"])
def test_merged_into_the_weights_it_answers_the_same_and_saves_as_a_plain_model(kind, tuned, tiny_task, tmp_path):
    texts = tiny_task.test["text"][:]
    merged = merge(tuned[kind], tiny_task)
    np.testing.assert_allclose(merged.predict(texts), tuned[kind].model.predict(texts), atol=1e-4)
    merged.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), merged.predict(texts))


def test_bottlenecks_cannot_be_merged(tuned, tiny_task):
    with pytest.raises(InputError, match="nonlinearity"):
        merge(tuned["bottleneck"], tiny_task)


def test_memory_of_a_training_step_is_what_is_trained(tuned):
    full, lora = tuned["full"].memory, tuned["lora"].memory
    assert full["gradients"] == 4 * (tuned["full"].trainable + HEAD)
    assert lora["optimizer"] == 2 * 4 * (tuned["lora"].trainable + HEAD)
    assert 0 < tuned["probe"].memory["activations"] < lora["activations"] <= full["activations"] * 1.2


@pytest.mark.parametrize("wrong", [
    lambda task: tune(task, "prompt"),
    lambda task: tune(task, "lora", rank=0),
    lambda task: tune(task, "lora", encoder=tfidf_baseline(task)),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task)
