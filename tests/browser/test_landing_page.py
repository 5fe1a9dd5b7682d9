"""What a board does on the landing page: its questions in at most two clicks, each figure the library's."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from helpers import app
from helpers.app.panels.page_bill import share_of
from helpers.app.text.billing.amounts import usd, usd_range
from helpers.app.text.billing.bills import Answer
from helpers.lab.money.scenario import Scenario

WIDTHS = (390, 1024, 1600)
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(our_pages: str) -> str:
    return our_pages


@pytest.fixture
def page(address: str, open_page: Callable[..., Page]) -> Page:
    page = open_page(accept_downloads=True)
    page.goto(address)
    return page


def shown(page: Page) -> Locator:
    return page.locator("#bill")


def write(page: Page, label: str, value: str) -> None:
    """A click into a field, what is written there, and the key that ends it."""
    field = page.get_by_label(re.compile(f"^{re.escape(label)}"))
    field.fill(value)
    field.press("Tab")


def says(page: Page, answer: Answer) -> None:
    expect(shown(page).locator(".app-verdict")).to_have_text(answer.headline)
    expect(shown(page)).to_contain_text(answer.advice)
    expect(shown(page).locator(".app-figure b").first).to_have_text(usd(answer.today.value))


def test_todays_dollars_stand_first(page):
    """What do we pay? What could we pay? What do we lose? How sure is that? What first? What does it take?"""
    answer = app.monthly_bill(Scenario())
    says(page, answer)
    assert page.locator(".app-verdict").bounding_box()["y"] < 500
    figures = shown(page).locator(".app-figure")
    expect(figures.nth(1)).to_contain_text(usd(answer.then.value))
    expect(figures.nth(2)).to_contain_text("points of accuracy (")
    expect(figures.nth(3)).to_contain_text("CO2e")
    expect(figures.nth(4)).to_contain_text("of work and computing for all steps")
    bars = shown(page).locator(".app-waterfall li")
    expect(bars).to_have_count(len(answer.steps) + 2)
    expect(bars.last.locator(".figure")).to_have_text(usd_range(answer.then))


@pytest.mark.parametrize(("label", "value", "asked"), [
    ("Requests", "1e9", {"volume": 1e9}), ("Hours of traffic", "24", {"traffic_hours": 24}),
    ("Latency target", "20", {"deadline_ms": 20})])
def test_one_field_answers_what_if(page, label, value, asked):
    write(page, label, value)
    says(page, app.monthly_bill(Scenario(**asked)))
    [name] = asked
    expect(page).to_have_url(re.compile(re.escape(f"bill.{name}={value}")))


@pytest.mark.parametrize(("group", "label", "value", "asked"), [
    ("Machines", "Discount on machines", "40", {"machine_discount": 40}),
    ("Machines", "Your price of it", "0.05", {"usd_per_machine_hour": 0.05}),
    ("People and labels", "Price of an hour of work", "150", {"usd_per_hour_of_work": 150}),
    ("People and labels", "Price of a label", "1", {"usd_per_label": 1}),
    ("Budgets", "Budget: dollars at most", "10", {"max_usd": 10})])
def test_two_clicks_answer_with_own_prices(page, group, label, value, asked):
    page.get_by_text(group, exact=True).click()
    write(page, label, value)
    answer = app.monthly_bill(Scenario(**asked))
    says(page, answer)
    for broken in answer.broken:
        expect(shown(page)).to_contain_text(broken)


def test_the_hosted_model_is_one_choice_away(page):
    page.locator("[name='bill.subject']").select_option("language model")
    says(page, app.monthly_bill(Scenario(subject="language model")))
    expect(shown(page)).to_contain_text("not recorded yet")


def test_an_own_language_model_is_one_choice_away(page):
    page.locator("[name='bill.subject']").select_option("own language model")
    answer = app.monthly_bill(Scenario(subject="own language model"))
    says(page, answer)
    for overlap in answer.overlaps:
        expect(shown(page)).to_contain_text(overlap)


def test_another_machine_is_two_clicks_away(page):
    page.get_by_text("Machines", exact=True).click()
    page.locator("[name='bill.offer']").select_option("GCP n2-standard-4")
    says(page, app.monthly_bill(Scenario(offer="GCP n2-standard-4")))
    expect(page).to_have_url(re.compile(re.escape("bill.offer=GCP+n2-standard-4")))


def test_a_number_beyond_its_range_is_said_and_kept_in_the_field(page):
    write(page, "Requests", "2e9")
    expect(page.get_by_role("alert")).to_contain_text("Requests (volume) goes from 1 to 1,000,000,000 a month")
    expect(shown(page).locator(".app-figure")).to_have_count(0)
    expect(page.get_by_label(re.compile("^Requests"))).to_have_value("2e9")
    write(page, "Requests", "1,000,000")
    says(page, app.monthly_bill(Scenario(volume=1e6)))
    write(page, "Requests", "")
    says(page, app.monthly_bill(Scenario()))
    expect(page.get_by_label(re.compile("^Requests"))).to_have_value("500,000,000")


def page_bill(page: Page) -> Locator:
    """The first lines of a strategy's page, once they are there."""
    result = page.locator(".app-bill")
    expect(result).to_be_visible(timeout=120_000)
    return result


def test_an_address_opens_the_same_bill_and_a_page_starts_from_it_and_leads_back(page):
    """From the landing page to page 5, which simulates the reader's requests a second, and back with all numbers."""
    asked = Scenario(volume=5.5e8, machine_discount=40)
    write(page, "Requests", "5.5e8")
    page.get_by_text("Machines", exact=True).click()
    write(page, "Discount on machines", "40")
    says(page, app.monthly_bill(asked))
    page.reload()
    says(page, app.monthly_bill(asked))
    page.set_viewport_size(PHONE)
    page.locator("#bill-pages a").last.click()
    expect(page_bill(page).locator("b")).to_have_text(share_of(app.monthly_bill(asked), "5")[0])
    expect(page_bill(page)).to_contain_text("550 million requests a month")
    shows_dollars_first(page)
    rate = page.get_by_label("Requests a second, on average, as a number", exact=True)
    expect(rate).to_have_value(f"{asked.mean_per_second:.12g}", timeout=60_000)
    expect(page.get_by_label("Your price of it, % of the list price, as a number", exact=True)).to_have_value("60")
    rate.fill("5000")
    rate.press("Tab")
    expect(page.get_by_role("alert")).to_contain_text("takes a number from 1 to 1,000, not 5,000")
    page.get_by_role("link", name="Your whole bill").click()
    says(page, app.monthly_bill(asked))
    expect(page).to_have_url(re.compile("bill.volume=550000000"))


def shows_dollars_first(page: Page) -> None:
    """On a phone, without scrolling and not cut off."""
    box = page_bill(page).locator("b").bounding_box()
    assert box["y"] + box["height"] < PHONE["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_first_screen_of_a_phone_shows_the_dollars_of_page_2(address, open_page):
    page = open_page(viewport=PHONE)
    page.goto(f"{address}voila/render/2_efficient_architectures.ipynb?bill.volume=9e8")
    expect(page_bill(page).locator("b")).to_have_text(share_of(app.monthly_bill(Scenario(volume=9e8)), "2")[0],
                                                      timeout=60_000)
    shows_dollars_first(page)


def test_a_bill_that_is_kept_stands_beside_the_next_one(page):
    page.get_by_role("link", name="Keep this as today").click()
    expect(page).to_have_url(re.compile("today.volume=500000000"))  # else the old page may be written into
    write(page, "Requests", "1e9")
    both = app.two_bills(Scenario(), Scenario(volume=1e9))
    says_both = shown(page).locator(".app-verdict").first
    expect(says_both).to_have_text(both.headline)
    cells = shown(page).locator(".app-two-bills tbody tr").last.locator("td")
    expect(cells).to_have_text(["", "With all steps", usd_range(both.before.then), usd_range(both.after.then),
                                both.rows[-1].said])
    expect(page).to_have_url(re.compile("today.volume=500000000"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("link", name="Forget today's").click()
    says(page, app.monthly_bill(Scenario(volume=1e9)))


def test_a_number_written_before_the_script_has_come_counts(address, open_page):
    """The form can be seen and written into while the script is still on its way."""
    page, held = open_page(), []
    page.route("**/landing.js*", lambda route: held.append(route))
    page.goto(address, wait_until="commit")
    write(page, "Requests", "9e8")
    held.pop().continue_()
    says(page, app.monthly_bill(Scenario(volume=9e8)))
    expect(page).to_have_url(re.compile("bill.volume=9e8"))


def test_what_is_sent_on_says_what_the_page_says(page, browser: Browser, tmp_path: Path):
    write(page, "Requests", "9e8")
    answer = app.monthly_bill(Scenario(volume=9e8))
    says(page, answer)
    saved = {}
    for name, ending in (("one HTML file", "html"), ("Markdown", "md"), ("JSON", "json")):
        with page.expect_download() as saving:
            page.get_by_role("link", name=name, exact=True).click()
        saved[ending] = tmp_path / saving.value.suggested_filename
        saving.value.save_as(saved[ending])
    assert {ending: path.name for ending, path in saved.items()} == {ending: f"bill.{ending}" for ending in saved}
    assert answer.headline in saved["md"].read_text()
    assert json.loads(saved["json"].read_text())["today"]["value"] == pytest.approx(answer.today.value)
    context = browser.new_context(offline=True, java_script_enabled=False)
    opened, asked = context.new_page(), []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(saved["html"].as_uri())
    expect(opened.locator(".app-verdict")).to_have_text(answer.headline)
    widest = max(opened.locator(".app-waterfall .bar i").nth(number).bounding_box()["width"] for number in range(3))
    assert widest > 200
    assert asked == [saved["html"].as_uri()]
    context.close()


def test_paper_shows_the_bill_alone(page):
    page.emulate_media(media="print")
    expect(page.locator(".app-verdict")).to_be_visible()
    for hidden in (".brand-bar", "#bill-form", "#bill-pages"):
        expect(page.locator(hidden)).to_be_hidden()


def test_without_scripts_the_button_works_it_out(address, browser: Browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    page.get_by_label(re.compile("^Requests")).fill("9e8")
    page.get_by_role("button", name="Work it out").click()
    says(page, app.monthly_bill(Scenario(volume=9e8)))
    expect(page).to_have_url(re.compile("bill.volume=9e8"))
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_axe_finds_nothing_serious(address, open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(address)
    page.evaluate("document.querySelectorAll('#bill-form details').forEach(group => group.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    bars = [bar.bounding_box() for bar in page.locator(".app-waterfall .bar").all()]
    assert len({(round(bar["x"]), round(bar["width"])) for bar in bars}) == 1, "bars are compared: one scale for all"
    result = Axe().run(page).response["violations"]
    assert [f"{item['id']}: {node['target']} {node['failureSummary']}" for item in result
            if item["impact"] in ("serious", "critical") for node in item["nodes"]] == []


def test_a_field_answers_as_soon_as_it_changes(page):
    for number in range(3):
        scenario = Scenario(volume=1e8 + 4e7 * number)
        page.get_by_label(re.compile("^Requests")).fill(str(int(scenario.volume)))
        page.get_by_label(re.compile("^Requests")).dispatch_event("change")
        says(page, app.monthly_bill(scenario))
        expect(page).to_have_url(re.compile(f"bill.volume={scenario.volume:.0f}"))
