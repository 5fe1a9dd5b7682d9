"""Hardware and software that grow together: what each generation's format of fewest bits multiplies, over 16 bits."""

import pandas as pd

from helpers.lab.facts import read_facts


def precisions_by_year() -> pd.DataFrame:
    """GPUs of one vendor by year: peak rates in 16 bits and in the format of fewest bits that is sourced.

    Returns:
        A row a device of helpers/facts/precisions_by_year.csv, oldest first: device, year, tflops_16_bits, fewest_bits,
        tops_fewest_bits (trillions of operations a second, dense, on paper), factor (the second rate over the first)
        and unused (share of the peak that a program in 16 bits cannot reach, at best).

    >>> from helpers.hardware_codesign import precisions_by_year
    >>> float(precisions_by_year().set_index("device").loc["NVIDIA B200 SXM", "unused"])
    0.75
    """
    kinds = {"device": str, "year": int, "tflops_16_bits": float, "fewest_bits": int, "tops_fewest_bits": float}
    rows = pd.DataFrame(read_facts("precisions_by_year"))[list(kinds)].astype(kinds)
    factor = rows["tops_fewest_bits"] / rows["tflops_16_bits"]
    return rows.assign(factor=factor, unused=1 - 1 / factor).sort_values("year", ignore_index=True)


def precisions_verdict(frame: pd.DataFrame) -> str:
    """Describe the share of the newest device that 16-bit programs leave unused, and whether it has grown.

    Args:
        frame: what `precisions_by_year` returned, or some of its rows, oldest first.
    """
    first, last = frame.iloc[0], frame.iloc[-1]
    years = f"From the {first['device']} ({first['year']}) to the {last['device']} ({last['year']})"
    moved = "grew" if last["factor"] > first["factor"] else "fell" if last["factor"] < first["factor"] else "stayed"
    same = last["tflops_16_bits"] / first["tflops_16_bits"]
    return (f"{years}, 16 bits became {same:.0f} times as fast without another program. What the fewest bits multiply "
            f"over 16 bits {moved}: {first['factor']:.1f} times, then {last['factor']:.1f} times, in "
            f"{last['fewest_bits']} bits. A program that stays in 16 bits leaves {last['unused']:.0%} of the newest "
            f"peak unused, {first['unused']:.0%} of the oldest.")
