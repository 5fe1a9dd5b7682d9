"""Load tests of servers whose times are known, and of one that fails; rates found in queues that theory solves."""

import time

import numpy as np
import pytest
from faulty_server import paris, refusal, stream

from helpers.hardware_codesign.language_serving.endpoint_load import (
    LoadTest,
    Target,
    find_rate,
    load_endpoint,
    own_overhead,
    poisson_times,
    prompts_of_lengths,
)
from helpers.hardware_codesign.language_serving.paced_server import PacedServer
from helpers.lab import Cancelled, InputError, endpoint
from helpers.lab.progress import Progress

SLACK_S = 0.2  # of a busy machine; times are long beside it


def test_times_are_the_servers_and_counts_its_own():
    with PacedServer(first_s=0.4, token_s=0.2, slots=10) as server:
        load = load_endpoint(endpoint(server.url, model="paced"), ["one two three", "four"], np.arange(6) * 0.05,
                             max_tokens=[2, 5, 2, 5, 2, 5])
    assert load.answer_tokens.tolist() == [2, 5] * 3
    assert load.prompt_tokens.tolist() == [3, 1] * 3
    assert load.first_s.min() >= 0.4
    np.testing.assert_allclose(load.first_s, 0.4, atol=SLACK_S)
    np.testing.assert_allclose(load.last_s, [0.6, 1.2] * 3, atol=SLACK_S)
    np.testing.assert_allclose(load.per_token_s, 0.2, atol=SLACK_S)
    assert (load.late_s >= 0).all()
    assert np.median(load.late_s) < SLACK_S


def test_times_agree_with_the_servers_log():
    with PacedServer(first_s=0.1, token_s=0.02, slots=2) as server:
        load = load_endpoint(endpoint(server.url, model="paced"), ["a"], poisson_times(10, 1), max_tokens=4)
        log = server.log[1:]  # the first one went ahead
    np.testing.assert_allclose(load.first_s - load.late_s, [one.first - one.came for one in log], atol=SLACK_S)
    np.testing.assert_allclose(load.last_s - load.first_s, [one.last - one.first for one in log], atol=SLACK_S)


def test_the_testers_own_share_is_known():
    added = own_overhead(rate=20, seconds=1)
    assert len(added) == 20
    assert added.min() >= 0
    assert np.median(added) < SLACK_S
    with pytest.raises(InputError, match="a rate and a time above 0"):
        own_overhead(rate=0)


def test_requests_do_not_wait_for_the_answers_before_them():
    """One slot and 0.4 s of work every 0.24 s: the k-th waits for k times what the server falls behind."""
    with PacedServer(first_s=0.4, token_s=0.0) as server:
        load = load_endpoint(endpoint(server.url, model="paced"), ["a"], np.arange(8) * 0.24, max_tokens=1)
    np.testing.assert_allclose(load.last_s, 0.4 + 0.16 * np.arange(8), atol=SLACK_S)
    assert load.per_token_s.tolist() == [0.0] * 8


def test_what_fails_is_counted_and_not_sent_twice(faulty):
    faulty.script = [paris(), refusal(500, "no disk"), paris(), stream({"choices": [{"delta": {}}]}), paris()]
    load = load_endpoint(endpoint(faulty.url, model="small"), ["a"], [0.0, 0.4, 0.8, 1.2])
    assert len(faulty.seen) == 5
    assert ["HTTP 500: no disk" in error for error in load.errors] == [True, False, False, False]
    assert [bool(error) for error in load.errors] == [True, False, True, False]
    assert load.answer_tokens.tolist() == [0, 2, 0, 2]
    row = load.row(Target(first_s=5, per_token_s=5))
    assert (row["errors"], row["good"]) == (2, 0.5)


def test_each_load_goes_on_with_new_prompts_which_the_server_does_not_have_in_its_cache(faulty):
    llm, prompts = endpoint(faulty.url, model="small"), iter("abcde")
    loads = [load_endpoint(llm, prompts, [0.0, 0.0], max_tokens=1) for _ in range(2)]
    sent = [body["messages"][-1]["content"] for _, _, body in faulty.seen]
    assert sorted(sent) == ["Hello", "Hello", "a", "b", "c", "d"]
    assert [load.cached_tokens.tolist() for load in loads] == [[5, 5]] * 2  # as the server says
    assert loads[0].row(Target())["cached_share"] == pytest.approx(5 / 7)
    with pytest.raises(InputError, match="ended after 1 of 2 requests"):
        load_endpoint(llm, prompts, [0.0, 0.0], max_tokens=1)
    load_endpoint(llm, np.array(["f"]), [0.0, 0.0], max_tokens=1)
    assert [body["messages"][-1]["content"] for _, _, body in faulty.seen][-2:] == ["f", "f"]  # no iterator: in turn


def test_a_server_that_says_nothing_of_its_cache_has_none(faulty):
    faulty.script = [paris({"prompt_tokens": 7, "completion_tokens": 2})]
    assert load_endpoint(endpoint(faulty.url, model="small"), ["a"], [0.0]).cached_tokens.tolist() == [0]


def test_a_server_that_answers_nothing_is_refused(faulty):
    faulty.script = [paris(), refusal(429, "quota used up")]
    with pytest.raises(InputError, match=r"answered none of 2 requests .*quota used up"):
        load_endpoint(endpoint(faulty.url, model="small"), ["a"], [0.0, 0.0])
    faulty.script = [refusal(404, "no such model")]
    with pytest.raises(InputError, match="no such model"):
        load_endpoint(endpoint(faulty.url, model="small"), ["a"], [0.0])


def test_what_cannot_be_sent_is_said(faulty):
    llm = endpoint(faulty.url, model="small")
    for prompts, due, options, sentence in (
            ([], [0.0], {}, "needs prompts"), (["a"], [], {}, "needs prompts"), (["a"], [1.0, 0.5], {}, "ascending"),
            (["a"], [-1.0], {}, "ascending"), (["a"], [0.0, 1.0], {"max_tokens": [3]}, "one for each of the 2"),
            (["a"], [0.0], {"max_tokens": 0}, "at least 1")):
        with pytest.raises(InputError, match=sentence):
            load_endpoint(llm, prompts, due, **options)
    with pytest.raises(InputError, match="a rate and a time above 0"):
        poisson_times(0, 1)
    assert faulty.seen == []


def test_cancel_is_heard_under_load():
    began = time.monotonic()
    with PacedServer(first_s=0.01, token_s=0.0) as server, pytest.raises(Cancelled):
        load_endpoint(endpoint(server.url, model="paced"), ["a"], [0.0, 60.0], max_tokens=1,
                      progress=Progress(cancelled=lambda: time.monotonic() - began > 0.5))
    assert time.monotonic() - began < 4


# Figures, and the search for a rate

def in_a_queue(due, service_s) -> LoadTest:
    """One server and fixed service times: Lindley's recursion."""
    free, last = 0.0, []
    for at in due:
        free = max(free, at) + service_s
        last.append(free - at)
    ones, last = np.ones(len(due), int), np.array(last)
    return LoadTest(np.asarray(due), np.zeros(len(due)), last, last, ones, ones, 0 * ones, ("",) * len(due))


def test_goodput_counts_what_meets_both_targets():
    load = LoadTest(due_s=np.array([0.0, 1.0, 2.0, 3.0]), late_s=np.zeros(4),
                    first_s=np.array([0.5, 1.5, 0.5, np.nan]), last_s=np.array([1.0, 2.0, 8.0, np.nan]),
                    prompt_tokens=np.array([5, 5, 5, 0]), answer_tokens=np.array([6, 6, 6, 0]),
                    cached_tokens=np.array([5, 1, 0, 0]), errors=("", "", "", "x"))
    row = load.row(Target(first_s=1.0, per_token_s=0.2))
    assert load.meets(Target(first_s=1.0, per_token_s=0.2)).tolist() == [True, False, False, False]
    assert row["goodput_per_s"] == pytest.approx(1 / 10)  # the last token came ten seconds after the first was due
    assert row["tokens_per_s"] == pytest.approx(18 / 10)
    assert row["first_p50_ms"] == pytest.approx(500)
    assert row["cached_share"] == pytest.approx(6 / 15)
    assert (row["requests"], row["errors"], row["good"]) == (4, 1, 0.25)


def test_the_time_before_a_single_request_is_no_part_of_its_rate():
    """Due after ten seconds and answered in half a one: two a second."""
    row = in_a_queue([10.0], 0.5).row(Target())
    assert (row["goodput_per_s"], row["tokens_per_s"]) == (pytest.approx(2.0), pytest.approx(2.0))


def test_the_rate_of_a_regular_queue_is_one_over_its_service_time():
    result = find_rate(lambda rate: in_a_queue(np.arange(400) / rate, 0.05), Target(first_s=0.06), start=1.0,
                      precision=0.02)
    assert 20 / 1.02 <= result.attrs["rate"] <= 20 * (1 + 1e-9)
    assert result["rate"].is_monotonic_increasing
    assert result["holds"].tolist() == sorted(result["holds"].tolist(), reverse=True)


@pytest.mark.parametrize("start", [0.5, 7.0, 100.0])
def test_the_rate_of_a_random_queue_is_that_of_a_scan(start):
    """At most 5% wait for more than four service times."""
    def load(rate):
        return in_a_queue(poisson_times(rate, 2000 / rate), 0.05)

    target = Target(first_s=0.25)
    scanned = max(rate for rate in np.arange(1.0, 20.0, 0.05) if load(rate).row(target)["good"] >= 0.95)
    assert find_rate(load, target, start=start, precision=0.01).attrs["rate"] == pytest.approx(scanned, rel=0.02)


def test_a_target_that_no_rate_meets_and_one_that_all_meet():
    slow = find_rate(lambda rate: in_a_queue([0.0, 1 / rate], 0.5), Target(first_s=0.1))
    assert slow.attrs["rate"] == 0.0
    assert not slow["holds"].any()
    quick = find_rate(lambda rate: in_a_queue(np.arange(9) / rate, 0.0), Target(), highest=50.0)
    assert quick.attrs["rate"] == 50.0
    with pytest.raises(InputError, match="a precision above 0"):
        find_rate(lambda rate: in_a_queue([0.0], 0.1), Target(), precision=0.0)


def test_random_times_have_their_rate_and_prompts_their_lengths():
    due = poisson_times(50, 200)
    assert len(due) == 10_000
    assert due[-1] == pytest.approx(200, rel=0.05)
    gaps = np.diff(due)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponential
    assert [len(prompt.split()) for prompt in prompts_of_lengths([1, 7, 300])] == [1, 7, 300]
