"""Adapters: what is trained and what stays, merging, and many tenants in one batch."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel

from helpers.efficient_architectures import (
    ADAPTERS,
    TenantBank,
    bottleneck_parameters,
    merge,
    switch_times,
    tenant_bytes,
    tenant_tasks,
    tune,
)
from helpers.efficient_architectures.adapters.tuning import train_as
from helpers.efficient_architectures.right_sizing.frozen import pretrained
from helpers.lab import InputError, compare, load
from helpers.lab.models.model import Card
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.training.heads import set_head
from helpers.lab.training.weights import find_weights

WIDTH, LAYERS, INNER = 32, 2, 64
HEAD = WIDTH * 3 + 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with MiniLM's tokenizer and a narrow BERT with random weights."""
    folder = tmp_path_factory.mktemp("adapters") / "narrow"
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=30522, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
                         intermediate_size=INNER, max_position_embeddings=128, initializer_range=0.15)
              ).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((find_weights() / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="module")
def tuned(tiny_task, encoder):
    """Each kind, trained for two epochs."""
    return {kind: tune(tiny_task, kind, rank=4, encoder=encoder, epochs=2) for kind in ADAPTERS}


def test_as_many_numbers_are_trained_as_on_paper(tuned):
    norms = 2 * WIDTH * (1 + 2 * LAYERS)  # the embeddings' and two a layer, scale and shift
    biases = WIDTH + LAYERS * (6 * WIDTH + INNER + WIDTH)  # q, k, v, out, two norms, the two of the feed-forward part
    expected = {"probe": 0, "bitfit": biases, "ia3": LAYERS * (2 * WIDTH + INNER),
                "lora": LAYERS * 2 * 4 * 2 * WIDTH, "bottleneck": bottleneck_parameters(WIDTH, 4, LAYERS) + norms}
    assert {kind: tuned[kind].trainable for kind in expected} == expected
    assert bottleneck_parameters(WIDTH, 4, LAYERS) == LAYERS * 2 * (WIDTH * 4 + 4 + 4 * WIDTH + WIDTH)
    assert tuned["full"].head == HEAD


@pytest.mark.parametrize("kind", [kind for kind in ADAPTERS if kind != "full"])
def test_the_published_weights_stay_and_the_adapter_moves(kind, tuned, encoder):
    published = BertModel.from_pretrained(encoder).state_dict()
    mine = tuned[kind]
    for name, weight in mine.model.module.encoder.state_dict().items():
        plain = name.replace(".base_layer", "").replace("dense.base.", "dense.")
        if plain in published and f"encoder.{name}" not in mine.delta:
            torch.testing.assert_close(weight, published[plain], rtol=0, atol=0)
    if kind in ("lora", "bottleneck"):
        side = "lora_B" if kind == "lora" else "adapter.up.weight"
        assert all(tensor.abs().max() > 0 for name, tensor in mine.delta.items() if side in name), "it started at zero"


@pytest.mark.parametrize("kind", ADAPTERS[1:])
def test_every_kind_learns(kind, tiny_task, encoder):
    """From a head of random numbers, which the encoder has to suit."""
    module, reader = pretrained(encoder, 3)
    set_head(module, np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32), np.zeros(3, np.float32))
    labels = torch.tensor(tiny_task.train["label"][:])

    def loss(model) -> float:
        return float(cross_entropy(torch.tensor(model.predict(tiny_task.train["text"][:])), labels))

    before = loss(TorchTextModel(Card("untrained", 3), reader, module))
    after = loss(train_as(module, reader, tiny_task, kind, rank=4, epochs=20, learning_rate=3e-3).model)
    assert after < 0.7 * before


@pytest.mark.parametrize("kind", ["lora", "ia3", "bitfit"])
def test_merged_into_the_weights_it_answers_the_same_and_saves_as_a_plain_model(kind, tuned, tiny_task, tmp_path):
    texts = tiny_task.test["text"][:]
    merged = merge(tuned[kind], tiny_task)
    np.testing.assert_allclose(merged.predict(texts), tuned[kind].model.predict(texts), atol=1e-4)
    merged.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), merged.predict(texts))


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
    models = [tuned[kind].model for kind in ("full", "lora", "ia3", "bottleneck")]
    frame = compare(models, tiny_task, rows=16, rounds=2, energy=False).frame()
    assert list(frame["model"]) == [model.card.name for model in models]
    assert (frame["peak_mb"] > 0).all()


def test_bottlenecks_cannot_be_merged(tuned, tiny_task):
    with pytest.raises(InputError, match="nonlinearity"):
        merge(tuned["bottleneck"], tiny_task)


def test_memory_of_a_training_step_is_what_is_trained(tuned):
    full, lora = tuned["full"].memory, tuned["lora"].memory
    assert full["gradients"] == 4 * (tuned["full"].trainable + HEAD)
    assert lora["optimizer"] == 2 * 4 * (tuned["lora"].trainable + HEAD)
    assert 0 < tuned["probe"].memory["activations"] < lora["activations"] <= full["activations"] * 1.2


@pytest.mark.parametrize("kind", ["lora", "bottleneck"])
def test_a_batch_of_mixed_tenants_answers_as_each_tenants_own_model(kind, tiny_task, encoder):
    tasks = tenant_tasks(tiny_task, 3, labels_each=2, seed=1)
    tasks[1] = dataclasses.replace(tiny_task, name="all labels")  # tenants need not have as many classes
    tuned = [tune(one, kind, rank=4, encoder=encoder, epochs=2, seed=number) for number, one in enumerate(tasks)]
    bank = TenantBank(tuned, encoder)
    texts = tiny_task.test["text"][:24]
    owners = [row % 3 for row in range(len(texts))]
    mixed = bank.predict(texts, owners)
    for tenant, own in enumerate(tuned):
        rows = [row for row, owner in enumerate(owners) if owner == tenant]
        expected = own.model.predict([texts[row] for row in rows])
        np.testing.assert_allclose(mixed[rows][:, :expected.shape[1]], expected, atol=1e-4)
        assert np.isneginf(mixed[rows][:, expected.shape[1]:]).all()


def test_a_bank_holds_one_base_and_each_tenants_adapter(tuned, encoder):
    one, three = (TenantBank([tuned["lora"]] * count, encoder) for count in (1, 3))
    assert three.bytes - one.bytes == 2 * tuned["lora"].delta_bytes
    table = tenant_bytes(100, 10, [1, 50]).set_index("tenants")
    assert (table.models[50], table.adapters[50], table.ratio[50]) == (5000, 600, 6.0)


def test_a_tenants_rows_are_its_own_labels_rows(tiny_task):
    for one in tenant_tasks(tiny_task, 3, labels_each=2):
        whole = dict(zip(tiny_task.test["text"][:], tiny_task.test["label"][:], strict=True))
        told = {tiny_task.labels[whole[text]] for text in one.test["text"][:]}
        assert told == set(one.labels)
        assert all(one.labels[label] == tiny_task.labels[whole[text]]
                   for text, label in zip(one.test["text"][:], one.test["label"][:], strict=True))


def test_an_adapter_is_switched_by_reading_its_own_bytes_only(tuned, tiny_task, tmp_path):
    before = tuned["lora"].model.predict(tiny_task.test["text"][:8])
    rows = switch_times(tuned["lora"], tiny_task, tmp_path, rounds=2).set_index("way")
    assert rows.bytes["load an adapter"] < 0.05 * rows.bytes["load a whole model"]
    np.testing.assert_array_equal(tuned["lora"].model.predict(tiny_task.test["text"][:8]), before)


@pytest.mark.parametrize("wrong", [
    lambda task, tuned: tune(task, "prompt"),
    lambda task, tuned: tune(task, "lora", rank=0),
    lambda task, tuned: TenantBank([]),
    lambda task, tuned: TenantBank([tuned["lora"], tuned["bottleneck"]]),
    lambda task, tuned: tenant_tasks(task, 2, labels_each=9),
    lambda task, tuned: tenant_bytes(100, 10, [0]),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task, tuned):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task, tuned)


def test_a_text_without_its_tenant_is_refused(tuned, encoder):
    with pytest.raises(InputError, match="tenant"):
        TenantBank([tuned["lora"]], encoder).predict(["a", "b"], [0, 1])
