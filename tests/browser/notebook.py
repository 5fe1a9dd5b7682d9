"""The small notebook that the browser tests open: a chart, a panel with fake measurements, an explore panel."""

import json
from pathlib import Path

CELLS = [
    ("markdown", [], "# What does a smaller model cost?\n\nA fixture with made-up records, for tests only."),
    ("code", [], """
import random, time
import altair as alt
import ipywidgets as widgets
from helpers import app
from helpers.lab import Measurement

def record(model, strategy, accuracy, speedup, provenance="recorded"):
    return Measurement(
        task="fixture", model=model, strategy=strategy, settings={}, accuracy=accuracy, accuracy_low=accuracy - 0.02,
        accuracy_high=accuracy + 0.02, accuracy_delta=accuracy - 0.9, accuracy_delta_low=accuracy - 0.912,
        accuracy_delta_high=accuracy - 0.888, macro_f1=accuracy, calibration_error=0.02, rows=800, speedup=speedup,
        speedup_low=speedup * 0.93 if speedup != 1 else 1, speedup_high=speedup * 1.08 if speedup != 1 else 1,
        p50_ms=8 / speedup, p95_ms=11 / speedup, p99_ms=14 / speedup, throughput_per_s=150 * speedup, batch_size=16,
        threads=2, artefact_bytes=int(90e6 / speedup), parameters=22_700_000, macs=None, peak_bytes=400_000_000,
        joules_low=0.05 / speedup, joules=0.1 / speedup, joules_high=0.2 / speedup, energy_method="made up",
        made_in_s=900 if speedup == 1 else 1800, usd_per_million=0.18 / speedup, reference="MiniLM fp32",
        machine={"cpu": "a test machine", "instruction_sets": [], "cores": 2, "memory_gib": 8.0, "gpu": None},
        key="0" * 64, provenance=provenance, measured_at="2026-01-02T00:00:00+00:00")

SHOWN = [record("MiniLM fp32", "baseline", 0.9, 1), record("dynamic int8", "quantization", 0.897, 2.1),
         record("half of the layers", "pruning", 0.861, 1.9), record("2-layer student", "distillation", 0.884, 2.7),
         record("int8 student", "distillation", 0.872, 5.2, "simulated")]
"""),
    ("code", [], "app.headline(SHOWN)"),
    ("code", ["lesson"], 'guess = app.guess("speed-up of int8", low=0.5, high=4)\nprint("LESSON ONLY")'),
    ("code", [], 'app.speedups(SHOWN, guess=3.1, paper={"dynamic int8": 4.0, "half of the layers": 2.0})'),
    ("code", [], """
def measure(report, rows, seconds):
    import os, time
    report(None, "1 run ahead")
    time.sleep(0.2)
    for index, shown in enumerate(SHOWN[:4]):
        for step in range(5):
            time.sleep(seconds / 20)
            report((index + (step + 1) / 5) / 4, f"timing {shown.model}")
        report.partial(record(shown.model, shown.strategy, shown.accuracy, shown.speedup, "measured"))

panel = app.Panel(measure, {
    "rows": widgets.IntSlider(200, min=100, max=800, step=100, description="Test rows"),
    "seconds": widgets.FloatSlider(1.0, min=1.0, max=60.0, description="Seconds"),
}, SHOWN, name="fixture")
panel
"""),
    ("code", [], """
def growth(base, steps):
    return [{"step": step, "value": base ** step} for step in range(steps)]

def draw(rows):
    chart = alt.Chart(alt.Data(values=rows)).mark_line(point=True).encode(
        x=alt.X("step:Q", title="step"), y=alt.Y("value:Q", title="value")).properties(
        width="container", height=200, description="growth")
    return [f"{rows[-1]['value']:.2f} after {len(rows) - 1} steps", chart]

app.Explore(growth, {
    "base": widgets.FloatSlider(1.2, min=1.0, max=2.0, step=0.1, description="Base"),
    "steps": widgets.Dropdown(options=[5, 10, 20], description="Steps"),
}, draw)
"""),
]


BROKEN = [("markdown", [], "# A page with an error\n\nFor tests only."), ("code", [], "print('before')"),
          ("code", [], "1 / 0"), ("code", [], "print('after')")]


def write(folder: Path, name: str = "fixture.ipynb", cells_of: list[tuple[str, list[str], str]] = CELLS,
          kernel: tuple[str, str] = ("python3", "python")) -> Path:
    """Write the notebook and return its path."""
    cells = []
    for index, (kind, tags, source) in enumerate(cells_of):
        cell = {"cell_type": kind, "id": f"cell{index}", "metadata": {"tags": tags}, "source": source.strip()}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    spec = {"kernelspec": {"name": kernel[0], "display_name": kernel[0], "language": kernel[1]}}
    path = folder / name
    path.write_text(json.dumps({"cells": cells, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))
    return path
