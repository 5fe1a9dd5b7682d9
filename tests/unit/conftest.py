"""What the unit tests share: a home of their own, a small task and a small model."""

import csv
import os
import random
import tempfile
import threading

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported: no test waits for a network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from threads, and tests run side by side

import pytest
from faulty_server import FaultyServer
from tiny_models import make_narrow_encoder, make_tiny_model

WORDS = {
    "animals": ["cat", "dog", "horse", "sparrow", "whale", "beetle", "goat", "salmon"],
    "tools": ["hammer", "saw", "drill", "wrench", "chisel", "pliers", "file", "anvil"],
    "weather": ["rain", "storm", "sunshine", "fog", "snow", "hail", "wind", "frost"],
}
FILLERS = ["the", "a", "near", "old", "was", "seen", "again", "today", "and", "then", "very", "big"]


@pytest.fixture(scope="session", autouse=True)
def helpers_home(make_home):
    """The home of all tests of this worker; nobody's real ledger or cache is touched. The workers share the cache.

    Each has a queue of measurements of its own, below TMPDIR: no time is read off here, so none waits for another's.
    """
    with (tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short,  # sockets' names have 107 letters at most
          pytest.MonkeyPatch.context() as patch):
        patch.setenv("HELPERS_HOME", str(make_home()))
        patch.setenv("TMPDIR", short)
        patch.setattr(tempfile, "tempdir", None)  # it is found again when next asked for
        os.chmod(short, 0o1777)  # as /tmp has it: some tests become another user
        yield


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """An empty home for one test."""
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tiny_rows(rows_a_label: int = 40) -> list[tuple[str, str]]:
    """(text, label): some words of the label's own among fillers, 2 to 13 words long."""
    rng = random.Random(0)
    rows = []
    for label, own in WORDS.items():
        for _ in range(rows_a_label):
            words = rng.choices(own, k=2) + rng.choices(FILLERS, k=rng.randint(0, 11))
            rng.shuffle(words)
            rows.append((" ".join(words), label))
    return rows


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory):
    """120 short texts with 3 labels, read from a CSV as a user's would be."""
    from helpers.lab import load_task

    path = tmp_path_factory.mktemp("data") / "tiny.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *tiny_rows()])
    return load_task(path)


@pytest.fixture(scope="session")
def tiny_model(tiny_task):
    """See make_tiny_model. Shared: tests leave it as it is."""
    return make_tiny_model(tiny_task)


@pytest.fixture(scope="session")
def narrow_encoder(tmp_path_factory):
    """See make_narrow_encoder. Its name is 'narrow-encoder'."""
    return make_narrow_encoder(tmp_path_factory.mktemp("encoder") / "narrow-encoder")


@pytest.fixture(scope="session")
def new_measurement():
    """A function that makes a Measurement of round numbers, changed as it is told."""
    from helpers.lab import Measurement

    plain = {
        "task": "tiny", "model": "tiny", "strategy": "reference", "settings": {"runtime": "pytorch"}, "accuracy": 0.8,
        "accuracy_low": 0.7, "accuracy_high": 0.9, "accuracy_delta": 0.0, "accuracy_delta_low": 0.0,
        "accuracy_delta_high": 0.0, "macro_f1": 0.8, "calibration_error": 0.1, "rows": 100, "speedup": 1.0,
        "speedup_low": 1.0, "speedup_high": 1.0, "p50_ms": 10.0, "p95_ms": 20.0, "p99_ms": 30.0,
        "throughput_per_s": 100.0, "batch_size": 8, "threads": 2, "artefact_bytes": 4_000_000, "parameters": 1_000_000,
        "macs": 1_000_000, "peak_bytes": 200_000_000, "joules_low": 0.1, "joules": 0.2, "joules_high": 0.3,
        "energy_method": "a test", "made_in_s": 0.0, "usd_per_million": 0.5, "reference": "tiny",
        "machine": {"id": "0123456789ab", "cpu": "a CPU"}, "key": "k"}
    return lambda **changes: Measurement(**plain | changes)


@pytest.fixture
def faulty():
    """See FaultyServer: it is well until its `script` says otherwise."""
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
