"""Generations of hardware: rows with sources, shares worked out by hand, and sentences for each turn."""

import pandas as pd
import pytest

from helpers.hardware_codesign import precisions_by_year, precisions_verdict
from helpers.lab.facts import devices, read_facts


def test_each_figure_has_its_date_and_both_sources():
    for row in read_facts("precisions_by_year"):
        assert row["as_of"]
        assert row["source_url"].startswith("https://")
        assert row["year_source_url"].startswith("https://")


def test_the_rates_are_those_of_the_data_sheets_where_both_have_one():
    sheets, rows = devices(), precisions_by_year().set_index("device")
    for name in ("NVIDIA H100 SXM", "NVIDIA B200 SXM"):
        assert sheets[name].rate("bf16") == rows.loc[name, "tflops_16_bits"] * 1e12
    for name in ("NVIDIA T4", "NVIDIA H100 SXM"):
        assert sheets[name].rate("int8") == rows.loc[name, "tops_fewest_bits"] * 1e12


def test_what_stays_unused_is_the_rest_of_the_peak():
    rows = precisions_by_year()
    assert rows["year"].is_monotonic_increasing
    assert (rows["unused"] * rows["tops_fewest_bits"]).to_list() == pytest.approx(
        (rows["tops_fewest_bits"] - rows["tflops_16_bits"]).to_list())


@pytest.mark.parametrize(("before", "after", "words"), [
    ((100.0, 100.0, 16), (300.0, 1200.0, 4), ["16 bits became 3 times", "grew: 1.0 times, then 4.0 times, in 4 bits",
                                              "leaves 75% of the newest peak unused, 0% of the oldest"]),
    ((100.0, 400.0, 4), (300.0, 300.0, 16), ["fell: 4.0 times, then 1.0", "0% of the newest peak unused, 75% of the"]),
    ((100.0, 200.0, 8), (300.0, 600.0, 8), ["stayed: 2.0 times, then 2.0"])])
def test_the_sentence_falls_as_the_rates_do(before, after, words):
    rows = [{"device": f"GPU {year}", "year": year, "tflops_16_bits": wide, "tops_fewest_bits": narrow,
             "fewest_bits": bits, "factor": narrow / wide, "unused": 1 - wide / narrow}
            for year, (wide, narrow, bits) in ((2017, before), (2024, after))]
    said = precisions_verdict(pd.DataFrame(rows))
    assert all(word in said for word in words), said
