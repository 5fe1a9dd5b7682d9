"""What a device's run says is computed from it, whichever way it falls, and nothing unreadable becomes a run."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.app.text.on_device import (
    DeviceRun,
    device_figures,
    device_verdict,
    loaded_bytes,
    ratio_to_server,
    same_answers,
)
from helpers.lab import InputError, offer
from helpers.lab.money.scenario import Scenario

ROWS, CLASSES = 40, 3
LOGITS = np.eye(CLASSES, dtype=np.float32)[np.arange(ROWS) % CLASSES]


def model(alone_ms: float = 10.0, texts_per_s: float = 200.0):
    return SimpleNamespace(graph=bytes(1000), pieces=("a", "é", "##b"), rules={}, labels=("x", "y", "z"),
                           texts=("t",) * ROWS, logits=LOGITS, alone_s=np.full(100, alone_ms / 1000),
                           texts_per_s=texts_per_s, machine={"cpu": "a CPU", "cores": 2})


def run(ms: float = 20.0, flipped: int = 0) -> DeviceRun:
    logits = LOGITS.copy()
    logits[:flipped] = np.roll(logits[:flipped], 1, axis=1)
    return DeviceRun(np.full((3, ROWS), ms), logits, 1.5, 80_000_000)


def message(of: DeviceRun) -> tuple[dict, list[bytes]]:
    return {"load_s": of.load_s, "memory_bytes": of.memory_bytes}, [of.ms.tobytes(), of.logits.tobytes()]


@pytest.mark.parametrize(("server_ms", "device_ms", "said"), [
    (10.0, 20.0, "2.0 times slower"), (20.0, 10.0, "2.0 times faster"), (10.0, 10.0, "as fast")])
def test_the_device_may_be_slower_or_faster(server_ms, device_ms, said):
    """Of constant times the ratio of medians is their ratio, without an interval."""
    assert ratio_to_server(model(server_ms), run(device_ms)) == pytest.approx((server_ms / device_ms,) * 3)
    assert f"your device is {said}." in device_verdict(model(server_ms), run(device_ms), 10**7, Scenario())


def test_the_interval_of_the_ratio_holds_the_true_one():
    rng = np.random.default_rng(0)
    server = SimpleNamespace(**vars(model()) | {"alone_s": rng.lognormal(np.log(0.010), 0.2, 200)})
    device = DeviceRun(rng.lognormal(np.log(25.0), 0.2, (5, ROWS)), LOGITS, 1.0, 1)
    ratio, low, high = ratio_to_server(server, device)
    assert low < 0.4 < high
    assert low < ratio < high


@pytest.mark.parametrize(("flipped", "said"), [(0, "to all 40 messages"), (10, "to 30 of 40 messages"),
                                               (40, "to 0 of 40 messages")])
def test_answers_may_differ(flipped, said):
    assert same_answers(model(), run(flipped=flipped)) == (ROWS - flipped, ROWS)
    assert said in device_verdict(model(), run(flipped=flipped), 10**7, Scenario())
    assert dict(device_figures(model(), run(flipped=flipped), 10**7))[f"{ROWS - flipped} of 40"]


def test_the_dollars_are_those_of_the_servers_busy_seconds():
    mine = Scenario(volume=3e6, offer="AWS m7i.large", machine_discount=25)
    wanted = 3e6 / 200.0 * 0.75 * offer("AWS m7i.large").on_demand_usd_hour / 3600
    assert f"3 million a month are ${wanted:,.0f} of busy seconds on AWS m7i.large" in device_verdict(
        model(), run(), 10**7, mine)


def test_what_a_device_loads_is_program_graph_and_vocabulary():
    assert loaded_bytes(model(), 500) == 500 + 1000 + len("a\né\n##b\n".encode())


def test_a_run_comes_through_a_message_unchanged():
    sent = run(12.5, flipped=3)
    came = DeviceRun.of_message(*message(sent), model())
    np.testing.assert_array_equal(came.ms, sent.ms)
    np.testing.assert_array_equal(came.logits, sent.logits)
    assert (came.load_s, came.memory_bytes) == (sent.load_s, sent.memory_bytes)


ABOUT, (MS, ANSWERS) = message(run())
NAN = np.full((3, ROWS), np.nan).tobytes()


@pytest.mark.parametrize(("about", "buffers"), [
    (None, [MS, ANSWERS]), ([], [MS, ANSWERS]), ({}, [MS, ANSWERS]), (ABOUT, []), (ABOUT, [MS]), (ABOUT, [ANSWERS, MS]),
    (ABOUT, [MS[:-1], ANSWERS]), (ABOUT, [b"", ANSWERS]), (ABOUT, [MS * 200, ANSWERS]), (ABOUT, [MS, ANSWERS * 2]),
    (ABOUT, [NAN, ANSWERS]), (ABOUT, [np.zeros((3, ROWS)).tobytes(), ANSWERS]),
    (ABOUT, [MS, np.full_like(LOGITS, np.inf).tobytes()]), (ABOUT | {"load_s": -1}, [MS, ANSWERS]),
    (ABOUT | {"load_s": float("nan")}, [MS, ANSWERS]), (ABOUT | {"memory_bytes": 1e300}, [MS, ANSWERS]),
    (ABOUT | {"memory_bytes": "80"}, [MS, ANSWERS]), (ABOUT | {"memory_bytes": True}, [MS, ANSWERS])])
def test_whatever_else_a_browser_sends_is_refused_in_a_sentence(about, buffers):
    with pytest.raises(InputError, match="no readable results"):
        DeviceRun.of_message(about, buffers, model())
