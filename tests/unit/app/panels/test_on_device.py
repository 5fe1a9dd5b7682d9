"""The panel's half in the kernel: what is sent to a browser and what is taken from it; and what ships for it."""

import gzip
import hashlib

import numpy as np
import pytest

from helpers.app.panels.on_device import NOT_YET, PART_BYTES, ROUNDS, RUNTIME_SCRIPT, RUNTIME_WASM, OnDevice
from helpers.hardware_codesign.runtimes.on_device import BrowserModel
from helpers.lab.money.scenario import Scenario
from recording import onnx_web

LOGITS = np.eye(2, dtype=np.float32)
MODEL = BrowserModel(bytes(range(256)) * (PART_BYTES // 200), ("[CLS]", "é"), {"max_tokens": 8}, ("no", "yes"),
                     ("one", "two"), LOGITS, np.full(9, 0.01), 100.0, {"cpu": "a CPU", "cores": 2})


@pytest.fixture
def panel(monkeypatch):
    """A panel whose model was made, and `sent`: what went to the browser."""
    made = OnDevice(lambda report: MODEL, lambda: Scenario(volume=7e6))
    made.sent = []
    monkeypatch.setattr(made._device, "send", lambda message, buffers=(): made.sent.append((message, list(buffers))))
    made.job.start()
    assert made.job.wait(60)
    return made


def tell(panel, message, buffers=()):
    panel._device._handle_custom_msg(message, [memoryview(buffer) for buffer in buffers])


def results(ms=10.0):
    return {"load_s": 1.0, "memory_bytes": 5_000_000}, [np.full((ROUNDS, 2), ms).tobytes(), LOGITS.tobytes()]


def test_the_files_that_ship_are_the_registrys():
    for path, (_, digest) in onnx_web.FILES.items():
        assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest
    assert gzip.decompress(RUNTIME_WASM.read_bytes())[:4] == b"\0asm"
    assert f"ONNX Runtime Web v{onnx_web.VERSION}" in gzip.decompress(RUNTIME_SCRIPT.read_bytes())[:80].decode()
    assert RUNTIME_SCRIPT.stat().st_size + RUNTIME_WASM.stat().st_size < 4_000_000


def test_nothing_is_sent_before_the_button_is_pressed():
    made = OnDevice(lambda report: MODEL)
    state = made._device.get_state()
    assert sum(len(value) for value in state.values() if isinstance(value, str | bytes)) < 30_000
    assert made.verdict == NOT_YET
    tell(made, {"part": "graph", "number": 0})
    tell(made, *results())
    assert "press the button first" in made._status.value
    assert made.run is None


def test_each_part_is_sent_once_and_they_make_the_files(panel):
    [(first, _)] = panel.sent
    counts = first["begin"]["counts"]
    assert counts["graph"] == 2
    for name, count in counts.items():
        for number in range(count):
            tell(panel, {"part": name, "number": number})
    files = {name: b"".join(buffers[0] for message, buffers in panel.sent[1:] if message["part"] == name)
             for name in counts}
    assert files == {"script": RUNTIME_SCRIPT.read_bytes(), "wasm": RUNTIME_WASM.read_bytes(), "graph": MODEL.graph,
                     "pieces": "[CLS]\né".encode()}
    assert max(len(buffers[0]) for _, buffers in panel.sent[1:]) <= PART_BYTES
    before = len(panel.sent)
    tell(panel, {"part": "graph", "number": 0})
    assert len(panel.sent) == before


@pytest.mark.parametrize("asked", [{"part": "graph", "number": 99}, {"part": "../../etc/passwd", "number": 0},
                                   {"part": "graph", "number": -1}, {"part": ["graph"], "number": 0},
                                   {"part": "graph", "number": [0]}, {"part": None}, {"part": {}, "number": {}}])
def test_what_is_no_part_is_not_sent(panel, asked):
    tell(panel, asked)
    assert len(panel.sent) == 1


def test_a_run_becomes_the_verdict_and_the_figures(panel):
    tell(panel, *results(ms=20.0))
    assert "all 2 messages" in panel._top.value
    assert "2.0 times slower" in panel.verdict
    assert "7 million a month" in panel.verdict
    assert panel._figures.value.count("app-figure'") == 6
    tell(panel, *results(ms=5.0))
    assert "2.0 times faster" in panel.verdict


@pytest.mark.parametrize("message", [{}, {"load_s": 1}, None, "done", 5, []])
def test_odd_results_are_a_sentence_and_no_run(panel, message):
    tell(panel, message)
    assert "error" in panel._status.value
    assert panel.run is None


def test_what_fails_in_the_browser_is_shown_and_not_obeyed(panel):
    tell(panel, {"failed": "<img src=x onerror=alert(1)>" + "x" * 10_000})
    assert "It does not run in this browser: &lt;img" in panel._status.value
    assert len(panel._status.value) < 1_000
