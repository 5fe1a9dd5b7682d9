"""Findings in words, whichever way they went."""

import numpy as np
import pytest
from app_helpers import record

from helpers.app.text.findings import (
    TOLERATED,
    beside_the_constant,
    best,
    change,
    cheaper,
    finding,
    full_name,
    on_machine,
    origins,
    short_finding,
)
from helpers.lab import score

MINUS = "\N{MINUS SIGN}"


def test_a_slower_candidate_is_dearer():
    slow = record("slow", 0.5)
    assert cheaper(slow) == "2.0 times (1.6 to 2.5) dearer"
    assert change(slow).startswith("equally accurate")


def test_the_best_is_the_cheapest_that_significantly_gains_and_loses_little():
    records = [record(), record("fine", 2.0, 0.895), record("lossy", 9.0, 0.7), record("unsure", 1.1, 0.9)]
    assert best(records).model == "fine"
    assert finding(records).startswith("fine is 2.0 times (1.6 to 2.5) cheaper than base and loses 0.50 points")
    assert short_finding(records) == "fine costs 2.0x less and shows no significant difference in accuracy"
    worse = record("worse", 2.0, 0.885)
    assert short_finding([record(), worse]) == "worse costs 2.0x less but may lose up to 2.5 points"


def test_the_best_of_many_has_to_do_better_than_the_best_of_one():
    """1.0 points less, and 1.8 at worst: alone that is no loss of 2 points, among fifteen it may be luck."""
    one = record("one", 2.0, 0.89, accuracy_delta_low=-0.018)
    others = [record(f"lossy {number}", 1.5, 0.5) for number in range(14)]
    assert best([record(), one]).model == "one"
    assert best([record(), one, *others]) is None
    assert "(95%, 15 candidates at once)" in finding([record(), one, *others])
    assert short_finding([record(), one, *others]) == "one costs 2.0x less but may lose up to 2.2 points"


def test_none_is_called_good_where_all_lose_just_what_is_tolerated():
    """5%, whatever the number of candidates: 300 sets of 14, each with a true loss of 2 points and its own luck."""
    rng, called = np.random.default_rng(0), 0
    for _ in range(300):
        deltas = rng.normal(-TOLERATED, 0.005, 14)
        called += best([record(), *(record(str(number), 2.0 + number, accuracy_delta=delta, accuracy_delta_low=low,
                                           accuracy_delta_high=2 * delta - low) for number, (delta, low) in enumerate(
            zip(deltas, deltas - 1.96 * 0.005, strict=True)))]) is not None
    assert called / 300 <= 0.05


@pytest.mark.parametrize(("records", "said"), [
    ([], "Nothing has been measured"),
    ([record()], "only the reference"),
    ([record(), record("slow", 0.5)], "None of these is significantly cheaper"),
    ([record(), record("lossy", 3.0, 0.5)], "no candidate is significantly cheaper and loses at most 2.0 points")])
def test_losing_cases_are_said_plainly(records, said):
    assert said in finding(records)


# One row in a hundred is 'yes', as in a file of rare events: 0.99 is what a constant answer gets.
RARE = {"majority": 0.99, "macro_f1": 0.497, "weakest_recall": 0.0, "weakest_class": "yes", "accuracy_low": 0.95,
        "accuracy_high": 0.999}


def test_what_learned_no_more_than_the_constant_gets_no_verdict():
    records = [record("base", 1.0, 0.99, **RARE), record("quick", 9.0, 0.99, **RARE)]
    said = finding(records)
    assert best(records) is None
    assert said.startswith("Neither base nor quick has learned more than the constant answer")
    assert "right in 99% of the test rows, base in 99% (95 to 100). Its macro F1 is 0.50" in said
    assert "weakest class, 'yes', it finds 0% of the rows" in said
    assert "cheaper" not in said + short_finding(records)


def test_a_candidate_that_learned_nothing_is_neither_the_best_nor_the_one_that_is_told_of():
    learned = {**RARE, "majority": 0.5}
    records = [record("base", 1.0, 0.9, majority=0.5), record("constant", 99.0, 0.9, **RARE),
               record("fine", 2.0, 0.9, majority=0.5)]
    assert best(records).model == "fine"
    assert finding([*records[:2], record("lossy", 2.0, 0.7, majority=0.5)]).startswith("lossy is 2.0 times")
    assert finding(records[:2]).startswith("constant has learned no more than the constant answer")
    assert beside_the_constant([record(**learned)]) == ""


def test_records_of_before_are_judged_as_before():
    assert finding([record(), record("fine", 2.0, 0.895)]).startswith("fine is 2.0 times")


def test_a_score_without_a_name_is_the_models():
    assert beside_the_constant([score([0] * 50, [0] * 49 + [1], ["no", "yes"])]).startswith("The model has learned")


@pytest.mark.parametrize(("records", "title"), [
    ([record(), record("slow", 0.5)], "None is significantly cheaper: slow costs 2.0x more (1.6 to 2.5)"),
    ([record(), record("unsure", 1.1, 0.9)], "None is significantly cheaper: unsure costs 1.1x less (0.88 to 1.4)"),
    ([record(), record("lossy", 3.0, 0.5)], "lossy costs 3.0x less but loses 40 points"),
    ([record(), record("wide", 7.4, 0.9067, accuracy_delta_low=-0.03, accuracy_delta_high=0.04)],
     "wide costs 7.4x less but may lose up to 3.0 points"),
    ([record(), record("better", 2.0, 0.92)], "better costs 2.0x less and gains 2.0 points")])
def test_a_title_gives_the_reason_and_never_contradicts_itself(records, title):
    assert short_finding(records) == title


def test_a_wide_interval_does_not_hide_a_candidate_that_is_significantly_cheaper():
    wide = record("wide", 3.0, 0.9, speedup_low=0.9, speedup_high=8.0)
    assert "lossy is 2.0 times (1.6 to 2.5) cheaper" in finding([record(), wide, record("lossy", 2.0, 0.7)])


def test_a_name_that_hides_changes_is_told_with_them():
    hidden = {"runtime": "onnxruntime", "streams": 2, "micro_batch": 8}
    assert full_name(record("int8", 2.0, settings=hidden)) == "int8 (ONNX Runtime, rows by 8, 2 streams)"
    said = record("int8, ONNX Runtime, 2 streams, rows by 8", 2.0, settings=hidden)
    assert full_name(said) == said.model
    assert full_name(record("TF-IDF", 9.0, settings={"runtime": "scikit-learn"})) == "TF-IDF (scikit-learn)"
    assert full_name(record(settings={"runtime": "pytorch"})) == "base"


def test_the_finding_names_its_machine_in_front():
    epyc, xeon = {"cpu": "AMD EPYC", "cores": 2}, {"cpu": "Intel(R) Xeon(R) Processor", "cores": 4}
    records = [record(machine=epyc), record("fine", 2.0, 0.895, machine=epyc)]
    assert finding(records).startswith("On AMD EPYC (2 cores), fine is 2.0 times")
    assert on_machine([records[0], record(machine=xeon)]) == "On AMD EPYC (2 cores) and Intel Xeon (4 cores), "
    assert finding([records[0], record("slow", 0.5, machine=epyc)]).startswith(
        "On AMD EPYC (2 cores), none of these is significantly cheaper")


def test_records_are_named_by_data_and_machine():
    records = [record(), record("mine", 2.0, provenance="measured", task="my_file", machine={"cpu": "a CPU"})]
    assert origins(records, brief=True) == ["Recorded on made up: unknown machine, 2026-01-02",
                                            "Measured here on my_file: a CPU, 2026-01-02"]
    assert origins(records)[0].endswith("800 test rows, 2026-01-02, on a machine of which no details were recorded: "
                                        "base")
