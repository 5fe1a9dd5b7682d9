"""A model in the visitor's own browser: it answers as the server does, from what this server sent and nothing else."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import notebook
import pytest
from playwright.sync_api import Page, expect
from tiny_models import make_tiny_model

from helpers.app.panels.frame import source

TEXTS = ["Where is my parcel?", "I want my money back!!", "naïve café, İstanbul", "東京タワー です", "ok 😀 [SEP]",
         "a much longer message about a hammer and a saw that were left out in the rain " * 3, "?", "Ünïcödé ΟΔΟΣ",
         "the cat", "the drill", "snow and hail", "sparrow"]
HARD = [*TEXTS, "", "   ", "constructor", "__proto__ [MASK]__proto__", "x" * 100, "x" * 101, "y" * 9_000,
        "[CLS]a[MASK]b [Sep]", "e\u0301\u0323 a\u0344b",
        "\x00\x01\x0b\x0c\x85\u2028\u3000 z", "#" * 300, "word " * 500, "한국어 문장", "नमस्ते दुनिया", "ﬁ ﬂ",
        "\U0002b820\U0002b920", "👩‍👩‍👧", "\ufffd\ue000\U000f0000"]
CELLS = """
from helpers import app


def prepare(report):
    from pathlib import Path

    from helpers.hardware_codesign import for_the_browser
    from helpers.lab import load

    return for_the_browser(load(Path({folder!r})), {texts!r}, rounds=2, progress=report)


app.OnDevice(prepare)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An int8 model and the folder that it is saved in."""
    from helpers.hardware_codesign import make, option

    base = make_tiny_model(SimpleNamespace(labels=("animals", "tools", "weather")))
    int8 = make(base, option("onnxruntime", "int8"))
    folder = tmp_path_factory.mktemp("int8")
    int8.save(folder)
    return SimpleNamespace(int8=int8, folder=folder)


@pytest.fixture(scope="module")
def notebook_of_it(model: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = [("markdown", [], "# On your own device\n\nA fixture, for tests only."),
             ("code", [], CELLS.format(folder=str(model.folder), texts=TEXTS))]
    return notebook.write(tmp_path_factory.mktemp("device"), "device.ipynb", cells)


def check_run(page: Page, model: SimpleNamespace) -> None:
    """Press the button; compare what the browser answers with what the server's model does."""
    page.get_by_role("button", name="Run it on my device").click()
    panel = page.locator(".app-panel")
    expect(panel.locator(".app-figure")).to_have_count(6, timeout=60_000)
    expect(panel.locator(".app-verdict")).to_contain_text(re.compile(r"server's answer to (all|1[01] of) 12 messages"))
    labels = model.int8.card.labels
    mine, said = panel.locator("form input"), panel.locator("form output")
    for text in TEXTS[:3]:
        logits = model.int8.predict([text])[0]
        mine.fill(text)
        panel.get_by_role("button", name="Answer").click()
        expect(said).to_have_text(re.compile(rf"^{labels[logits.argmax()]}, in [\d.]+ ms$"))
        said.evaluate("output => { output.textContent = ''; }")


def test_a_page_brings_the_model_to_the_device_on_request(model, notebook_of_it, start_voila, open_page):
    page, came = open_page(), []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: came.append(len(frame))))
    page.goto(f"{start_voila(notebook_of_it.parent, '--pool', '0')}voila/render/device.ipynb")
    expect(page.locator(".app-panel")).to_contain_text("Nothing has run on this device yet")
    assert sum(came) < 1_000_000
    assert page.workers == []
    check_run(page, model)
    assert sum(came) > 5_000_000
    assert len(page.workers) == 1


@pytest.fixture(scope="module")
def rules(model: SimpleNamespace) -> tuple[list[str], dict]:
    from helpers.hardware_codesign.runtimes.on_device import tokenizer_parts

    pieces, said = tokenizer_parts(model.int8)
    return list(pieces), said


def test_the_browser_tokenizes_as_the_library(model, rules, open_page: Callable[..., Page]):
    """Hard texts, all signs of the older blocks, and some of the others, each within a word and alone."""
    rng = random.Random(0)
    codes = [*range(0x3400), *rng.sample(range(0x3400, 0xD800), 400), *rng.sample(range(0xE000, 0x1F000), 1_500),
             *rng.sample(range(0x20000, 0x110000), 100)]
    texts = [*HARD, *(f"a{chr(code)}b {chr(code)}" for code in codes)]
    page = open_page()
    page.add_script_tag(type="module", content=source("wordpiece.js") + "\nglobalThis.WordPiece = WordPiece;")
    page.wait_for_function("() => 'WordPiece' in globalThis")
    ids = page.evaluate("""([pieces, rules, texts]) => {
        const tokenizer = new WordPiece(pieces, rules);
        return texts.map(text => tokenizer.encode(text));
    }""", [*rules, texts])
    wanted = model.int8.encoder.encode(texts)
    assert [text for text, mine, theirs in zip(texts, ids, wanted, strict=True) if mine != theirs] == []
