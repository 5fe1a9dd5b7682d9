"""The widget that draws: one Vega for a page, two themes, and a file to send on."""

import altair as alt
import ipywidgets
import pytest
from app_helpers import record

from helpers.app import chart, speedups
from helpers.app.charts.accuracy_cost import cost_spec, speedup_spec
from helpers.app.charts.vega import Chart, runtime, svg, theme
from recording.vega import built_version

RECORDS = [record(), record("small", 2.0, 0.89, strategy="pruning"),
           record("quick", 3.0, 0.88, strategy="pruning", provenance="measured")]


def test_the_shipped_vega_is_altairs():
    assert built_version() == alt.SCHEMA_VERSION


def test_charts_share_one_runtime():
    first, second = chart(RECORDS), speedups(RECORDS)
    assert first._runtime == second._runtime == f"IPY_MODEL_{runtime().model_id}"
    assert len(runtime().packed) < 400_000
    assert "packed" not in first.get_state()


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1]])
@pytest.mark.parametrize("spec", [cost_spec, speedup_spec])
def test_a_file_that_is_sent_on_gets_an_svg(spec, records):
    drawn = svg(Chart(spec(records)))
    assert drawn.startswith("<svg")
    assert "base" in drawn


def test_updating_a_chart_keeps_the_widget():
    shown = chart(RECORDS[:2])
    shown.show(cost_spec(RECORDS))
    assert "quick" in str(shown.spec)


def test_a_page_hears_of_a_chart_when_it_is_first_shown():
    alone, inside = chart(RECORDS), chart(RECORDS)
    assert alone.comm is inside.comm is None
    known = set(ipywidgets.Widget.get_manager_state()["state"])
    assert alone._repr_mimebundle_()[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == alone.model_id
    box = ipywidgets.HBox([inside])
    assert box.get_state("children")["children"] == [f"IPY_MODEL_{inside.model_id}"]
    assert {alone.model_id, inside.model_id} <= set(ipywidgets.Widget.get_manager_state()["state"]) - known
    assert alone.layout.width == inside.layout.width == "100%"


def test_dark_labels_are_light():
    assert theme(dark=True)["axis"]["labelColor"] > theme()["axis"]["labelColor"]
