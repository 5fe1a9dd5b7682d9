"""Peaks of machines and data sheets."""

import pytest

from helpers.lab import InputError, offers
from helpers.lab.facts import Peaks, device_of, device_peaks

ROOF = Peaks("a machine", {"fp32": 100e9, "int8": 200e9}, 10e9, threads=1)


def test_the_least_time_is_the_slower_of_the_two():
    assert ROOF.ridge() == 10
    assert ROOF.seconds(100e9, 1e9) == 1.0
    assert ROOF.seconds(1e9, 20e9) == 2.0
    assert ROOF.seconds(100e9, 1e9, "int8") == 0.5
    with pytest.raises(InputError, match="bf16"):
        ROOF.rate("bf16")


SHEETS = {**{name: name for name in ("NVIDIA T4", "NVIDIA L4", "NVIDIA A10G", "NVIDIA L40S")},
          "NVIDIA A100 40GB": "NVIDIA A100 40GB SXM", "NVIDIA A100 80GB": "NVIDIA A100 80GB SXM",
          "NVIDIA H100 SXM 80GB": "NVIDIA H100 SXM", "NVIDIA H100 80GB": "NVIDIA H100 SXM",
          "NVIDIA B200": "NVIDIA B200 SXM", "AWS Inferentia2": "AWS Inferentia2", "TPU v5e": "Google TPU v5e",
          "AWS Trainium1": None, "NVIDIA H100 NVL": None}


def test_each_offers_accelerator_has_its_own_sheet_or_none():
    for accelerator in {one.accelerator for one in offers().values() if one.accelerator}:
        assert device_of(accelerator) == SHEETS[accelerator], accelerator


def test_an_unknown_device_is_a_sentence():
    assert device_peaks("NVIDIA H100 SXM").ridge("bf16") == pytest.approx(989e12 / 3350e9)
    with pytest.raises(InputError, match="Choose one of: NVIDIA T4"):
        device_peaks("NVIDIA Z1")
