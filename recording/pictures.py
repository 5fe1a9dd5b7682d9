"""The README's pictures and sentences: each page as a visitor sees it first, from a real run of Voila.

python -m recording.pictures [--look FOLDER]

With --look: every page and the landing page as a whole, on a phone, a tablet and a desk, light and dark.
"""

import argparse
import datetime
import json
import math
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.page import CHART, chromium, serving
from helpers import app
from helpers.app.server.pages import FINDINGS
from helpers.app.text.billing.stages import stages
from helpers.app.text.figures import percent
from helpers.data_efficiency import paying_accuracy, tuning_repaid, usd_to
from helpers.lab import InputError
from helpers.lab.machine import brief
from helpers.lab.money.scenario import Scenario
from helpers.lab.paths import write_atomically

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
README = NOTEBOOKS.parent / "README.md"
WIDTH, HEIGHT = 1180, 900
WIDTHS = (390, 1024, 1600)
GOAL = 0.95  # share of the accuracy with all labels that an annotator's bill is for
COMMON = 0.8  # share of a prompt that all requests of the engines' table have alike


def main() -> None:
    """Serve all pages and save the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--look", type=Path, help="folder for pictures to look at; the README's are not made then")
    look = parser.parse_args().look
    with serving("helpers.app.server", "--pool=0") as address, chromium() as browser:
        paths = {notebook.stem: f"voila/render/{notebook.name}" for notebook in sorted(NOTEBOOKS.glob("*.ipynb"))}
        if look:
            look_at(browser, address, {"landing": "", **paths}, look)
            return
        folder = NOTEBOOKS / "pictures"
        folder.mkdir(exist_ok=True)
        findings, today = {}, datetime.datetime.now(datetime.UTC).date().isoformat()
        for name, path in paths.items():
            page = opened(browser, address + path, WIDTH, "light")
            page.screenshot(path=folder / f"{name}.png")
            findings[name] = {"finding": page.locator(".app-verdict").first.inner_text(), "date": today,
                              "also": also_said().get(name, [])}
            print(f"{folder.name}/{name}.png: {findings[name]['finding']}")
        before = json.loads(FINDINGS.read_text(encoding="utf-8"))
        write_atomically(README, renewed(README.read_text(encoding="utf-8"), before, findings))
        write_atomically(FINDINGS, json.dumps(findings, ensure_ascii=False, indent=1) + "\n")


def also_said() -> dict[str, list[str]]:
    """Notebook -> what the README says of its records beside the page's first sentence; no figure in it is typed."""
    together = app.recorded("1_model_optimization_together")
    bf16 = next(one for one in app.recorded("1_model_optimization") if one.settings.get("scheme") == "bf16")
    everything = app.longest_pipeline(together)
    steps = everything.settings["steps"]
    single = next(one for one in together if one.settings.get("steps") == steps[:-1])
    return {"1_model_optimization": [
        f"Losing ones are in the tables too: {bf16.model} is {app.cheaper(bf16)} on {brief(bf16.machine)} (recorded "
        f"{bf16.measured_at[:10]}).",
        f"{app.all_steps(together)} {app.change_factors(together, everything.model).attrs['sentence']}.",
        f"Without the first stage it is one model: {app.cheaper(single)}; {app.change(single)}.",
        bits_said()], "2_efficient_architectures": [rungs_said(), stack_said()],
        "3_hardware_codesign": [engines_said()], "4_data_efficiency": [annotator_said(), tuning_said()],
        "5_cloud_distributed": [bill_said()]}


def bits_said() -> str:
    """Draw what fewer bits gain and lose in a language model that writes one token after another."""
    speed = app.recorded_table("1_model_optimization_language_speed")
    lost = app.recorded_table("1_model_optimization_language").set_index("name")
    first, last = speed.iloc[0], speed.iloc[-1]
    times_higher = [app.two(lost.at[last["name"], name]) for name in ("ratio", "ratio_low", "ratio_high")]
    fewer, alone, together = (app.two(ratio) for ratio in (
        first["megabytes"] / last["megabytes"], first["per_token_s"] / last["per_token_s"],
        last["together_per_s"] / first["together_per_s"]))
    return (f"A language model: on {speed.attrs['machine']}, {first['model'].partition('.')[0].rpartition('-')[0]} in "
            f"{last['name']} instead of {first['name']} has {fewer} times fewer bytes, writes a further token {alone} "
            f"times as fast, and to all requests at once {together} times; rounded once more, its perplexity is "
            f"{times_higher[0]} times as high ({times_higher[1]} to {times_higher[2]}).")


def rungs_said() -> str:
    """Extraction by a language model, asked and tuned, beside a tagger and regular expressions."""
    table = app.recorded_table("2_efficient_architectures_language_rungs")
    rungs = table.set_index("rung")
    shares = [f"{row['model']} {percent(row['message'])} ({percent(row['message_low'])} to "
              f"{percent(row['message_high'])})" for _, row in rungs.iterrows()]
    tuned, nothing = rungs.loc["tuned"], percent(rungs["message_constant"].iloc[0])
    return (f"A language model beside small ones: on {table.attrs['machine']}, share of {tuned['rows']:,.0f} messages "
            f"with all fields right: {'; '.join(shares)}; the constant answer {nothing}. The tuned "
            f"one takes {app.two(tuned['energy'])} times ({app.two(tuned['energy_low'])} to "
            f"{app.two(tuned['energy_high'])}) the energy of {rungs['model'].iloc[0]}.")


def stack_said() -> str:
    """Draw cumulative changes of a language model's extraction, beside the product of each alone."""
    reference, chain, _ = stages(subject="own language model")
    last = chain[-1].after
    product = math.prod(stage.alone[0] for stage in chain)
    return (f"{app.on_machine([last])}all changes together take extraction from {reference.model} to "
            f"{last.model}: {app.cheaper(last)}; {app.change(last)}. The gains of each alone would multiply to "
            f"{app.two(product)} times.")


def engines_said() -> str:
    """Draw what batching, a kept prefix and a small draft make of one engine's requests a second."""
    table = app.recorded_table("3_hardware_codesign_language_engines")
    rows = table[table["common"] == COMMON].set_index("engine")
    times = {name: f"{app.two(rows.at[engine, 'speedup'])} times ({app.two(rows.at[engine, 'low'])} to "
                   f"{app.two(rows.at[engine, 'high'])})"
             for name, engine in (("batched", "continuous batching"), ("cached", "with prefix caching"),
                                  ("drafted", "one by one, with a draft of half the layers"))}
    same = rows.loc[["continuous batching", "with prefix caching"], "same_answers"].min()
    return (f"A language model: on {table.attrs['machine']}, of prompts that share {COMMON:.0%}, SmolLM2 in "
            f"OpenVINO answers {times['batched']} as many a second in continuous batches as one by one, and "
            f"{times['cached']} with the shared part cached; {same:.0%} of the answers are the same. With a draft of "
            f"half of its own layers, untuned, it is {times['drafted']}.")


def annotator_said() -> str:
    """Whether labels of a language model pay beside people's, at the landing page's price of a label."""
    table = app.recorded_table("4_data_efficiency_annotation_agreement").set_index("labelled_by")
    shown = table["equal"].idxmax()
    row, sweep = table.loc[shown], app.recorded_table("4_data_efficiency_annotation_accuracies")
    worth = app.annotator_worth(int(row["equal"]), int(row["rows"]), row["majority"], paying_accuracy(sweep),
                                sweep["right"].max())
    runs = app.recorded_table("4_data_efficiency_annotation_runs").query("labelled_by == @shown")
    bills = usd_to(runs, GOAL * runs["full"].iloc[0], row["usd_per_label"], Scenario().usd_per_label)
    return (f"A language model as annotator: on {table.attrs['machine']}, SmolLM2, shown {shown}, is {worth}. Labels "
            f"to {GOAL:.0%} of the full accuracy: {app.annotator_bills(bills)}")


def tuning_said() -> str:
    """Draw what tuning gains beside examples in the prompt, and when the seconds of this machine have repaid it."""
    ways = app.recorded_table("4_data_efficiency_retrieval_ways")
    shares = [f"{row['way']} {percent(row['accuracy'])} ({percent(row['low'])} to {percent(row['high'])})"
              for _, row in ways.iterrows()]
    repaid = tuning_repaid(ways, int(ways["cores"].iloc[0]))
    return (f"Examples in its prompt, or tuned: on the same machine, right in {ways['rows'].iloc[0]} messages: "
            f"{'; '.join(shares)}. Without people's work, {(worth := app.tuning_worth(repaid))[0].lower()}{worth[1:]}")


def bill_said() -> str:
    """The landing page's first sentence about a language model on machines, at its default numbers."""
    headline = app.monthly_bill(Scenario(subject="own language model")).headline
    return f"A language model, all five strategies together: {headline[0].lower()}{headline[1:]}"


def renewed(text: str, before: dict[str, dict], now: dict[str, dict]) -> str:
    """The README's text with each sentence and date of `before` replaced by that of `now`.

    Raises:
        InputError: a sentence of before does not stand in it.
    """
    for name, old in before.items():
        new = now[name]
        if len(old["also"]) != len(new["also"]):
            raise InputError(f"README.md has {len(old['also'])} sentences beside the finding of {name}, not "
                             f"{len(new['also'])}: write them there and into {FINDINGS.name}, then take them again.")
        pairs = [(f"({old['date']}", f"({new['date']}"), (old["finding"], new["finding"]),
                 *zip(old["also"], new["also"], strict=True)]
        start = text.find(f"### {name[0]} ")
        for was, is_now in pairs:
            at = text.find(was, start)
            if at < 0:
                raise InputError(f"README.md no longer says '{was}': write it there, then run make pictures again.")
            text = text[:at] + is_now + text[at + len(was):]
    return text


def look_at(browser: Browser, address: str, paths: dict[str, str], folder: Path) -> None:
    """Whole pages in every width and theme."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                page = opened(browser, address + path, width, scheme)
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                page.close()


def opened(browser: Browser, address: str, width: int, scheme: str) -> Page:
    """A page with its chart drawn, where it has one."""
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    page.goto(address)
    if "render" in address:
        page.wait_for_selector(CHART, timeout=60_000)
    page.wait_for_timeout(1_000)  # fonts and layout settle
    return page


if __name__ == "__main__":
    main()
