"""A participant's function on random points: what is right passes in any form, and nothing that it does hangs."""

import fractions
import functools
import html
import math
import os
import re
import statistics
import sys
import threading
import time

import numpy as np
import pytest
import torch

from helpers.app import Exercise, exercises

HINTS = ("Which mean?", "The one of products.", "The root of the product.")
SENTENCE_S = 5.0  # within which a sentence is there, once the process is


def two_numbers(rng):
    return {"a": rng.uniform(1, 9), "b": rng.uniform(1, 9)}


def mean_check(name, **settings):
    return Exercise(name, two_numbers, lambda a, b: statistics.geometric_mean([a, b]), "The product's root.", HINTS,
                    **settings)


def plain(shown):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", shown.data)).strip())


@pytest.fixture(scope="module", autouse=True)
def _process():
    """The first check waits for the process and its imports; no time is taken of that."""
    mean_check("start")(lambda a, b: np.sqrt(torch.tensor(a * b)))


@pytest.mark.parametrize("right", [
    lambda a, b: math.sqrt(a * b),
    lambda a, b: (a * b) ** 0.5,
    lambda a, b: np.exp(np.mean(np.log([a, b]))),
    lambda a, b: np.array([math.sqrt(a * b)]),
    lambda a, b: [math.sqrt(a) * math.sqrt(b)],
    lambda a, b: torch.tensor(a * b, requires_grad=True).sqrt(),
    lambda a, b: np.float32(math.sqrt(a * b)),
    lambda a, b: fractions.Fraction(math.sqrt(a * b)),
    lambda a, b: 1.00001 * math.sqrt(a * b)])
def test_every_right_form_passes(right):
    assert plain(mean_check("forms")(right)).startswith("Right. The product's root. Point Yours Wanted a=")


@pytest.mark.parametrize("wrong", [
    lambda a, b: (a + b) / 2, lambda a, b: a * b, lambda a, b: -math.sqrt(a * b), lambda a, b: math.nan,
    lambda a, b: math.inf, lambda a, b: 1.001 * math.sqrt(a * b), lambda a, b: [a, b], lambda a, b: {"mean": a},
    lambda a, b: np.full((2, 2), math.sqrt(a * b)), lambda a, b: complex(a, b), lambda a, b: str(math.sqrt(a * b)),
    lambda a, b: (one for one in (a, b)), lambda a, b: True, lambda a, b: [], lambda a, b: [a, [b]]])
def test_what_is_wrong_does_not_pass(wrong):
    assert plain(mean_check("wrong forms")(wrong)).startswith("Not yet. ")


def test_theirs_stands_beside_what_is_wanted():
    """The arithmetic mean is right at no point but a = b."""
    said = plain(mean_check("beside")(lambda a, b: (a + b) / 2))
    a, b, mine, wanted = re.search(r"a=([\d.]+), b=([\d.]+) ([\d.]+) ([\d.]+) wrong", said).groups()
    assert float(mine) == pytest.approx((float(a) + float(b)) / 2, rel=1e-4)
    assert float(wanted) == pytest.approx(math.sqrt(float(a) * float(b)), rel=1e-4)
    assert said.startswith("Not yet. All 6 random points are wrong.")


def test_wrong_points_come_first():
    check = Exercise("order", lambda rng: {"n": rng.integers(10)}, lambda n: n**2, "Yes.", HINTS)
    said = plain(check(lambda n: n**2 if n < 8 else 2 * n))
    rng = np.random.default_rng(0)
    drawn = [int(rng.integers(10)) for _ in range(6)]
    missed = [n for n in drawn if n >= 8]
    assert f"{len(missed)} of 6 random points are wrong" in said
    assert said.split("Wanted")[1].strip().startswith(f"n={missed[0]} ")


def test_of_a_large_array_the_entries_that_differ_most_are_shown():
    check = Exercise("array", lambda rng: {"x": rng.normal(size=(4, 5))}, lambda x: x + 1, "Yes.", HINTS)

    def all_but_one(x):
        x += 1
        x[2, 3] = 7
        return x
    said = plain(check(all_but_one))
    assert "x of 4 x 5" in said
    assert "[2, 3] 7" in said


def test_what_a_function_does_to_its_arguments_changes_no_other_answer():
    check = Exercise("in place", lambda rng: {"x": rng.normal(size=3)}, lambda x: 2 * x, "Yes.", HINTS)

    def in_place(x):
        x *= 2
        return x
    assert "Right." in check(in_place).data
    assert "Right." in check(in_place).data


def test_hints_grow_with_each_new_attempt_up_to_three():
    check = mean_check("hints")
    attempts = [lambda a, b: a, lambda a, b: b, lambda a, b: a + b, lambda a, b: a - b]
    counts = [plain(check(attempt)).count("Hint") for attempt in attempts]
    assert counts == [1, 2, 3, 3]
    assert plain(mean_check("hints")(lambda a, b: a * 3)).count("Hint") == 3, "a new check forgets nothing"


def test_the_same_cell_run_again_is_no_new_attempt():
    check, source = mean_check("again"), "def mine(a, b):\n    return a\n"

    def run_cell():
        names = {"__name__": "__main__"}
        exec(source, names)
        return plain(check(names["mine"]))
    assert run_cell() == run_cell()


def test_what_is_not_written_yet_is_no_attempt():
    check = mean_check("unwritten")
    for unwritten in (lambda a, b: ..., lambda a, b: (..., ...), lambda a, b: a * ..., lambda a, b: math.sqrt(...)):
        said = plain(check(unwritten))
        assert "returns nothing yet" in said
        assert "Hint" not in said
    assert "Hint 1 of 3" in plain(check(lambda a, b: None))


def test_an_error_is_a_sentence_with_its_line_and_its_point():
    def divides(a, b):
        zero = 0
        return a / zero
    said = plain(mean_check("error")(divides))
    assert re.search(r"stopped in its line 3 with ZeroDivisionError: \S.* This was at a=[\d.]+, b=[\d.]+\.", said)


@pytest.mark.parametrize("stops", [lambda a, b: undefined, lambda a: a, lambda a, b: sys.exit(3),  # noqa: F821
                                   lambda a, b: input(), lambda a, b: [0] * 10**13, lambda a, b: int("x")])
def test_whatever_stops_it_is_a_sentence(stops):
    assert "Not yet. Your function stopped" in plain(mean_check("stops")(stops))


def loops(a, b):
    while True:
        pass


def catches_all(a, b):
    while True:
        try:
            while True:
                print("still here")
        except BaseException:
            continue


def prints(a, b):
    while True:
        print("x" * 100)


def recurses(a, b):
    return recurses(b, a)


def sleeps(a, b):
    time.sleep(3600)


def counts(a, b):
    return sum(range(10**12))  # a loop inside of the interpreter, which heeds no signal of Python's


def exits(a, b):
    os._exit(0)


def crashes(a, b):
    import ctypes

    return ctypes.string_at(0)


@pytest.mark.parametrize("bad", [loops, catches_all, prints, recurses, sleeps, counts, exits, crashes])
def test_nothing_hangs_and_nothing_takes_the_kernel_along(bad):
    mean_check("warm")(lambda a, b: 0.0)  # one process is there; a killed one is replaced by the next check
    began = time.perf_counter()
    said = plain(mean_check("bad")(bad))
    assert time.perf_counter() - began < SENTENCE_S
    assert said.startswith("Not yet. Your function ")


def test_after_a_process_was_ended_the_next_check_works():
    mean_check("bad")(exits)
    assert "Right." in mean_check("after")(lambda a, b: math.sqrt(a * b)).data


def test_the_stop_button_ends_the_process_too(monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt
    check = mean_check("stopped")
    used = []
    monkeypatch.setattr(exercises.Worker, "receive", lambda worker: used.append(worker) or pressed())
    with pytest.raises(KeyboardInterrupt):
        check(lambda a, b: a)
    assert not used[0].alive


def test_a_few_printed_lines_are_shown_and_a_flood_is_not():
    def talks(a, b):
        print("a is", a)
        return math.sqrt(a * b)

    def floods(a, b):
        for _ in range(20_000):
            print("flood")
        return math.sqrt(a * b)
    assert "It printed: a is " in plain(mean_check("talks")(talks))
    shown = mean_check("floods")(floods)
    assert "Right." in shown.data
    assert shown.data.count("flood") < 100


def test_what_is_no_function_is_a_sentence():
    assert "without brackets" in plain(mean_check("no function")(3.0))


def test_what_cannot_be_copied_is_a_sentence():
    lock = threading.Lock()
    assert "cannot be copied" in plain(mean_check("lock")(lambda a, b: lock.locked()))


def test_any_callable_can_be_checked():
    assert "Right." in mean_check("partial")(functools.partial(lambda k, a, b: (a * b) ** k, 0.5)).data
    assert "Hint 1" in plain(mean_check("ufunc")(np.add))


def halved(function, a, b):
    low, high = function(a, b)
    return {"width": high - low, "below": max(0.0, low - math.sqrt(a * b)), "above": max(0.0, math.sqrt(a * b) - high)}


def test_where_more_than_one_answer_is_right_figures_have_a_limit():
    """A bracket of the mean no wider than the two numbers: any such bracket will do."""
    check = Exercise("limits", two_numbers, lambda a, b: {"width": abs(a - b), "below": 0, "above": 0}, "Yes.", HINTS,
                     use=halved)
    assert "Right." in check(lambda a, b: (min(a, b), max(a, b))).data
    assert "Right." in check(lambda a, b: (min(a, b), (a + b) / 2)).data
    said = plain(check(lambda a, b: (0.0, a + b)))
    assert "Not yet." in said
    assert "At most" in said
    assert re.search(r"width [\d.]+; below 0; above 0 width [\d.]+; below 0; above 0 wrong", said)


def test_markup_in_what_is_answered_is_shown_and_not_obeyed():
    def markup(a, b):
        print("<script>")
        raise ValueError("<b>")
    shown = mean_check("markup")(markup).data
    assert "<script>" not in shown
    assert "ValueError: &lt;b&gt;" in shown
    assert "&lt;script&gt;" in shown
