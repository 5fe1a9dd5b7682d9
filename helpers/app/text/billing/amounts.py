"""A bill's amounts in words: dollars with their interval, months until the work is repaid, grams."""

from helpers.app.text.figures import MINUS, two
from helpers.lab.money.bill import Range
from helpers.lab.money.costs import HOURS_PER_MONTH


def usd(value: float) -> str:
    """Dollars: whole ones from 100 on, else two digits, and cents where there is a point.

    >>> usd(1234.5), usd(5.81), usd(0.5)
    ('$1,234', '$5.80', '$0.50')
    """
    if value < 0:
        return MINUS + usd(-value)
    text = f"{value:,.0f}" if value >= 100 else two(value)
    return f"${text}0" if len(text.partition(".")[2]) == 1 else f"${text}"


def usd_range(figure: Range) -> str:
    """'$60 ($50 to $70)'; without the interval where there is none."""
    alone = usd(figure.value)
    return alone if figure.low == figure.high else f"{alone} ({usd(figure.low)} to {usd(figure.high)})"


def months(value: float | None) -> str:
    """'2.5 months', years from ten of them on, days under a month; 'never' where nothing is saved.

    >>> months(2.5), months(240.0), months(0.5), months(None)
    ('2.5 months', '20 years', '15 days', 'never')
    """
    if value is None:
        return "never"
    if value >= 120:
        return f"{two(value / 12)} years"
    return f"{two(value)} months" if value >= 1 else f"{two(value * HOURS_PER_MONTH / 24)} days"


def grams(value: float) -> str:
    """'450 g', and kilograms from a thousand on.

    >>> grams(450.0), grams(13_200.0)
    ('450 g', '13 kg')
    """
    return f"{two(value)} g" if value < 1000 else f"{two(value / 1000)} kg"
