"""Every figure of the README and the first sentences comes from a record, and no two shown figures contradict."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_helpers import record

from helpers.app import change_factors, recorded, recorded_table, rescaled
from helpers.app.server.pages import FINDINGS
from helpers.app.text.tables import _facets, _named_settings
from helpers.lab import InputError, Measurement
from helpers.lab.machine import brief
from helpers.lab.measuring.measurement import ratio_of_speedups
from recording.model_optimization import ORDERS, QUANTIZED, TOGETHER
from recording.pictures import also_said, renewed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHIPPED = json.loads(FINDINGS.read_text(encoding="utf-8"))
RECORDED = ("1_model_optimization", "1_model_optimization_pruning", "1_model_optimization_distillation",
            "1_model_optimization_together", "2_efficient_architectures", "3_hardware_codesign")
ANCHOR = "MiniLM-L6 fp32, PyTorch"  # what each page measures
APART = 0.25  # of a cost between two runs on one machine


def results() -> str:
    """The README's section with figures, without names of files, links and code."""
    section = README.split("## The five strategies")[1].split("\n## ")[0]
    return re.sub(r"!\[[^\]]*\]\([^)]*\)|`[^`]*`", "", section)


def test_each_figure_of_the_readme_stands_in_a_sentence_that_is_computed():
    """What is left of the section without these sentences has no figure, but for headings and the confidence."""
    left = results()
    for entry in SHIPPED.values():
        for sentence in (entry["finding"], *entry["also"]):
            assert sentence in left
            left = left.replace(sentence, "")
    left = re.sub(r"(?m)^\|.*\||^### \d|\(\d{4}-\d\d-\d\d\)|95%|[Ss]ections? \d(?: to \d)?|notebook \d", "", left)
    assert re.findall(r"[^\n]*\d[^\n]*", left) == [], "write it in also_said() of recording/pictures.py"


def test_the_readmes_further_sentences_are_what_the_records_say_now():
    assert {name: entry["also"] for name, entry in SHIPPED.items() if entry["also"]} == also_said()


def test_new_sentences_take_the_place_of_the_old_ones_in_the_readme():
    now = {name: {"finding": f"New {name}.", "date": "2030-01-02", "also": [f"{one}!" for one in entry["also"]]}
           for name, entry in SHIPPED.items()}
    text = renewed(README, SHIPPED, now)
    assert text.count("(2030-01-02)") == len(SHIPPED)
    assert all(f"New {name}." in text for name in SHIPPED)
    assert renewed(text, now, SHIPPED) == README
    with pytest.raises(InputError, match="no longer says"):
        renewed(README, now, SHIPPED)


@pytest.mark.parametrize("page", sorted(SHIPPED)[:3])
def test_the_first_sentence_names_the_machine_that_its_page_was_recorded_on(page):
    names = {brief(one.machine) for name in RECORDED if name.startswith(page[0]) for one in recorded(name)}
    first = SHIPPED[page]["finding"].replace(" (", ", ", 1)
    assert any(first.startswith(f"On {name}") for name in names), first


def kind_of(name: str, settings: dict) -> str:
    """One key for one model run in one way, whatever the pages call it."""
    facets = {kind: list(words) for kind, words in _facets(name, settings).items()}
    if facets["bits"]:
        numbers = json.loads(facets["bits"][0])
        plain = {"scheme": "dynamic-int8", "per_channel": True, "reduce_range": False}
        if settings.get("runtime") == "onnxruntime" and numbers in ({"precision": "int8"}, plain):
            facets["bits"] = ["int8"]
    changed = any(facets[kind] for kind in ("model", "bits", "first stage")) or facets["runtime"] != ["PyTorch"]
    own = not changed and name != ANCHOR and "padding" not in settings  # nothing but its name tells what it is
    return json.dumps([facets, name if own else ""])


def figures() -> Iterator[dict]:
    """Each shown figure of a model: where, on which machine, its speed-up over the anchor, cost and accuracy."""
    once = recorded("1_model_optimization_together")[0]
    for part in RECORDED:
        records = rescaled(recorded(part), to=once)
        anchor = next(one for one in records if one.model == ANCHOR)
        for one in records:
            yield {"where": part, "kind": kind_of(one.model, one.settings), "machine": one.machine["id"],
                   "name": one.model, "usd": one.usd_per_million,
                   "accuracy": (one.accuracy, one.accuracy_low, one.accuracy_high),
                   "speedup": ratio_of_speedups(bounds(anchor), bounds(one))}
    frame = recorded_table("3_hardware_codesign_runtimes")
    ran = frame[frame["speedup"].notna()].set_index("name")
    machine = recorded("3_hardware_codesign")[0].machine["id"]
    triple = ["speedup", "speedup_low", "speedup_high"]
    for name, row in ran.iterrows():
        settings = {**_named_settings(name), "runtime": row["runtime"], "precision": row["precision"]}
        yield {"where": "3_hardware_codesign_runtimes", "name": name, "machine": machine,
               "kind": kind_of(ANCHOR if name == "PyTorch fp32" else name, settings), "usd": None, "accuracy": None,
               "speedup": ratio_of_speedups(ran.loc["PyTorch fp32", triple], row[triple])}


def bounds(one: Measurement) -> tuple[float, float, float]:
    return one.speedup, one.speedup_low, one.speedup_high


def pairs() -> Iterator[tuple[dict, dict]]:
    """Two places that show the same model on the same machine."""
    for one, other in itertools.combinations(figures(), 2):
        if one["where"] != other["where"] and (one["kind"], one["machine"]) == (other["kind"], other["machine"]):
            yield one, other


def overlap(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one[1] <= other[2] and other[1] <= one[2]


def test_the_pages_share_models_that_can_be_held_against_each_other():
    assert {frozenset((one["where"], other["where"])) for one, other in pairs()} >= {
        frozenset(("1_model_optimization", "2_efficient_architectures")),
        frozenset(("1_model_optimization", "3_hardware_codesign_runtimes")),
        frozenset(("1_model_optimization_pruning", "1_model_optimization_together"))}


def test_no_two_shown_figures_of_one_model_and_machine_are_apart_by_more_than_their_intervals():
    apart = {(one["where"], other["where"], one["name"]) for one, other in pairs()
             if not overlap(one["speedup"], other["speedup"])
             or (one["accuracy"] and other["accuracy"] and not overlap(one["accuracy"], other["accuracy"]))
             or (one["usd"] and other["usd"] and abs(one["usd"] / other["usd"] - 1) > APART)}
    assert apart == set()


def test_a_disagreement_would_be_seen():
    """Times cheaper as page 1 had them at once, of one model: 4.2 (4.2 to 4.3) and 2.9 (2.6 to 3.4)."""
    assert not overlap((4.22, 4.18, 4.33), (2.86, 2.57, 3.41))
    assert overlap((2.86, 2.57, 3.41), (2.33, 2.22, 2.61))


@pytest.mark.parametrize("part", ["1_model_optimization", "1_model_optimization_together", "3_hardware_codesign"])
def test_on_the_way_to_the_headlines_model_one_setting_changes_at_a_time(part):
    changed = change_factors(recorded(part))["changed"][1:]
    assert changed.tolist() == [1] * len(changed)


def test_on_the_way_to_the_quickest_runtime_one_setting_changes_at_a_time():
    factors = change_factors(recorded_table("3_hardware_codesign_runtimes"))
    assert factors["changed"][1:].tolist() == [1] * (len(factors) - 1)
    assert factors["factor"][1:].prod() == pytest.approx(factors["factor"][0])


@pytest.mark.parametrize("chain", [[QUANTIZED], *map(list, ORDERS)], ids=["int8", "all steps", "in the other order"])
def test_the_pipelines_that_will_be_recorded_change_one_setting_at_a_time(chain):
    """The settings that each pipeline's model has, without making it."""
    def settings_of(steps: list[dict]) -> dict:
        known = {"runtime": "pytorch", "steps": steps}
        for step in steps:
            known |= {name: value for name, value in step.items() if name in (
                "runtime", "streams", "micro_batch", "scheme", "per_channel", "first")}
            known |= {"runtime": "onnxruntime"} if step["step"] == "quantize" else {}
        return known

    def name_of(steps: list[dict]) -> str:
        return ", ".join(step["name"] for step in steps)

    records = [record(settings={"runtime": "pytorch"}), *(
        record(name_of(steps), 2.0 + number, settings=settings_of(steps)) for number, steps in enumerate(TOGETHER))]
    factors = change_factors(records, name_of(chain))
    assert factors["changed"][1:].tolist() == [1] * (len(factors) - 1)
    assert len(factors) - 1 == (4 if len(chain) == 1 else 7)
