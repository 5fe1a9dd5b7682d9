"""Traffic files as people have them: each kind that was once read wrongly, with the right value."""

import contextlib
import gzip
import json
import random
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from damaged_files import FUZZED, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed.traffic.generators import from_counts
from helpers.cloud_distributed.traffic.traces import Trace, read_trace
from helpers.lab import InputError


@pytest.fixture
def write(tmp_path):
    """write(name, text or bytes) -> the path of a new file."""
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def lines(*rows: object) -> str:
    return "\n".join(map(str, rows)) + "\n"


def notes_of(trace: Trace) -> str:
    return " ".join(trace.notes)


def test_days_before_months_are_read_in_one_format_for_the_whole_column(write):
    """31 days, four requests a day; read row by row, the first twelve days would become months."""
    times = pd.date_range("2026-01-01", periods=124, freq="6h")
    trace = read_trace(write("t.csv", lines("time", *times.strftime("%d/%m/%Y %H:%M:%S"))))
    assert len(trace.arrivals) == 124
    assert trace.arrivals[-1] == 30.75 * 86_400
    assert "%d/%m/%Y" in notes_of(trace)


def test_days_that_could_be_months_are_asked_about_and_then_obeyed(write):
    path = write("t.csv", lines("time", "03/04/2026 10:00", "05/04/2026 10:00"))
    with pytest.raises(InputError, match="pass dayfirst=True or dayfirst=False"):
        read_trace(path)
    assert read_trace(path, dayfirst=True).arrivals.tolist() == [0.0, 2 * 86_400]
    assert read_trace(path, dayfirst=False).arrivals.tolist() == [0.0, 61 * 86_400]


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%d %b %Y %H:%M:%S", "%Y/%m/%d %H:%M:%S",
                                  "%b %d, %Y %H:%M", "%d/%m/%y %H:%M"])
def test_a_format_that_fits_every_row_is_found(write, form):
    times = pd.Series(pd.date_range("2026-01-13 08:00", periods=10, freq="90min"))
    trace = read_trace(write("t.tsv", lines("time\tx", *(times.dt.strftime(form) + "\ta"))))
    np.testing.assert_allclose(np.diff(trace.arrivals), 5400)
    assert trace.start == pd.Timestamp("2026-01-13 08:00", tz="UTC")


def test_a_row_of_another_format_is_named(write):
    with pytest.raises(InputError, match="'last Monday' in row 2"):
        read_trace(write("t.csv", lines("time", "13/01/2026 10:00", "last Monday", "15/01/2026 10:00")))


@pytest.mark.parametrize("name", ["timestamp_ms", "time (ms)", "arrived_at_ms"])
def test_the_unit_in_a_name_is_obeyed(write, name):
    trace = read_trace(write("t.csv", lines(name, *(1750 * k for k in range(400)))))
    assert trace.arrivals[-1] == pytest.approx(698.25)
    assert "in ms (as its name says)" in notes_of(trace)


def test_a_unit_that_is_given_wins_and_json_lines_bring_their_tokens(write):
    rows = [json.dumps({"timestamp": 900 * k, "input_length": 200 + k % 50, "output_length": 30 + k % 4})
            for k in range(200)]
    trace = read_trace(write("t.jsonl", lines(*rows)), unit="ms")
    assert (len(trace.arrivals), trace.arrivals[-1]) == (200, pytest.approx(179.1))
    assert trace.prompt_tokens[:3].tolist() == [200, 201, 202]
    assert trace.output_tokens[:3].tolist() == [30, 31, 32]


def test_plain_seconds_of_which_no_unit_is_known_say_so(write):
    assert 'pass unit="ms"' in notes_of(read_trace(write("t.csv", lines("timestamp", 0, 900, 1800))))
    with pytest.raises(InputError, match=r"Unknown unit 'fortnight'\. Choose one of: ns, us, ms, s, min, h"):
        read_trace(write("t.csv", lines("timestamp", 0, 900)), unit="fortnight")


def test_of_a_load_tests_metrics_the_requests_are_taken(write):
    metrics = ("http_reqs", "http_req_duration", "http_req_waiting", "data_sent")
    rows = [f"{metric},{1767225600 + k},{1 if metric == 'http_reqs' else 200}" for k in range(60) for metric in metrics]
    trace = read_trace(write("t.csv", lines("metric_name,timestamp,metric_value", *rows)))
    assert len(trace.arrivals) == 60
    assert "the rows of http_reqs were taken" in notes_of(trace)
    with pytest.raises(InputError, match="holds several metrics"):
        read_trace(write("t.csv", lines("metric_name,timestamp,metric_value", *rows).replace("http_reqs", "vus")))


def test_rates_are_asked_about_and_then_kept_to_the_last_request(write):
    """12, 13, 14, ... 18 a second in turns over an hour of minutes; their sum times 60 s is the number of requests."""
    name, rates = "sum(rate(http_requests_total[1m]))", [12.25 + k % 7 for k in range(60)]
    times = pd.date_range("2026-01-01", periods=60, freq="1min")
    path = write("t.csv", lines(f"Time,{name}", *(f"{time},{rate}" for time, rate in zip(times, rates, strict=True))))
    with pytest.raises(InputError, match="counts of each interval, or is each row a request"):
        read_trace(path)
    assert len(read_trace(path, rate_per_s=name).arrivals) == sum(rates) * 60
    assert len(read_trace(path, count=False).arrivals) == 60


def test_an_unknown_number_at_even_times_is_asked_about_but_a_latency_is_not(write):
    times = pd.date_range("2026-01-01", periods=30, freq="2s")
    with pytest.raises(InputError, match="'load' in t"):
        read_trace(write("t.csv", lines("when_created,load", *(f"{time},5" for time in times))), time="when_created")
    requests = read_trace(write("t.csv", lines("id,created_at,latency_ms", *(
        f"{500 + k},{time}Z,80" for k, time in enumerate(times)))))
    assert (len(requests.arrivals), requests.arrivals[-1]) == (30, 58.0)
    assert "Not used: id, latency_ms." in requests.notes


def test_a_growing_counter_becomes_its_differences(write):
    steps = np.random.default_rng(0).integers(1, 110, 59)
    values = [1_000_000, *(1_000_000 + np.cumsum(steps))]
    rows = [f"{1767225600 + 60 * k},{value}" for k, value in enumerate(values)]
    trace = read_trace(write("t.csv", lines("timestamp,value", *rows)))
    assert len(trace.arrivals) == steps.sum()
    assert "a counter" in notes_of(trace)


def test_a_counter_that_began_again_loses_nothing(write):
    values = [900, 950, 1000, 40, 90, 140, 190, 240, 290, 340, 390, 440]
    trace = read_trace(write("t.csv", lines("timestamp,requests_total", *(
        f"{1767225600 + 60 * k},{value}" for k, value in enumerate(values)))))
    assert len(trace.arrivals) == 100 + 40 + 400
    assert "began again 1 times" in notes_of(trace)


def test_counts_that_only_grow_are_asked_about_unless_they_are_named(write):
    path = write("t.csv", lines("timestamp,value", *(f"{60 * k},{100 * (k + 1) ** 2}" for k in range(12))))
    with pytest.raises(InputError, match='pass count="value"'):
        read_trace(path)
    assert len(read_trace(path, count="value").arrivals) == sum(100 * k * k for k in range(1, 13))


def test_a_monitors_sums_are_counts_though_they_grow(write):
    rows = [f"2026-01-01T{hour:02}:00:00Z,{300 + hour},Count" for hour in range(12)]
    trace = read_trace(write("t.csv", lines("Timestamp,Sum,Unit", *rows)))
    assert len(trace.arrivals) == sum(range(300, 312))


def test_tokens_are_found_under_usual_names_and_blanks_are_filled_and_said(write):
    trace = read_trace(write("t.csv", lines("Timestamp,Model,Request tokens,Response tokens", "0,m,100,20", "3,m,,21",
                                            "6,m,102,22")))
    assert trace.prompt_tokens.tolist() == [100, 101, 102]
    assert trace.output_tokens.tolist() == [20, 21, 22]
    assert "1 rows have no value in 'Request tokens'" in notes_of(trace)
    nested = [json.dumps({"created_at": f"2026-01-01T00:00:0{k}Z",
                          "usage": {"prompt_tokens": 9, "completion_tokens": k}}) for k in range(3)]
    assert read_trace(write("t.json", lines(*nested))).output_tokens.tolist() == [0, 1, 2]
    assert read_trace(write("u.json", f"[{','.join(nested)}]")).prompt_tokens.tolist() == [9, 9, 9]


@pytest.mark.parametrize("pack", [lambda raw: raw, gzip.compress])
def test_an_access_log_is_read_packed_or_not(write, pack):
    rows = [f'192.0.2.{k % 9} - - [01/Jul/2026:00:0{k // 60}:{k % 60:02} +0000] "GET /v1 HTTP/1.1" 200 5' for k in
            range(180)]
    trace = read_trace(write("access.log", pack(lines(*rows).encode())))
    assert (len(trace.arrivals), trace.arrivals[-1]) == (180, 179.0)
    with pytest.raises(InputError, match="no time in brackets in line 2"):
        read_trace(write("access.log", pack(lines(rows[0], "kernel: out of memory", rows[1]).encode())))


def test_parquet_is_read_with_its_dates(tmp_path):
    times = pd.date_range("2026-01-01", periods=5, freq="1s", tz="UTC")
    pd.DataFrame({"arrival_time": times, "prompt_tokens": [1, 2, 3, 4, 5]}).to_parquet(tmp_path / "t.parquet")
    trace = read_trace(tmp_path / "t.parquet")
    assert trace.arrivals.tolist() == [0, 1, 2, 3, 4]
    assert trace.prompt_tokens.tolist() == [1, 2, 3, 4, 5]
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_trace(tmp_path / "torn.parquet")


def test_only_what_lies_between_start_and_end_is_read(write):
    path = write("t.csv", lines("time,prompt_tokens", *(f"2026-01-01 00:00:{k:02},{k}" for k in range(60))))
    trace = read_trace(path, start="2026-01-01 00:00:10", end=40.0)
    assert trace.arrivals.tolist() == [float(k) for k in range(30)]
    assert trace.prompt_tokens.tolist() == list(range(10, 40))
    assert trace.start == pd.Timestamp("2026-01-01 00:00:10", tz="UTC")
    with pytest.raises(InputError, match="no request between start and end"):
        read_trace(path, start=100.0)


@pytest.mark.parametrize("scale", [0.25, 1.5, 3.0])
def test_scaling_changes_the_volume_and_neither_the_span_nor_the_tokens(write, scale):
    path = write("t.csv", lines("time,prompt_tokens", *(f"{k},{k % 2}" for k in range(4000))))
    trace = read_trace(path, scale=scale)
    assert len(trace.arrivals) == pytest.approx(4000 * scale, rel=0.05)
    assert (np.diff(trace.arrivals) >= 0).all()
    assert trace.arrivals[-1] <= 3999
    assert trace.prompt_tokens.mean() == pytest.approx(0.5, abs=0.05)


def test_a_quote_that_is_not_closed_is_named_with_its_line(write):
    with pytest.raises(InputError, match="4 lines under its header and 2 rows: look at the quotes in line 3"):
        read_trace(write("t.csv", 'time,who\n0,a\n1,"b\n2,c\n3,d"\n'))


def test_which_column_is_the_time_is_asked_where_it_is_not_clear(write):
    with pytest.raises(InputError, match=r'not clear \(alpha, beta\): name it, such as read_trace\("t.csv", time='):
        read_trace(write("t.csv", lines("alpha,beta", "1,2", "3,4")))
    assert len(read_trace(write("t.csv", lines("alpha,seen", "1,2026-01-01", "3,2026-01-02"))).arrivals) == 2


def test_reading_counts_takes_at_most_nine_bytes_an_arrival():
    tracemalloc.start()
    arrivals = from_counts(np.full(500, 10_000), 60.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (np.diff(arrivals) >= 0).all()
    assert peak <= 9 * len(arrivals) + 24 * 1_000_000  # what is placed at once has a size of its own


CELLS = st.one_of(st.integers(-5, 2_000_000_000_000).map(str), st.floats().map(str), st.text(max_size=8),
                  st.datetimes().map(str),
                  st.sampled_from(["", "nan", '"', "31/12/2026", "2026-01-01T00:00:00Z", "1e999"]))
NAMES = st.one_of(st.sampled_from(["time", "timestamp_ms", "count", "value", "rate", "prompt_tokens", "id", "metric"]),
                  st.text(max_size=6))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=12),
       st.sampled_from(",;\t"))
def test_whatever_a_table_holds_only_a_sentence_ever_leaves(tmp_path, names, rows, separator):
    path = tmp_path / "t.csv"
    path.write_text(lines(*(separator.join(row) for row in [names, *rows])), encoding="utf-8", errors="replace")
    check(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda raw: b"PAR1" + raw + b"PAR1"),
                 st.binary(max_size=100).map(lambda raw: b"\x1f\x8b\x08" + raw),
                 st.recursive(st.none() | st.integers() | st.text(max_size=5),
                              lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
                 .map(lambda value: json.dumps(value).encode())))
def test_whatever_bytes_a_file_holds_only_a_sentence_ever_leaves(tmp_path, raw):
    path = tmp_path / "t.bin"
    path.write_bytes(raw)
    check(path)


@pytest.mark.parametrize(("name", "content", "said"), [
    ("t.jsonl", '{"time": 0, "note": "\\ud83d"}\n', "no JSON in line 1"),
    ("t.json", '[{"time": 0, "note": "\\ud83d"}]', "no JSON in its text"),
    ("t.csv", "timestamp_ms\n1767225600000\n17787520000000000000\n", "time that cannot be"),
    ("t.csv", "timestamp_us\n1767225600000000\n1767225601000000\n4000000000000000000\n", "after 2100")])
def test_half_characters_and_times_beyond_all_calendars_are_refused(write, name, content, said):
    with pytest.raises(InputError, match=said):
        read_trace(write(name, content))


def test_whatever_is_damaged_is_read_or_refused_in_a_sentence_and_soon(tmp_path, write):
    requests = pd.DataFrame({"time": pd.date_range("2026-03-01", periods=12, freq="7s").astype(str),
                             "prompt_tokens": range(100, 112)})
    counts = pd.DataFrame({"timestamp": 1_772_323_200_000 + np.arange(12) * 60_000, "requests": range(12)})
    for number, frame in enumerate((requests, counts)):
        frame.to_csv(tmp_path / f"{number}.csv", index=False)
        frame.to_csv(tmp_path / f"{number}.tsv.gz", index=False, sep="\t")
        frame.to_json(tmp_path / f"{number}.jsonl", orient="records", lines=True)
        frame.to_json(tmp_path / f"{number}.json", orient="records")
        frame.to_parquet(tmp_path / f"{number}.parquet")
    write("access.log", lines(*(f'192.0.2.1 - - [01/Mar/2026:10:00:{second:02d} +0000] "GET / HTTP/1.1" 200 5'
                                for second in range(0, 60, 5))))
    sources, chance, slowest, read = sorted(tmp_path.iterdir()), random.Random(0), 0.0, 0
    for number in range(FUZZED):
        source = chance.choice(sources)
        path, began = write(source.name, damaged(content := source.read_bytes(), chance)), time.thread_time()
        read += check(path)
        slowest = max(slowest, time.thread_time() - began if number > 100 else 0)  # libraries are loaded by then
        path.write_bytes(content)
    assert FUZZED / 50 < read < FUZZED
    assert slowest < 2


def check(path):
    """Whether it is read. Any other error than InputError leaves this, and fails the test."""
    with contextlib.suppress(InputError):
        trace = read_trace(path)
        assert np.isfinite(trace.arrivals).all()
        assert (np.diff(trace.arrivals) >= 0).all()
        return True
    return False
