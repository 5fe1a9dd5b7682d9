"""The table of records."""

import itertools

import numpy as np
import pandas as pd
import pytest
from app_helpers import record

from helpers.app import change_factors, table
from helpers.app.text.tables import _named_settings
from helpers.hardware_codesign import CANDIDATES
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement


def test_the_table_shows_provenance_and_leaves_out_what_was_not_measured():
    shown = table([record(), record("fine", 2.0, provenance="measured")]).data
    assert "<td>recorded<small>2026-01-02</small></td>" in shown
    assert "<td>measured<small>2026-01-02</small></td>" in shown
    assert "Wh per 1,000" not in shown


def test_the_table_shows_the_constant_and_the_weakest_class_where_they_are_known():
    known = record("new", 2.0, majority=0.99, macro_f1=0.497, weakest_recall=0.0, weakest_class="yes")
    shown = table([record(), known]).data
    assert "<td>99</td><td>0.50</td><td>0<small>yes</small></td>" in shown
    assert "<td>\N{EN DASH}</td><td>0.90</td><td>\N{EN DASH}</td>" in shown
    assert "Constant<small>" not in table([record()]).data


def test_the_footnote_tells_what_the_encoders_cut_off_and_cannot_read():
    read = {"unknown": 0.6, "rows_cut": 0.25, "tokens_cut": 0.125}
    both = table([record(**read), record("small", 2.0, **read)]).data
    assert "Every model: 25.0% of the rows are longer than its token limit; of all tokens 12.5% are cut off" in both
    assert "base: 25.0% of the rows" in table([record(**read), record("tfidf", 2.0)]).data
    assert "token limit" not in table([record()]).data


# Settings of a chain in which each model differs from the one before by one of them, and what each multiplies.
CHAIN = [("base", {"runtime": "pytorch"}, 1.0), ("ort", {"runtime": "onnxruntime", "micro_batch": 64}, 1.1),
         ("few", {"runtime": "onnxruntime"}, 1.5), ("two", {"runtime": "onnxruntime", "streams": 2}, 1.3),
         ("int8", {"runtime": "onnxruntime", "streams": 2, "scheme": "dynamic-int8"}, 1.4)]


def chained(**changed: object) -> list[Measurement]:
    records, speedup = [], 1.0
    for name, settings, factor in CHAIN:
        speedup *= factor
        records.append(record(name, speedup, settings=settings, reference="base", **changed))
    return records


def test_each_change_has_its_own_factor_and_they_multiply_to_the_whole():
    factors = change_factors(chained())
    assert factors["change"].tolist() == ["all together", "runtime: ONNX Runtime", "rows at a time: rows by 4",
                                          "streams: 2 streams", "bits: dynamic-int8"]
    assert factors["factor"][1:].tolist() == pytest.approx([1.1, 1.5, 1.3, 1.4])
    assert factors["factor"][1:].prod() == pytest.approx(factors["factor"][0])
    assert (factors["low"] < factors["factor"]).all()
    assert factors.attrs["sentence"] == ("3.0x is 1.1 (runtime) \N{MULTIPLICATION SIGN} 1.5 (rows at a time) "
                                         "\N{MULTIPLICATION SIGN} 1.3 (streams) \N{MULTIPLICATION SIGN} 1.4 (bits)")


def test_changes_that_no_run_has_apart_are_one_row_that_names_them_all():
    records = chained()
    factors = change_factors([records[0], records[3], records[4]])
    assert factors["changed"].tolist() == [4, 3, 1]
    assert factors["change"][1] == "ONNX Runtime, rows by 4 and 2 streams"
    assert change_factors([records[0], records[4]]).attrs["sentence"] == (
        "3.0x by runtime, rows at a time, streams and bits")


def test_another_kind_of_model_is_no_change_of_runtime():
    records = [record(settings={"runtime": "pytorch"}), record("static", 9.0, settings={"runtime": "numpy"}),
               record("frozen", 1.1, settings={"runtime": "pytorch"})]
    assert change_factors(records, "static")["change"][1] == "static and numpy"
    assert change_factors(records, "frozen")["change"][1] == "model: frozen"
    with pytest.raises(InputError, match="Choose one of: static, frozen"):
        change_factors(records, "base")


def test_the_chain_is_the_longest_one_that_there_is():
    """Against all subsets of the models, in all orders in which settings are only added."""
    random = np.random.default_rng(0)
    kinds = [("streams", [1, 2]), ("micro_batch", [64, 4]), ("scheme", ["fp32", "dynamic-int8"]), ("padding", [128, 0])]
    for _ in range(60):
        codes = [(0, 0, 0, 0), *(tuple(map(int, random.integers(0, 2, 4))) for _ in range(5)), (1, 1, 1, 1)]
        codes = list(dict.fromkeys(codes))
        records = [record(f"m{number}", 1.0 + number, reference="m0", settings={
            "runtime": "pytorch", **{name: values[bit] for (name, values), bit in zip(kinds, code, strict=True)}})
            for number, code in enumerate(codes)]
        between = [code for code in codes[1:] if code != (1, 1, 1, 1)]
        longest = max(len(subset) for count in range(len(between) + 1)
                      for subset in itertools.permutations(between, count)
                      if all(a != b and all(x <= y for x, y in zip(a, b, strict=True))
                             for a, b in itertools.pairwise(subset)))
        assert len(change_factors(records, records[codes.index((1, 1, 1, 1))].model)) == longest + 2


def test_names_of_the_runtimes_table_give_the_settings_that_they_were_made_of():
    for one in CANDIDATES:
        assert _named_settings(one.name) == dict(one.settings)


def test_the_candidates_of_the_runtimes_page_have_each_change_of_the_quickest_apart():
    frame = pd.DataFrame([{"name": one.name, "runtime": one.runtime, "precision": one.precision,
                           "speedup": 1.0 + number, "speedup_low": 1.0 + number, "speedup_high": 1.0 + number}
                          for number, one in enumerate(CANDIDATES)])
    factors = change_factors(frame, "ONNX Runtime int8, 2 streams")
    assert factors["changed"].tolist() == [5, 1, 1, 1, 1, 1]


def test_the_row_of_a_step_says_what_was_changed_with_it():
    settings = {"runtime": "onnxruntime", "streams": 2, "micro_batch": 8}
    shown = table([record(), record("int8", 2.0, settings=settings)]).data
    assert "<td>int8<small>baseline, ONNX Runtime, rows by 8, 2 streams</small></td>" in shown


def test_the_reference_and_whatever_was_measured_elsewhere_name_their_machine():
    epyc, xeon = {"cpu": "AMD EPYC", "cores": 2}, {"cpu": "Intel(R) Xeon(R) Processor", "cores": 2}
    shown = table([record(machine=epyc), record("fine", 2.0, machine=epyc), record("here", 3.0, machine=xeon)]).data
    assert "<td>base<small>baseline, on AMD EPYC, 2 cores</small></td>" in shown
    assert "<td>fine<small>baseline</small></td>" in shown
    assert "<td>here<small>baseline, on Intel Xeon, 2 cores</small></td>" in shown


def test_energy_is_in_watt_hours_beside_what_ai_energy_score_measured():
    """3.6 J a prediction are 1 Wh for 1,000 of them."""
    result = {"joules_low": 1.8, "joules": 3.6, "joules_high": 7.2}
    shown = table([record(**result, rows_cut=0.0, tokens_cut=0.0, unknown=0.0)]).data
    assert "<td>1.0<small>0.50 to 2.0</small></td>" in shown
    assert "AI Energy Score, text classification, Wh per 1,000 queries on one NVIDIA H100" in shown
    assert "AI Energy Score" not in table([record(**result)]).data  # images


def test_the_footnote_tells_what_was_repeated():
    assert "timed in turns, 5 rounds in each of 3 processes;" in table([record(settings={"rounds": 5, "processes": 3})]
                                                                       ).data
    assert "timed in turns, 7 rounds;" in table([record(settings={"rounds": 7, "processes": 1})]).data
    assert "timed in turns;" in table([record(settings={})]).data
