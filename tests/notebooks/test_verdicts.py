"""Each verdict on results that are turned round: what won loses, what met a target misses it, what was there is not.

A cell is run with the results given: what it would assign to a name that is given is left out, and so is no sentence.
"""

import ast
import html
import math
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from app_helpers import record

from helpers import app
from helpers.hardware_codesign import break_even_utilization
from helpers.lab import offer, score

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = {(path.name[0], cell.id): cell.source for path in FOLDER.glob("*.ipynb")
           for cell in nbformat.read(path, as_version=4).cells}
NONSENSE = [
    r"\bnan\b|\binf\b|\bNone\b", r"\b1\.0+ times (?:as|less|more|faster|slower)", r"(?<![\d.,])0(?:\.\d+)? times ",
    r"[-\N{MINUS SIGN}]\$?\d[\d,.]* (?:labels )?(?:fewer|more|less)\b", r"\$[-\N{MINUS SIGN}]",
    r"\b(?:saves|loses|gains) [-\N{MINUS SIGN}]", r"\b0\.\d+x the answers"]
WHOLE = score([0, 1] * 50, [0, 1] * 50, ["no", "yes"])


def said(number: str, cell: str, **given) -> str:
    """The sentence of a cell's verdict, or of its last line."""
    names = {"app": app, "display": lambda *_: None, **given}
    tree = ast.parse(SOURCES[number, cell])
    last = tree.body.pop()
    tree.body = [line for line in tree.body if not set(roots(line)) & set(given)]
    exec(compile(tree, cell, "exec"), names)
    shown = eval(compile(ast.Expression(last.value), cell, "eval"), names)
    text = html.unescape(" ".join(re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", shown.data).split()))
    assert not [pattern for pattern in NONSENSE if re.search(pattern, text)], text
    return text


def roots(line: ast.stmt) -> list[str]:
    """The names that a line assigns to, or into."""
    targets = line.targets if isinstance(line, ast.Assign) else []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


class Answers:
    """A model that is right in a given share of the rows, the same ones first."""

    def __init__(self, share: float):
        self.share = share

    def predict(self, texts):
        right = np.arange(len(texts)) < self.share * len(texts)
        return np.where(right[:, None], [[1, 0]], [[0, 1]])


TASK = SimpleNamespace(name="made up", test={"text": ["a"] * 400, "label": [0] * 400}, labels=["no", "yes"])
LABELS = np.zeros(400, int)


@pytest.mark.parametrize(("shares", "gains", "loses"), [
    ((0.5, 0.7), "first-order", "none"), ((0.7, 0.5), "none", "first-order"), ((0.6, 0.6), "none", "none")])
def test_importance_and_teacher_may_win_or_lose(shares, gains, loses):
    one, other = map(Answers, shares)
    text = said("1", "p20", task=TASK, by_magnitude=one, by_gradient=other, control=one, student=other,
                smaller=SimpleNamespace(measurements=[record()]))
    assert f"Gains: {gains}" in text
    assert f"Loses: {loses}" in text


@pytest.mark.parametrize(("sparse", "share"), [(45.0, "50%"), (90.0, "100%"), (99.0, "110%")])
def test_zeros_may_take_as_much_space(sparse, share):
    assert f"{share} of that" in said("1", "p22", dense=90.0, sparse=sparse, small=60.0)


@pytest.mark.parametrize(("shares", "speeds", "words"), [
    ((0.5, 0.8), (2.0, 4.0), "gains 30.0 points"), ((0.8, 0.5), (4.0, 2.0), "loses 30.0 points"),
    ((0.5, 0.5), (3.0, 3.0), "no significant difference")])
def test_the_order_may_matter_either_way(shares, speeds, words):
    orders = [Answers(share) for share in shares]
    records = dict(zip(orders, [record(str(speed), speed, 0.9) for speed in speeds], strict=True))
    in_order = SimpleNamespace(of=records.get, measurements=[record()])
    text = said("1", "p30", orders=orders, in_order=in_order, task=TASK, labels=LABELS,
                paired_difference=__import__("helpers.lab", fromlist=["x"]).paired_difference)
    assert words in text
    assert ("speeds differ" in text) == (speeds[0] != speeds[1])


@pytest.mark.parametrize(("speedup", "words"), [(2.0, "is repaid after"), (0.5, "It never repays")])
def test_work_that_saves_nothing_is_never_repaid(speedup, words):
    result = SimpleNamespace(measurements=[record()])
    best = record("best", speedup, 0.895, made_in_s=7200.0)
    assert words in said("1", "q39", result=result, best=best, machine=offer("AWS m6i.large"))


@pytest.mark.parametrize(("speedup", "faster", "slower"), [(1.5, "1 x 8", "none"), (0.7, "none", "1 x 8"),
                                                           (1.0, "none", "none")])
def test_int8_may_lose_everywhere(speedup, faster, slower):
    turns = pd.DataFrame({"batch": 1, "tokens": (8, 32), "speedup": speedup, "low": 0.95 * speedup,
                          "high": 1.05 * speedup})
    text = said("1", "q43", turns=turns)
    assert f"Int8 is faster: {faster}" in text
    assert f"Slower: {slower}" in text


@pytest.mark.parametrize("sign", [1, -1])
def test_another_cpu_may_score_more_or_less(sign):
    low, high = sorted((0.02 * sign, 0.06 * sign))
    emulated = pd.DataFrame({"kernel": ["VNNI", "AVX2"], "accuracy_delta": [0.0, 0.04 * sign],
                             "accuracy_delta_low": [-0.01, low], "accuracy_delta_high": [0.01, high]})
    text = said("1", "q45", emulated=emulated, alone=record())
    assert f"{'More accurate than fp32' if sign > 0 else 'Less accurate'}: AVX2" in text


@pytest.mark.parametrize(("shares", "less"), [((0.9, 0.9, 0.89, 0.3), "2 bits"), ((0.9, 0.9, 0.9, 0.9), "none"),
                                              ((0.2, 0.2, 0.2, 0.2), "8 bits")])
def test_accuracy_may_fall_at_any_number_of_bits_or_at_none(shares, less):
    rights = {32: np.arange(400) < 360, **{bits: np.arange(400) < 400 * share
                                          for bits, share in zip((8, 4, 3, 2), shares, strict=True)}}
    from helpers.lab import paired_difference

    text = said("1", "q47", few_bits=dict.fromkeys((8, 4, 3, 2)), rights=rights, alone=record(), labels=LABELS,
                paired_difference=paired_difference)
    assert f"Less accurate: {less}" in text


@pytest.mark.parametrize(("speedup", "delta", "words"), [
    ((900.0, 800.0, 1000.0), -0.05, "900 times (800 to 1,000) faster"),
    ((0.7, 0.6, 0.8), -0.05, "1.4 times (1.2 to 1.7) slower"), ((1.0, 0.9, 1.1), 0.05, "about as fast"),
    ((900.0, 800.0, 1000.0), 0.05, "gains 5.0 points")])
def test_tfidf_may_be_slower_and_more_accurate(speedup, delta, words):
    value, low, high = speedup
    tfidf = SimpleNamespace(model="TF-IDF", speedup=value, speedup_low=low, speedup_high=high, accuracy_delta=delta,
                            accuracy_delta_low=delta - 0.01, accuracy_delta_high=delta + 0.01)
    assert words in said("2", "e23", tfidf=tfidf, paper=5000.0, guess=SimpleNamespace(value=3.0),
                         result=SimpleNamespace(measurements=[record()]))


@pytest.mark.parametrize(("threshold", "escalated", "words"), [(0.7, 0.4, "confidence of 0.70 is enough"),
                                                               (1.5, 1.0, "no confidence is enough")])
def test_no_confidence_may_be_enough(threshold, escalated, words):
    row = {"max_lost": 3.0, "threshold": threshold, "escalated": escalated, "lost": 0.01, "gained": 0.0, "kept": 1.0,
           "cost_share": 0.5}
    assert words in said("2", "e29", promised=pd.DataFrame([row]), LOSE_AT_MOST=3.0, seconds=[],
                         result=SimpleNamespace(measurements=[record()]))


@pytest.mark.parametrize("losses", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0)])
def test_another_attention_may_lose_less(losses):
    runs = [SimpleNamespace(kind=kind, loss=loss, low=loss - 0.1, high=loss + 0.1)
            for kind, loss in zip(("full", "linear"), losses, strict=True)]
    apart = {True: "linear more", False: "linear less"}[losses[1] > losses[0]] if losses[0] != losses[1] else "none"
    assert said("2", "e75", losses=runs, pd=SimpleNamespace(DataFrame=lambda _: pd.DataFrame()), report=None,
                STEPS_OF_TRAINING=1).endswith(f"apart from that: {apart}.")


def ladder(small):
    return SimpleNamespace(measurements=[record("large"), small])


@pytest.mark.parametrize(("small", "words"), [
    (record("small", 9.0, 0.885), "small is the cheapest"), (record("small", 9.0, 0.5), "No smaller model is within")])
def test_no_smaller_model_may_be_near(small, words):
    from helpers.efficient_architectures import cheapest_within

    best = {"way": "lora 8", "points": -0.5, "low": -1.0, "high": 0.0, "share": 0.01}
    text = said("2", "e63", cheapest_within=cheapest_within, result=ladder(small), POINTS=2.0, LOSE_AT_MOST=3.0,
                often=0.5, mine={"kept": 1.02, "cost_share": 1.2}, best=best, difference="no significant difference",
                few=SimpleNamespace(train=[0] * 240))
    assert words in text


@pytest.mark.parametrize(("bounds", "words"), [
    (["memory"] * 2, "Memory limits 2 of 2"), (["arithmetic"] * 2, "Memory limits 0 of 2 sizes;")])
def test_memory_may_limit_all_sizes_or_none(bounds, words):
    limits = pd.DataFrame({"batch": [1, 4], "length": [16, 64], "bound": bounds})
    assert words in said("3", "h23", limits=limits, work=None)


@pytest.mark.parametrize(("rates", "words"), [((100.0, 200.0), "(met)"), ((100.0, 0.0), "a single text takes too long"),
                                              ((0.0, 0.0), "Target 50 ms: a single text")])
def test_a_target_may_be_missed_by_a_single_text(rates, words):
    load = pd.DataFrame({"target_ms": [50.0, 150.0], "rate": rates, "p95_ms": [40.0, 160.0 if rates[1] else np.nan]})
    assert words in said("3", "h49", load=load)


@pytest.mark.parametrize(("speedup", "words"), [(2.0, "2.0 times (1.8 to 2.2) faster"),
                                                (0.5, "Nothing that was timed is faster than PyTorch")])
def test_nothing_may_be_faster_than_pytorch(speedup, words):
    ran = pd.DataFrame({"name": ["PyTorch", "ONNX"], "speedup": [1.0, speedup], "speedup_low": [1.0, 0.9 * speedup],
                        "speedup_high": [1.0, 1.1 * speedup], "same_answers": [1.0, 0.99]})
    assert words in said("3", "h73", ran=ran, usd=0.5, texts=[""] * 400,
                         base=SimpleNamespace(predict=lambda texts: np.eye(2)[[0, 1] * 200]),
                         task=SimpleNamespace(test={"label": [0, 1] * 200}, labels=["no", "yes"]))


@pytest.mark.parametrize(("there", "rows_per_s", "words"), [
    ("both", 1e6, " pays from "), ("both", 1.0, "No accelerator pays"), ("cpu", 1e6, "Only CPUs"),
    ("gpu", 1e6, "Only accelerators"), ("none", 1e6, "No offer meets it.")])
def test_no_offer_may_meet_the_target(there, rows_per_s, words):
    rows = [{"offer": "AWS m6i.large", "device": "", "rows_per_s": 100.0, "usd": 0.3},
            {"offer": "AWS p5.4xlarge", "device": "NVIDIA H100 SXM", "rows_per_s": rows_per_s, "usd": 0.1}]
    offers = pd.DataFrame(rows).iloc[{"both": [0, 1], "cpu": [0], "gpu": [1], "none": []}[there]]
    assert words in said("3", "h77", offers=offers, break_even_utilization=break_even_utilization)


@pytest.mark.parametrize("cell", ["h81", "h83"])
@pytest.mark.parametrize("gain", [1.5, 0.6, 1.0, math.nan])
def test_a_library_or_a_graph_level_may_be_slower(cell, gain):
    rows = pd.DataFrame({"switch": ["a", "b"], "level": ["none", "all"], "on": "", "off": "", "note": "",
                         "nodes": [9, 5], "gain": [1.0, gain], "speedup": [1.0, gain], "low": [0.9, 0.95 * gain],
                         "high": [1.1, 1.05 * gain]})
    text = said("3", cell, **{"switches" if cell == "h81" else "levels": rows})
    found = re.search(r"Faster[\w ]*: (.*?)\. Slower: (.*?)\.(?: |$)", re.sub(r"(?<=\d)\.(?=\d)", "", text))
    name = "b" if cell == "h81" else "all"
    assert found is None or [name in found[1].split(), name in found[2].split()] == [gain > 1, gain < 1]


@pytest.mark.parametrize("rates", [(100.0, 50.0), (50.0, 100.0), (100.0, 99.0)])
def test_one_process_may_win_or_lose(rates):
    layouts = pd.DataFrame({"layout": ["one", "many"], "rows_per_s": rates, "low": np.array(rates) - 5,
                            "high": np.array(rates) + 5}).sort_values("rows_per_s", ascending=False)
    text = said("3", "h85", layouts=layouts)
    assert text.startswith("one" if rates[0] > rates[1] else "many")
    assert text.endswith("Within its interval: many." if rates == (100.0, 99.0) else "Within its interval: no other.")


def savings(sign):
    return pd.DataFrame({"saved_usd": [0.0, 12.0 * sign], "saved_usd_low": [0.0, min(5 * sign, 20 * sign)],
                         "saved_usd_high": [0.0, max(5 * sign, 20 * sign)], "significant": [False, True]},
                        index=["random", "margin"])


@pytest.mark.parametrize(("sign", "words"), [(1, "saves $12.00 ($5.00 to $20.00)"),
                                             (-1, "loses $12.00 ($5.00 to $20.00)")])
def test_choosing_rows_may_lose_money(sign, words):
    to_95 = savings(sign)
    assert words in said("4", "d37", to_95=to_95, full=0.9, whole=WHOLE)
    at_budget = pd.DataFrame([{"noise": "uniform"}])
    assert words in said("4", "d60", first=["random", "margin"], to_95=to_95, at_budget=at_budget, full=0.9,
                         whole=WHOLE, regained=lambda row: "50% of the lost accuracy", reviews=200, paper=0.1,
                         next_point="$5", guess=SimpleNamespace(value=0.5))


@pytest.mark.parametrize(("sign", "words"), [(1, "needs 30 labels fewer than random (10 to 50"),
                                             (-1, "needs 30 labels more than random (10 to 50")])
def test_the_best_strategy_may_need_more_labels(sign, words):
    names = {"app": app}
    for cell in ("d03", "d05", "d05b"):
        exec(SOURCES["4", cell], names)
    low, high = sorted((10 * sign, 50 * sign))
    rows = pd.DataFrame({"saved_on_validation": [0.0, 1.0], "saved": [0.0, 30.0 * sign], "saved_low": [0.0, low],
                         "saved_high": [0.0, high], "significant": [False, True]}, index=["random", "margin"])
    given = {name: names[name] for name in ("table", "bought", "regained", "compared", "KINDS", "LOST")}
    text = said("4", "d07", rows=rows, REVIEWER_ERROR=0.05, BUDGET_USD=20, USD_PER_LABEL=0.1, **given)
    assert words in text


@pytest.mark.parametrize("cell", ["d62", "d64"])
@pytest.mark.parametrize(("gain", "significant"), [(0.05, True), (-0.05, True), (0.05, False)])
def test_a_method_may_help_harm_or_neither(cell, gain, significant):
    rows = pd.DataFrame({"method": ["random", "none", "other"], "keep": 0.5, "labels": 100, "gain": [0.0, 0.0, gain],
                         "gain_low": [0.0, 0.0, gain - 0.01], "gain_high": [0.0, 0.0, gain + 0.01],
                         "significant": [False, False, significant]})
    text = said("4", cell, whole=WHOLE, few=[], runs_altered=None, **{"pruned" if cell == "d62" else "changed": rows})
    places = re.split(r"(?:Less accurate|It harms): |No significant difference: ", text)
    assert ["other" in place for place in places] == [significant and gain > 0, significant and gain < 0,
                                                      not significant]


@pytest.mark.parametrize(("measured", "words"), [(0.9, "within that band"), (0.5, "outside of that band")])
def test_the_curve_may_be_wrong(measured, words):
    seen = {"labels": 1000.0, "predicted": 0.9, "low": 0.88, "high": 0.92, "measured": measured}
    assert words in said("4", "d41", measured=None, seen=seen, whole=WHOLE)


@pytest.mark.parametrize(("formula", "machines"), [([0.2, 0.01], "11"), ([0.2, 0.1], "11"), ([0.01, 0.001], "10")])
def test_erlangs_formula_may_ask_for_more_machines_than_were_tried(formula, machines):
    waits = [{"machines": 10 + number, "on paper": share, "central": share, "random": 0.5}
             for number, share in enumerate(formula)]
    assert said("5", "c29", waits=waits, pd=pd).startswith(f"On {machines} machines")


POLICIES = ["fixed", "Kubernetes HPA", "KEDA", "schedule", "predictive"]


@pytest.mark.parametrize("best", POLICIES)
def test_four_arms_are_compared_whichever_policy_is_best(best):
    names = {"best": best, "policies": {name: name for name in POLICIES}, "plan": 3, "service": None, "quick": None,
             "quick_plan": 2}
    lines = [line for line in ast.parse(SOURCES["5", "c47"]).body if set(roots(line)) & {"scaler", "both", "arms"}]
    exec(compile(ast.Module(lines, []), "c47", "exec"), names)
    assert len(names["arms"]) == 4
    assert all(name.split(",")[0] == policy for name, (policy, *_) in names["arms"].items())


@pytest.mark.parametrize(("factors", "words"), [((1.0, 2.0, 3.0, 4.0), "4.0 times less"), ((1.0, 0.5, 1.0, 0.8),
                                                                                           "1.2 times more")])
def test_a_quicker_model_or_an_autoscaler_may_cost_more(factors, words):
    names = ["fixed, reference", "KEDA, reference", "fixed, quickest model", "KEDA, quickest model"]
    combined = pd.DataFrame({"name": names, "usd_month": 100 / np.array(factors), "times": factors})
    given = dict.fromkeys(("quick", "quick_plan", "scaler", "both", "arms"))
    assert words in said("5", "c47", combined=combined, **given)


@pytest.mark.parametrize(("usd", "words"), [({0.0: 100.0, 1.0: 50.0}, "2.0 times less"), ({0.0: 50.0, 1.0: 100.0},
                                                                                         "2.0 times more"),
                                            ({0.0: 50.0, 1.0: 50.0}, "as much")])
def test_spot_may_cost_more(usd, words):
    run = SimpleNamespace(late=lambda _: 0.01, counts={"failed": 3})
    given = dict.fromkeys(("size", "settings"))
    assert words in said("5", "c57", usd=usd, mix={0.0: run, 1.0: run}, DEADLINE_S=0.25, **given)


@pytest.mark.parametrize(("best", "in_time", "words"), [
    ("KEDA", 2, "KEDA is the cheapest, of those that meet the latency target"),
    ("fixed", 2, "Nothing costs less than 3 fixed machines, of those that meet"),
    ("KEDA", 0, "KEDA is the cheapest, and none meets the latency target"),
    ("fixed", 0, "Nothing costs less than 3 fixed machines, and none meets the latency target")])
@pytest.mark.parametrize(("times", "all_told"), [(1.0, "as much in all"), (0.8, "1.2 times more in all"),
                                                 (2.5, "2.5 times less in all")])
def test_the_fixed_fleet_may_be_the_cheapest_and_all_may_be_late(best, in_time, words, times, all_told):
    bills = pd.DataFrame({"name": ["fixed", "KEDA"], "usd_month": [100.0, 90.0], "p95_ms": 200.0, "late": 0.1})
    told = "of those that meet the latency target" if in_time else "and none meets the latency target"
    text = said("5", "c63", bills=bills, best=best, told=told, plan=3, ratios=(1.1, 1.0, 1.2), paper=2.0,
                times_less=lambda *_: "1.1 times less", combined=pd.DataFrame({"times": [1.0, times]}),
                guess=SimpleNamespace(value=1.5))
    assert words in text
    assert all_told in text


def test_every_cell_of_a_verdict_was_found():
    """Ids may change when cells are replaced; then the test has to follow."""
    used = set(re.findall(r'said\("(\d)", "([\w-]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert used <= set(SOURCES)
