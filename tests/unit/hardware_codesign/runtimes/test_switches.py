"""What stands under the model, on and off: graph passes fuse operators, and each switch keeps its row."""

import warnings

import pytest
import torch

from helpers.hardware_codesign import compare_switches, graph_levels
from helpers.lab import InputError


def test_higher_graph_levels_fuse_operators_and_keep_fewer(tiny_model, texts):
    frame = graph_levels(tiny_model, texts[:2], rounds=2).set_index("level")
    assert frame.loc["none", "fused"] == "nothing"
    assert frame.loc["all", "nodes"] < frame.loc["none", "nodes"]
    assert frame.loc["extended", "fused"] != "nothing"
    assert frame.loc["none", "speedup"] == 1.0
    with pytest.raises(InputError, match="at least one"):
        graph_levels(tiny_model, [])


def test_switches_keep_a_row_each_and_what_is_missing_a_sentence(tiny_model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of GPUs that are not here, with the folder's name
        frame = compare_switches(tiny_model, batch=2, length=8, rounds=2).set_index("switch")
    assert (frame.loc["fused attention", ["gain", "on_ms", "off_ms"]] > 0).all()
    assert frame.loc["channels last", "gain"] > 0
    assert torch.backends.cudnn.is_available() or "NVIDIA" in frame.loc["cuDNN", "note"]
    with pytest.raises(InputError, match="at least one row"):
        compare_switches(tiny_model, batch=0)
