"""Notebook 5 on a user's trace: each figure is the trace's, in the page's cells and in the lesson's."""

import re
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from scipy import stats

from helpers.cloud_distributed import LlmFleet, paper_engine, serve_llm
from helpers.lab import DECODERS, DecoderSheet, offer

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "5_cloud_distributed.ipynb"
BUILT_IN = ("bursts around", "A wave of day and night", "Poisson stream, tokens")
HOURS = 730.0


@pytest.fixture(scope="module", params=["rows.csv", "tokens.csv"])
def read_aloud(request, tmp_path_factory):
    """(arrivals, prompt and output tokens, what the notebook says up to the language model)."""
    folder = tmp_path_factory.mktemp("traces")
    rng = np.random.default_rng(3)
    arrivals = np.round(np.cumsum(rng.exponential(0.25, 3000)), 3)
    prompt, output = rng.integers(50, 800, 3000), rng.integers(5, 200, 3000)
    tokens = request.param == "tokens.csv"
    lines = ["arrived_at_s" + ",prompt_tokens,output_tokens" * tokens]
    lines += [f"{at:.3f}" + f",{asked},{written}" * tokens for at, asked, written
              in zip(arrivals, prompt, output, strict=True)]
    (folder / request.param).write_text("\n".join(lines) + "\n")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if "per_million = gpu" in cell.source)
    notebook.cells = notebook.cells[:last + 1]
    nbformat.write(notebook, folder / "short.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELPERS_HOME", str(folder / "home"))
        done = papermill.execute_notebook(str(folder / "short.ipynb"), str(folder / "out.ipynb"),
                                          parameters={"TRACE": request.param, "SEEDS": 2}, cwd=str(folder),
                                          progress_bar=False, execution_timeout=600)
    shown = [output.get("text") or output.get("data", {}).get("text/html", "") for cell in done.cells
             if cell.cell_type == "code" for output in cell.outputs]
    inside = re.sub(r"</?(?:button|span)\b[^>]*>", "", " ".join(map("".join, shown)))  # a term with its meaning
    plain = re.sub(r"\s+", " ", re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", inside))
    return request.param, arrivals, (prompt, output) if tokens else None, plain


@pytest.mark.timeout(900)
def test_the_first_sentence_and_the_tiles_are_the_traces(read_aloud):
    name, arrivals, _, text = read_aloud
    rate = len(arrivals) / arrivals[-1]
    assert f"For your trace {name} ({len(arrivals):,} requests, {rate:.3g} a second)" in text
    assert "your trace again and again" in text
    assert not any(words in text for words in BUILT_IN)


def test_the_peak_and_the_year_follow_from_the_traces_busiest_five_minutes(read_aloud):
    _, arrivals, _, text = read_aloud
    rate = len(arrivals) / arrivals[-1]
    peak = np.bincount((arrivals // 300).astype(int)).max() / 300
    result = re.search(r"Your trace: ([\d.]+) requests a second on average, ([\d.]+) at the peak, \d+ ms each: (\d+) "
                      r"machines?, \$([\d,]+) a year", text)
    assert result[1] == f"{rate:.1f}"
    assert result[2] == f"{peak:.1f}"
    usd = int(result[3]) * offer("AWS m6i.large").on_demand_usd_hour * 8760
    assert int(result[4].replace(",", "")) == round(usd)
    assert f"{rate * HOURS * 3600 / 1e6:,.1f} million requests a month" in text


def test_explore_opens_on_the_trace(read_aloud):
    source = next(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells
                  if cell.cell_type == "code" and "app.Explore" not in cell.source and "\"traffic\": Dropdown" in
                  cell.source)
    assert "KINDS" in source  # whose first is the trace, where there is one
    assert read_aloud[3].count("your trace") >= 4


def test_the_language_model_reads_the_traces_tokens(read_aloud):
    """Of the rates, the highest with its first token within a second: tokens a second and their price, once more."""
    name, arrivals, tokens, text = read_aloud
    result = re.search(r"At ([\d.]+) requests a second \((.*?)\): ([\d,]+) tokens a second, \$([\d.]+) a million", text)
    if tokens is None:
        assert result[2] == f"your trace {name}, tokens drawn"
        return
    assert result[2] == f"your trace {name}, tokens read and written from it"
    fleet = LlmFleet(paper_engine(DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")))
    faster = float(result[1]) / (len(arrivals) / arrivals[-1])
    assert round(faster) in (1, 2, 4, 8)
    again = serve_llm(arrivals / round(faster), *tokens, fleet).summary()
    assert float(result[3].replace(",", "")) == pytest.approx(again["tokens_per_s"], rel=1e-3)
    usd = offer("AWS p5.4xlarge").on_demand_usd_hour / 3600 / again["tokens_per_s"] * 1e6
    assert float(result[4]) == pytest.approx(usd, abs=0.01)


@pytest.fixture(scope="module")
def page():
    """The names of the page's cells, up to its first sentence."""
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells
             if cell.cell_type == "code" and "lesson" not in cell.metadata.get("tags", [])]
    names = {"__name__": "__main__"}
    for source in cells[:next(i for i, source in enumerate(cells) if "app.tiles(" in source)]:
        exec(source, names)
    return names


def test_a_day_is_billed_from_all_its_hours(page):
    """Its first hour is the quietest, and what that costs is not billed all month."""
    names = page
    law = names["laws"][names["reference"]]
    frame = names["scenario"]("day and night", 50.0, "Kubernetes HPA", "AWS m6i.large", law, 60.0)
    assert frame["t_s"].iloc[-1] > 0.99 * 86_400
    paid = (frame["ready"] + frame["starting"]).mean() * HOURS * offer("AWS m6i.large").on_demand_usd_hour
    usd = frame.attrs["usd"][0]
    assert usd == pytest.approx(paid, rel=0.05)
    first = frame[frame["t_s"] < 3600]
    assert usd > 1.05 * (first["ready"] + first["starting"]).mean() * HOURS * offer("AWS m6i.large").on_demand_usd_hour
    assert 0 < frame.attrs["busy_usd"] < usd


@pytest.mark.parametrize(("ratios", "said"), [
    ((1.2, 1.1, 1.3), "1.20 times less (1.10 to 1.30)"), ((0.8, 0.7, 0.9), "1.25 times more (1.11 to 1.43)"),
    ((1.2, 0.9, 1.7), "about as much (0.90 to 1.70 times less: no significant difference)"),
    ((1.0, 1.0, 1.0), "as much"), ((3.0, 3.0, 3.0), "3.00 times less")])
def test_a_ratio_inside_its_noise_is_no_saving(page, ratios, said):
    assert page["times_less"](*ratios) == said


def test_what_the_page_opens_with_is_what_explore_says(page):
    """The same setting twice: the same requests, the same dollars; and an interval of ratios that holds theirs."""
    again = page["scenario"]("bursts", page["TRACE_RATE"], "Kubernetes HPA", page["OFFER"],
                             page["laws"][page["reference"]], page["STARTUP_S"]).attrs
    assert again == page["scaled"]
    ratios = [most / one for most, one in zip(page["fixed"]["each"], again["each"], strict=True)]
    test = stats.ttest_1samp(np.log(ratios), 0.0).confidence_interval()
    spread = f"({np.exp(test.low):.2f} to {np.exp(test.high):.2f}"  # more may follow: that it is no difference
    assert spread in page["times_less"](*page["interval"](ratios))
