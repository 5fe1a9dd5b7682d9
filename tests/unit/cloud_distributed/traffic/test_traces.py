"""Recorded traffic in the forms that people have."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.cloud_distributed import LlmFleet, Prefixes, ServingEngine, read_trace, serve_llm
from helpers.lab import InputError

RECORDINGS = Path(os.environ.get("TRACES", "none"))  # a folder with the two public recordings, to be fetched


def per_interval(arrivals: np.ndarray, width: float, seconds: float) -> np.ndarray:
    return np.bincount((arrivals / width).astype(int), minlength=round(seconds / width))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_request_times_with_tokens_are_read_to_the_microsecond(tmp_path):
    trace = read_trace(written(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                                         "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
                                         "2023-11-16 18:17:05.0000000,2,1\n"))
    np.testing.assert_allclose(trace.arrivals, [0, 0.052, 1.02004], atol=1e-9)
    assert trace.prompt_tokens.tolist() == [4808, 3180, 2]
    assert trace.output_tokens.tolist() == [10, 8, 1]
    assert trace.start == pd.Timestamp("2023-11-16 18:17:03.97996", tz="UTC")
    assert any("no time zone" in note for note in trace.notes)


def test_counts_per_interval_become_arrivals_within_them(tmp_path):
    trace = read_trace(written(tmp_path, "timestamp,value\n2014-04-10 00:04:00,94.0\n2014-04-10 00:09:00,56.0\n"
                                         "2014-04-10 00:14:00,0.0\n2014-04-10 00:19:00,3.0\n"))
    np.testing.assert_array_equal(per_interval(trace.arrivals, 300, 1200), [94, 56, 0, 3])


def test_rows_out_of_order_are_sorted_with_their_tokens_and_it_is_said(tmp_path):
    trace = read_trace(written(tmp_path, "time,prompt_tokens\n5.0,50\n1.0,10\n2.5,25\n"))
    assert trace.arrivals.tolist() == [1.0, 2.5, 5.0]
    assert trace.prompt_tokens.tolist() == [10, 25, 50]
    assert trace.start is None
    assert "1 rows were out of order" in " ".join(trace.notes)


MOONCAKE = [{"timestamp": 3000, "input_length": 1500, "output_length": 7, "hash_ids": [46, 47, 2**70]},
            {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [46, 99]},
            {"timestamp": 1000, "input_length": 300, "output_length": 1, "hash_ids": []}]


def test_hashes_of_prompts_are_read_with_their_requests(tmp_path):
    """As Mooncake's traces have them: equal hashes are equal blocks, however large the numbers are."""
    trace = read_trace(written(tmp_path, "\n".join(map(json.dumps, MOONCAKE))), unit="ms")
    assert trace.arrivals.tolist() == [0.0, 1.0, 3.0]
    first, none, last = trace.prefix_hashes
    assert (len(first), len(none), len(last)) == (2, 0, 3)
    assert first[0] == last[0]
    assert len({*first, *last}) == 4
    assert "taken as hashes of each prompt's beginning: 4 blocks, 5 with repeats" in " ".join(trace.notes)
    later = read_trace(written(tmp_path, "\n".join(map(json.dumps, MOONCAKE))), unit="ms", start=0.5)
    assert [len(one) for one in later.prefix_hashes] == [0, 3]


@pytest.mark.parametrize("cell", ["[46 47]", "46;47", "(46, 47)", "46|47"])
def test_lists_of_hashes_are_read_as_programs_write_them(tmp_path, cell):
    trace = read_trace(written(tmp_path, f'time,prompt_tokens,block_hashes\n0,900,"{cell}"\n1,900,"[47, 48]"\n'))
    assert trace.prefix_hashes[0][1] == trace.prefix_hashes[1][0]


def test_a_trace_repeated_keeps_each_prompts_hashes(tmp_path):
    trace = read_trace(written(tmp_path, "\n".join(map(json.dumps, MOONCAKE))), unit="ms", scale=3.0)
    by_length = {600: 2, 300: 0, 1500: 3}
    assert [len(one) for one in trace.prefix_hashes] == [by_length[length] for length in trace.prompt_tokens]


def test_hashes_make_the_fleets_cache_hit_what_repeats(tmp_path):
    rows = [{"time": at, "prompt_tokens": 1024, "output_tokens": 4, "hash_ids": [1, 2]} for at in (0.0, 5.0)]
    trace = read_trace(written(tmp_path, "\n".join(map(json.dumps, rows))))
    engine = ServingEngine((0.0,) * 4, (1e-3, 1e-5, 0.0, 0.0), 0.0, 100_000)
    run = serve_llm(trace.arrivals, trace.prompt_tokens, trace.output_tokens, LlmFleet(engine),
                    Prefixes.of_hashes(trace.prefix_hashes))
    assert run.cached_tokens.tolist() == [0, 1023]  # the last token has to be read


def test_time_zones_are_turned_to_utc_and_it_is_said(tmp_path):
    """12:00 in +02:00 is 10:00 in UTC, half an hour before 09:30 in -01:00."""
    trace = read_trace(written(tmp_path, "time\n2026-03-01T12:00:00+02:00\n2026-03-01T09:30:00-01:00\n"))
    assert trace.arrivals.tolist() == [0.0, 1800.0]
    assert trace.start == pd.Timestamp("2026-03-01 10:00", tz="UTC")
    assert "+02:00 and -01:00" in " ".join(trace.notes)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_unix_times_are_read_in_their_unit(tmp_path, unit, factor):
    rows = "\n".join(str(int((1_700_000_000 + second) * factor)) for second in (0, 2, 3))
    trace = read_trace(written(tmp_path, f"timestamp\n{rows}\n"))
    np.testing.assert_allclose(trace.arrivals, [0, 2, 3], atol=1e-6)
    assert trace.start == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")
    assert f"Unix time in {unit}" in " ".join(trace.notes)


def test_missing_intervals_count_as_empty_and_double_ones_add_up(tmp_path):
    trace = read_trace(written(tmp_path, "t,count\n0,5\n60,4\n60,3\n120,1\n300,2\n360,2\n"))
    np.testing.assert_array_equal(per_interval(trace.arrivals, 60, 420), [5, 7, 1, 0, 0, 2, 2])
    assert "2 of 7 intervals are missing" in " ".join(trace.notes)
    assert "1 times occur twice" in " ".join(trace.notes)


def test_a_long_silence_is_said(tmp_path):
    times = [*range(500), *range(5000, 5500)]
    trace = read_trace(written(tmp_path, "time\n" + "\n".join(map(str, times)) + "\n"))
    assert "No request for 4,501 s after second 499" in " ".join(trace.notes)


@pytest.mark.parametrize(("text", "message"), [
    ("", "cannot be read as a CSV"),
    ("time\n", "has no rows"),
    ("2026-01-01 00:00:00\n2026-01-01 00:00:01\n", "add a header line"),
    ("time\nyesterday\n2026-01-01 00:00:01\n", "'yesterday' in row 1, which is no date"),
    ("time,n\n2026-01-01 00:00:00,1\n,2\n", "1 rows without a time"),
    ("time\n2026-01-01 00:00:00Z\n2026-01-01 00:00:01\n", "times without one"),
    ("time\n1026-01-01 00:00:00\n2026-01-01 00:00:01\n", "no date|before 1990"),
    ("time,value\n0,1\n60,-4\n", "'-4' in column 'value' .row 2."),
    ("time,value\n0,1\n60,1.5\n", "whole number"),
    ("time,value\n0,1\n60,nan\n", "whole number"),
    ("time,value\n0,1\n60,1e30\n", "whole number"),
    ("time,value\n0,1\n", "two times or more"),
    ("time,value\n0,1\n60,1\n95,1\n155,1\n", "uneven times"),
    ("time,value\n0,1\n60,1\n120,1\n9999960,1\n", "must be wrong"),
    ("time,value\n" + "".join(f"{60 * k},900000000\n" for k in range(5)), "at most 500,000,000"),
    ("time,input_tokens\n0,5\n1,-5\n", "'-5' in column 'input_tokens'"),
    ('time,input_tokens,hash_ids\n0,5,"[1]"\n1,5,1.5*\n', "'1.5\\*' in column 'hash_ids', row 2"),
])
def test_a_trace_that_cannot_be_is_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_trace(written(tmp_path, text))


def test_a_wrong_name_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="There is no file absent"):
        read_trace(tmp_path / "absent.csv")
    with pytest.raises(InputError, match=r"no column 'when'\. Its columns: clock, x"):
        read_trace(written(tmp_path, "clock,x\n1,2\n"), time="when")
    assert read_trace(written(tmp_path, "x,clock\n9,1\n8,2\n"), time="clock").arrivals.tolist() == [1.0, 2.0]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="set TRACES to a folder with the recordings: they are not shipped")
def test_the_real_recordings_are_read_whole():
    requests = read_trace(RECORDINGS / "AzureLLMInferenceTrace_code.csv")
    assert len(requests.arrivals) == 8819
    assert requests.prompt_tokens.min() >= 1
    counted = read_trace(RECORDINGS / "nab_elb_request_count_8c0756.csv")
    frame = pd.read_csv(RECORDINGS / "nab_elb_request_count_8c0756.csv")
    assert len(counted.arrivals) == frame["value"].sum()
    assert 13.9 * 86_400 < counted.arrivals[-1] < 14.1 * 86_400
    assert "intervals are missing" in " ".join(counted.notes)
