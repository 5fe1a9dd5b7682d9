"""Verdicts of notebooks 1 to 3 on results that are turned round: what won loses, what met a target misses it."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from app_helpers import record
from notebook_cells import functions, guessed, said, sensible

from helpers.efficient_architectures import cheapest_within
from helpers.hardware_codesign import break_even_utilization
from helpers.lab import offer, paired_difference, paired_differences


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
                paired_difference=paired_difference)
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
                             "accuracy_delta_low": [-0.01, low], "accuracy_delta_high": [0.01, high],
                             "significant": [False, True]})
    text = said("1", "q45", emulated=emulated, alone=record())
    assert f"{'More accurate than fp32' if sign > 0 else 'Less accurate'}: AVX2" in text


@pytest.mark.parametrize(("shares", "less"), [((0.9, 0.9, 0.89, 0.3), "2 bits"), ((0.9, 0.9, 0.9, 0.9), "none"),
                                              ((0.2, 0.2, 0.2, 0.2), "8 bits")])
def test_accuracy_may_fall_at_any_number_of_bits_or_at_none(shares, less):
    rights = {32: np.arange(400) < 360, **{bits: np.arange(400) < 400 * share
                                          for bits, share in zip((8, 4, 3, 2), shares, strict=True)}}
    text = said("1", "q47", few_bits=dict.fromkeys((8, 4, 3, 2)), rights=rights, alone=record(), labels=LABELS,
                paired_differences=paired_differences)
    assert f"Less accurate: {less}" in text


@pytest.mark.parametrize(("speedup", "delta", "words"), [
    ((900.0, 800.0, 1000.0), -0.05, "900 times (800 to 1,000) faster"),
    ((0.7, 0.6, 0.8), -0.05, "1.4 times (1.2 to 1.7) slower"), ((1.0, 0.9, 1.1), 0.05, "about as fast"),
    ((900.0, 800.0, 1000.0), 0.05, "gains 5.0 points")])
def test_tfidf_may_be_slower_and_more_accurate(speedup, delta, words):
    value, low, high = speedup
    tfidf = SimpleNamespace(model="TF-IDF", speedup=value, speedup_low=low, speedup_high=high, accuracy_delta=delta,
                            accuracy_delta_low=delta - 0.01, accuracy_delta_high=delta + 0.01)
    assert words in said("2", "e23", tfidf=tfidf, paper=5000.0, guess=guessed(3.0),
                         result=SimpleNamespace(measurements=[record()]))


@pytest.mark.parametrize(("threshold", "escalated", "words"), [(0.7, 0.4, "confidence of 0.70 is enough"),
                                                               (1.5, 1.0, "no confidence is enough")])
def test_no_confidence_may_be_enough(threshold, escalated, words):
    row = {"max_lost": 3.0, "threshold": threshold, "escalated": escalated, "lost": 0.01, "gained": 0.0, "kept": 1.0,
           "cost_share": 0.5, "held_out_rows": 400}
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
    ran = pd.DataFrame({"name": ["PyTorch", "ONNX"], "rows_per_s": [50.0, 50.0 * speedup], "speedup": [1.0, speedup],
                        "speedup_low": [1.0, 0.9 * speedup], "speedup_high": [1.0, 1.1 * speedup],
                        "same_answers": [1.0, 0.99]})
    sentence = said("3", "h73", ran=ran, dollars=25.0, texts=[""] * 400,
                    base=SimpleNamespace(predict=lambda texts: np.eye(2)[[0, 1] * 200]),
                    task=SimpleNamespace(test={"label": [0, 1] * 200}, labels=["no", "yes"]))
    assert words in sentence
    assert ("$0.250 a million instead of $0.500" if speedup > 1 else "$0.500 a million.") in sentence


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
    result = re.search(r"Faster[\w ]*: (.*?)\. Slower: (.*?)\.(?: |$)", re.sub(r"(?<=\d)\.(?=\d)", "", text))
    name = "b" if cell == "h81" else "all"
    assert result is None or [name in result[1].split(), name in result[2].split()] == [gain > 1, gain < 1]


@pytest.mark.parametrize("rates", [(100.0, 50.0), (50.0, 100.0), (100.0, 99.0)])
def test_one_process_may_win_or_lose(rates):
    layouts = pd.DataFrame({"layout": ["one", "many"], "rows_per_s": rates, "low": np.array(rates) - 5,
                            "high": np.array(rates) + 5}).sort_values("rows_per_s", ascending=False)
    text = said("3", "h85", layouts=layouts)
    assert text.startswith("one" if rates[0] > rates[1] else "many")
    assert text.endswith("Within its interval: many." if rates == (100.0, 99.0) else "Within its interval: no other.")


@pytest.mark.parametrize("tenants", [1, 50])
def test_adapters_of_one_tenant_save_no_bytes(tenants):
    table = pd.DataFrame([{"way": "lora 8", "tenants": tenants, "wanted": tenants, "models": 9e7 * tenants,
                           "adapters": 9e7 + 4e5 * tenants, "ratio": 1.0, "share": 0.01, "accuracy": 0.9,
                           "points": -0.5, "low": -1.0, "high": 0.1, "seeds": 5}])
    table.attrs = {"origin": "made up"}
    draw = functions("2", "e55", lines_spec=lambda *_, title, **__: title)["draw_tenants"]
    title = sensible(draw(table)[1])
    assert ("as many" in title or "more" in title) == (tenants == 1)


@pytest.mark.parametrize(("window", "words"), [(8.0, "8.0 times less"), (80.0, "as much")])
def test_no_kind_of_attention_may_keep_less(window, words):
    rows = [{"kind": "full", "mb": 64.0}, {"kind": "sliding window", "mb": window}]
    names = functions("2", "e59", bars_spec=lambda *_, title, **__: title, attention_lines=None)
    assert words in sensible(names["draw_attention"](rows)[0])


@pytest.mark.parametrize(("ran", "told"), [(None, False), (object(), True)])
def test_the_device_is_set_beside_paper_and_guess_once_it_has_run(ran, told):
    text = said("3", "device-verdict", on_device=SimpleNamespace(verdict="It says this.", run=ran), device_paper=3.0,
                device_guess=guessed(5.0))
    assert text.startswith("It says this.")
    assert ("On paper 3.0x the latency; your guess was 5.0x." in text) == told


@pytest.mark.parametrize(("rate", "browser", "phone"), [(480e9, "10.0x", "5.0x"), (24e9, "0.5x", "0.2x")])
def test_a_device_may_be_slower_or_faster_on_paper(rate, browser, phone):
    """At 3 GHz WebAssembly does 48 billion operations a second, SDOT twice as many."""
    text = said("3", "device-paper", peaks=SimpleNamespace(rate=lambda precision: rate))
    assert f"a browser 48 with one instruction a cycle: {browser} the latency" in text
    assert f"on one core: {phone}." in text


@pytest.mark.parametrize(("gigabytes", "fits", "too_large"), [
    (16.0, "this model, Llama 3.1 8B, Qwen2.5 1.5B, Mistral 7B v0.3", "Llama 3.1 70B"), (99.0, "this model", "none"),
    (0.001, "none", "this model, Llama 3.1 8B, Llama 3.1 70B, Qwen2.5 1.5B, Mistral 7B v0.3")])
def test_all_models_or_none_may_fit_into_a_phone(gigabytes, fits, too_large):
    text = said("3", "device-phone", base=SimpleNamespace(card=SimpleNamespace(parameters=22.7e6)), pd=pd,
                room_gb=gigabytes)
    assert f"In int8: {fits}" in text
    assert f"Not even in 4 bits: {too_large}." in text


@pytest.mark.parametrize(("by_command", "status", "words"), [
    (10.0, 0, ["as the table does", "no budget is broken"]), (12.0, 1, ["but the table $10.00", "a budget is broken"])])
def test_a_command_may_say_another_bill_than_the_table(by_command, status, words):
    text = said("1", "ws8", by_command=by_command, in_table=10.0, first_service="sorting",
                ended=SimpleNamespace(returncode=status))
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(("change", "words"), [(-0.2, "would notice"), (0.2, "no class is found less often")])
def test_fewer_weights_may_fail_a_class_or_none(change, words):
    row = {"class": "refund", "rows": 50, "changed": 12, "lost": 11, "won": 1, "change": change, "low": change - 0.05,
           "high": change + 0.05, "significant": True}
    changes, model = pd.DataFrame([row]), SimpleNamespace(card=SimpleNamespace(name="a model"))
    text = said("1", "cn4", recall_pruned=changes, recall_in_bits=changes, int8=model, pruned=model, alone=record())
    assert words in text
