"""Leaving a runtime: files open and agree where their formats say so, and the verdict falls as the matrix does."""

import os

import pandas as pd
import pytest

from helpers.hardware_codesign import compare_leaving, leaving_verdict
from helpers.hardware_codesign.runtimes import leaving
from helpers.lab import InputError


@pytest.fixture(scope="module")
def told(tiny_model, tiny_task, texts):
    return compare_leaving(tiny_model, tiny_task, texts).set_index(["form", "runtime"])


def test_each_form_opens_at_home_and_agrees_there(told):
    for name, form in leaving.FORMS.items():
        row = told.loc[name, form.home]
        assert row["opens"], row["note"]
        assert row["difference"] == 0
        assert row["leave_s"] > 0
        assert row["megabytes"] > 0


def test_what_a_format_promises_is_seen(told):
    """OpenVINO reads ONNX, as its documentation says; ONNX Runtime reads no IR, and PyTorch neither of them."""
    assert told.loc[("ONNX", "OpenVINO"), "agrees"]
    assert told.loc[("ONNX", "OpenVINO"), "same_answers"] == 1.0
    for form, runtime in (("OpenVINO IR", "ONNX Runtime"), ("OpenVINO IR", "PyTorch"), ("ONNX", "PyTorch"),
                          ("safetensors", "ONNX Runtime"), ("torch.export", "ONNX Runtime")):
        assert not told.loc[(form, runtime), "opens"]
        assert told.loc[(form, runtime), "note"]


def test_a_fused_file_has_operators_that_no_standard_knows(told):
    assert "com.microsoft." in told.loc[("ONNX, fused", "ONNX Runtime"), "own_operators"]
    assert told.loc[("ONNX", "ONNX Runtime"), "own_operators"] == ""


def test_eight_bits_are_seen_in_what_runs(told):
    assert told.loc[("ONNX, dynamic int8", "ONNX Runtime"), "integer"] > 0.5
    assert told.loc[("OpenVINO IR, int8", "OpenVINO"), "integer"] > 0.5
    for form, runtime in (("ONNX", "ONNX Runtime"), ("OpenVINO IR", "OpenVINO"), ("ONNX", "OpenVINO")):
        assert told.loc[(form, runtime), "integer"] == 0


def test_answers_to_no_text_cannot_be_compared(tiny_model, tiny_task):
    with pytest.raises(InputError, match="at least one text"):
        compare_leaving(tiny_model, tiny_task, [])


def matrix(**changes):
    """An int8 file at home, and in one other runtime."""
    row = {"form": "file", "home": "A", "precision": "int8", "opens": True, "agrees": True, "integer": 1.0,
           "leave_s": 12.0}
    return pd.DataFrame([{**row, "runtime": "A"}, {**row, "runtime": "B", **changes}])


@pytest.mark.parametrize(("changes", "words"), [
    ({}, "1 of 1 attempts to open a file in another runtime succeed: file in B. Of these, other answers than at home "
         "(largest difference above 0.0001 of the range): none. Open, but no longer in 8 bits: none. Opened by no "
         "other runtime: none. With PyTorch's weights at hand, each file is made again in 12 s at most."),
    ({"agrees": False}, "of the range): file in B."), ({"integer": 0.0}, "no longer in 8 bits: file in B."),
    ({"opens": False, "agrees": False}, "0 of 1 attempts to open a file in another runtime succeed. Of these"),
    ({"opens": False, "agrees": False}, "Opened by no other runtime: file.")])
def test_the_verdict_falls_as_the_matrix_does(changes, words):
    assert words in leaving_verdict(matrix(**changes))


def test_a_file_that_two_others_try_to_open_is_two_attempts():
    three = pd.concat([matrix(), matrix(opens=False, agrees=False).tail(1).assign(runtime="C")])
    assert "1 of 2 attempts to open a file in another runtime succeed: file in B." in leaving_verdict(three)


def test_products_are_told_by_their_names():
    assert leaving._integer_share(["MatMul", "MatMulIntegerToFloat", "Add", "QLinearMatMul"]) == pytest.approx(2 / 3)
    assert pd.isna(leaving._integer_share(["Add"]))


def test_a_reader_that_complains_past_python_is_not_heard(tiny_model, tiny_task, texts, monkeypatch, capfd):
    """As OpenVINO's do, which try a file as TensorFlow's: under a lesson's cell that looked like a failure."""
    def loud(base, path):
        os.write(2, b"Error parsing text-format")
        raise ValueError("not mine")

    monkeypatch.setattr(leaving, "OPENERS", {**leaving.OPENERS, "OpenVINO": loud})
    monkeypatch.setattr(leaving, "FORMS", {"safetensors": leaving.FORMS["safetensors"]})
    frame = compare_leaving(tiny_model, tiny_task, texts).set_index("runtime")
    os.write(2, b"heard again")
    assert frame.loc["OpenVINO", "note"] == "ValueError: not mine"
    said = capfd.readouterr().err
    assert "parsing" not in said
    assert said.endswith("heard again")
