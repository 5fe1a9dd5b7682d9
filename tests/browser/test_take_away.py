"""What a reader takes along: a report that opens anywhere, and a script that gives the same again."""

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from servers import ROOT
from test_fixture_page import explore_of, move_slider, panel_of, wait_for_charts
from watching import watched


@pytest.fixture(scope="module")
def page(voila: str, browser: Browser) -> Iterator[Page]:
    """One visit, in which the controls are moved from test to test."""
    with watched(browser) as open_page:
        page = open_page(permissions=["clipboard-read", "clipboard-write"])
        page.goto(f"{voila}voila/render/fixture.ipynb")
        wait_for_charts(page)
        yield page


def saved(panel: Locator, name: str, folder: Path) -> Path:
    with panel.page.expect_download() as saving:
        panel.get_by_role("button", name=f"Download {name}").click()
    path = folder / saving.value.suggested_filename
    saving.value.save_as(path)
    return path


def copied(panel: Locator) -> str:
    panel.get_by_role("button", name="Copy this setting as code").click()
    expect(panel.locator(".app-code")).to_contain_text("Copied")
    shown = panel.locator(".app-code pre").inner_text()
    assert panel.page.evaluate("navigator.clipboard.readText()") == shown
    return shown


def run_alone(script: str, folder: Path) -> str:
    (folder / "copied.py").write_text(script)
    done = subprocess.run([sys.executable, "copied.py"], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("part", "file", "charts"), [(panel_of, "fixture.html", 2), (explore_of, "explored.html", 1)])
def test_the_report_opens_from_a_file_and_draws_with_no_network(page, browser: Browser, tmp_path, part, file, charts):
    report = saved(part(page), "report", tmp_path)
    assert report.name == file
    context = browser.new_context(offline=True, java_script_enabled=False)
    opened = context.new_page()
    asked, wrong = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.goto(report.as_uri())
    assert asked == [report.as_uri()]
    assert wrong == []
    expect(opened.locator("figure svg")).to_have_count(charts)
    for index in range(charts):
        box = opened.locator("figure svg").nth(index).bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        assert opened.locator("figure svg").nth(index).locator("path").count() > 5
    context.close()


def test_the_report_says_what_the_panel_says_and_where_it_comes_from(page, tmp_path):
    panel = panel_of(page)
    text = saved(panel, "report", tmp_path).read_text()
    assert panel.locator(".app-verdict").inner_text() in text
    assert re.findall(r"<dt>rows</dt><dd>(\d+)</dd>", text) == ["200"]
    for said in ("a test machine", "Sources", "https://", "simulated, 2026-01-02", "recorded, 2026-01-02"):
        assert said in text


def test_the_copied_script_of_a_panel_measures_what_the_panel_measures(page, tmp_path):
    panel = panel_of(page)
    move_slider(page, "Test rows", "ArrowRight")
    script = copied(panel)
    assert "app.run(measure, rows=300, seconds=1.0)" in script
    panel.get_by_role("button", name="Measure on this machine").click()
    expect(panel.locator(".app-status")).to_contain_text("Measured on this machine just now", timeout=30_000)
    on_page = list(csv.DictReader(io.StringIO(saved(panel, "CSV", tmp_path).read_text())))
    sentence, _, table = run_alone(script, tmp_path).partition("\n")
    alone = list(csv.DictReader(io.StringIO(table)))
    assert len(alone) == 4
    assert alone == on_page[:4]  # the fifth is simulated and stays
    assert sentence.startswith("On a test machine (2 cores), dynamic int8 is 2.1 times (2.0 to 2.3) cheaper")


def test_the_copied_script_of_an_explored_setting_gives_the_result_on_the_screen(page, tmp_path):
    explore = explore_of(page)
    move_slider(page, "Base", "ArrowRight")
    expect(explore).to_contain_text("2.86 after 4 steps")
    rows = list(csv.DictReader(io.StringIO(saved(explore, "CSV", tmp_path).read_text())))
    alone = eval(run_alone(copied(explore), tmp_path))
    assert alone == [{"step": int(row["step"]), "value": float(row["value"])} for row in rows]
    assert alone[-1]["value"] == pytest.approx(1.3**4)
