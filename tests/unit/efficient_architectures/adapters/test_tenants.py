"""Many tenants in one batch, and their bytes."""

import dataclasses
import platform
import subprocess
import sys

import numpy as np
import pytest
from architectures import build

from helpers.efficient_architectures import (
    TenantBank,
    merge,
    mixed_overhead,
    resident_growth,
    switch_times,
    tenant_tasks,
    tune,
)
from helpers.lab import InputError, load_pretrained


@pytest.mark.parametrize("kind", ["lora", "bottleneck"])
def test_a_batch_of_mixed_tenants_answers_as_each_tenants_own_model(kind, tiny_task, narrow_encoder):
    tasks = tenant_tasks(tiny_task, 3, labels_each=2, seed=1)
    tasks[1] = dataclasses.replace(tiny_task, name="all labels")  # tenants need not have as many classes
    tuned = [tune(one, kind, rank=4, encoder=narrow_encoder, epochs=2, seed=number) for number, one in enumerate(tasks)]
    bank = TenantBank(tuned, narrow_encoder)
    texts = tiny_task.test["text"][:24]
    owners = [row % 3 for row in range(len(texts))]
    mixed = bank.predict(texts, owners)
    for tenant, own in enumerate(tuned):
        rows = [row for row, owner in enumerate(owners) if owner == tenant]
        expected = own.model.predict([texts[row] for row in rows])
        np.testing.assert_allclose(mixed[rows][:, :expected.shape[1]], expected, atol=1e-4)
        assert np.isneginf(mixed[rows][:, expected.shape[1]:]).all()


@pytest.mark.parametrize("name", ["distilbert", "modernbert", "gpt2"])
def test_tenants_of_other_architectures_share_a_batch_too(name, tiny_task, tmp_path):
    """Whatever their norms are called: each tenant's own are trained with its bottlenecks."""
    build(name, tmp_path, tiny_task.train["text"][:], tiny_task.labels)
    tuned = [tune(tiny_task, "bottleneck", rank=2, encoder=tmp_path, epochs=1, seed=seed) for seed in (0, 1)]
    texts = tiny_task.test["text"][:8]
    bank = TenantBank(tuned, tmp_path)
    for tenant, one in enumerate(tuned):
        np.testing.assert_allclose(bank.predict(texts, [tenant] * 8), one.model.predict(texts), atol=1e-4)


def test_a_bank_takes_no_classifiers_heads(tiny_task, tmp_path):
    build("bert", tmp_path, tiny_task.train["text"][:], tiny_task.labels)
    tuned = tune(tiny_task, "lora", rank=2, encoder=load_pretrained(tmp_path, tiny_task), epochs=0.1)
    with pytest.raises(InputError, match=r"tune them from an encoder, not from a classifier\.$"):
        TenantBank([tuned], tmp_path)


def test_a_bank_holds_one_base_and_each_tenants_adapter(tuned, narrow_encoder):
    one, three = (TenantBank([tuned["lora"]] * count, narrow_encoder) for count in (1, 3))
    assert three.bytes - one.bytes == 2 * tuned["lora"].delta_bytes


def test_a_tenants_rows_are_its_own_labels_rows(tiny_task):
    for one in tenant_tasks(tiny_task, 3, labels_each=2):
        whole = dict(zip(tiny_task.test["text"][:], tiny_task.test["label"][:], strict=True))
        result = {tiny_task.labels[whole[text]] for text in one.test["text"][:]}
        assert result == set(one.labels)
        assert all(one.labels[label] == tiny_task.labels[whole[text]]
                   for text, label in zip(one.test["text"][:], one.test["label"][:], strict=True))


def test_an_adapter_is_switched_by_reading_its_own_bytes_only(tuned, tiny_task, tmp_path):
    before = tuned["lora"].model.predict(tiny_task.test["text"][:8])
    rows = switch_times(tuned["lora"], tiny_task, tmp_path, rounds=2).set_index("way")
    assert rows.bytes["load an adapter"] < 0.05 * rows.bytes["load a whole model"]
    np.testing.assert_array_equal(tuned["lora"].model.predict(tiny_task.test["text"][:8]), before)


def test_mixing_is_timed_beside_a_plain_model(tuned, tiny_task, narrow_encoder):
    texts = tiny_task.test["text"][:4]
    bank, plain = TenantBank([tuned["lora"]], narrow_encoder), merge(tuned["lora"], tiny_task)
    plain_s, mixed_s = mixed_overhead(bank, plain.predict, texts)
    assert plain_s.shape == mixed_s.shape == (7,)
    assert min(plain_s.min(), mixed_s.min()) > 0


def test_memory_grows_by_what_is_held():
    """64 MB each: above 32 MiB glibc maps memory afresh, below it may hand out what an earlier test left resident."""
    last, growth = resident_growth(lambda: np.ones(8_000_000), 3)
    assert len(last) == 8_000_000
    assert growth > 0.8 * 3 * last.nbytes


HOARDED = """
import ctypes
import numpy as np
from helpers.efficient_architectures.adapters.tenants import resident_growth

for threshold in (-1, -3):  # of trimming, and of mapping afresh: as libraries set them for speed
    assert ctypes.CDLL(None).mallopt(threshold, 1 << 30) == 1
freed = [np.ones(8_000_000) for _ in range(3)]
del freed
print(resident_growth(lambda: np.ones(8_000_000), 3)[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc lets its thresholds be set")
def test_memory_that_earlier_work_freed_is_not_missed():
    said = subprocess.run([sys.executable, "-c", HOARDED], capture_output=True, text=True, check=True).stdout
    assert 0.8 < int(said) / (3 * 64_000_000) < 1.2


@pytest.mark.parametrize("wrong", [
    lambda task, tuned: TenantBank([]),
    lambda task, tuned: TenantBank([tuned["lora"], tuned["bottleneck"]]),
    lambda task, tuned: tenant_tasks(task, 2, labels_each=9),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task, tuned):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task, tuned)


def test_a_text_without_its_tenant_is_refused(tuned, narrow_encoder):
    with pytest.raises(InputError, match="tenant"):
        TenantBank([tuned["lora"]], narrow_encoder).predict(["a", "b"], [0, 1])
