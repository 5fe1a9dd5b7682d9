"""The reader's own numbers: how much is asked, when, how fast, at which prices. One object, in an address or a file."""

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.lab.errors import InputError
from helpers.lab.money.costs import DEFAULT_OFFER, HOURS_PER_MONTH, ApiPrice, Offer, api_prices, offer, offers

SUBJECTS = ("classifier", "language model", "own language model")  # on machines, by the token, on machines
PREFIX = "bill."  # of the scenario's fields in an address, beside the settings of a page's panels
KEPT_PREFIX = "today."  # of the scenario that a reader keeps beside it
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")  # 5,000,000.0; any other comma may be meant as a point


def read_number(text: str) -> float | None:
    """A number as people write it; None where the text is none, or leaves open which.

    >>> from helpers.lab.money.scenario import read_number
    >>> read_number("5e6"), read_number(" 5,000,000 "), read_number("1,5")
    (5000000.0, 5000000.0, None)
    """
    plain = text.strip()
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    try:
        return float(plain)
    except ValueError:
        return None


def _number(default: float | None, label: str, unit: str, low: float, high: float) -> Any:
    """A field with its ends; with None as default it may stay empty."""
    return dataclasses.field(default=default, metadata={"label": label, "unit": unit, "low": low, "high": high})


def _choice(default: str, label: str) -> Any:
    return dataclasses.field(default=default, metadata={"label": label})


@dataclasses.dataclass(frozen=True)
class Scenario:
    """The demand on a service and the prices of its parts; dollars, requests and labels are of a month.

    A field whose default is None may stay empty: list prices, and no budget. `metadata` of a field has its `label`, and
    `unit`, `low` and `high` where it is a number.

    Raises:
        InputError: each value that cannot be, or lies beyond its ends, in one sentence. Nothing is clamped.

    >>> from helpers.lab.money.scenario import Scenario
    >>> round(Scenario(volume=73e6, traffic_hours=10).per_second, 2)
    66.67
    """

    subject: str = _choice(SUBJECTS[0], "What answers")
    volume: float = _number(500e6, "Requests", "a month", 1, 1e9)
    traffic_hours: float = _number(8, "Hours of traffic", "a day", 1, 24)
    deadline_ms: float = _number(250, "Latency target, for 95 of 100", "ms", 1, 60_000)
    offer: str = _choice(DEFAULT_OFFER, "Machine")
    usd_per_machine_hour: float | None = _number(None, "Your price of it", "$ an hour", 0.0001, 1000)
    machine_discount: float = _number(0, "Discount on machines", "%", 0, 99)
    api: str = _choice("OpenAI gpt-5.4-mini", "Hosted language model")
    tokens_in: float = _number(400, "Tokens read", "a request", 1, 1e6)
    tokens_out: float = _number(50, "Tokens written", "a request", 0, 1e6)
    tokens_shared: float = _number(0, "Tokens read that all requests begin with", "a request", 0, 1e6)
    usd_per_million_in: float | None = _number(None, "Your price of tokens read", "$ a million", 0, 1000)
    usd_per_million_out: float | None = _number(None, "Your price of tokens written", "$ a million", 0, 1000)
    token_discount: float = _number(0, "Discount on tokens", "%", 0, 99)
    labels: float = _number(500, "Labels bought", "a month", 0, 1e6)
    usd_per_label: float = _number(0.10, "Price of a label", "$", 0, 100)
    hours_of_work: float = _number(16, "Work that a change takes", "hours", 0, 10_000)
    usd_per_hour_of_work: float = _number(80, "Price of an hour of work", "$", 0, 1000)
    min_accuracy: float | None = _number(None, "Budget: accuracy at least", "%", 0, 100)
    max_usd: float | None = _number(None, "Budget: dollars at most", "a month", 0, 1e9)

    def __post_init__(self) -> None:
        problems = [problem for field in dataclasses.fields(self) if (problem := self._problem(field))]
        if not problems and self.tokens_shared > self.tokens_in:
            problems = [f"Tokens read that all requests begin with are a part of the {self.tokens_in:,.12g} tokens "
                        f"read, not {self.tokens_shared:,.12g}: lower them."]
        if problems:
            raise InputError(" ".join(problems))

    def _problem(self, field: dataclasses.Field) -> str:
        """Say what is wrong with a field's value; empty where nothing is."""
        value, label = getattr(self, field.name), field.metadata["label"]
        if (choices := choices_of(field.name)) is not None:
            return "" if value in choices else (
                f"{label}: unknown '{str(value)[:40]}'. Choose one of: {', '.join(choices)}.")
        if value is None and field.default is None:
            return ""
        unit, low, high = (field.metadata[name] for name in ("unit", "low", "high"))
        if not _is_finite(value):
            return f"{label} ({field.name}) is a number ({unit}), not '{str(value)[:40]}'."
        return "" if low <= value <= high else (
            f"{label} ({field.name}) goes from {low:,.12g} to {high:,.12g}{'' if unit == '%' else ' '}{unit}, not "
            f"{value:,.12g}.")

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> "Scenario":
        """From the fields of a form or an address; an empty one has its default, an unknown one is refused.

        >>> Scenario.from_texts({"volume": "5e6", "max_usd": ""}).volume
        5000000.0
        """
        return cls(**_known({name: _parsed(name, text.strip()) for name, text in texts.items() if text.strip()}))

    @classmethod
    def in_address(cls, query: Mapping[str, str], prefix: str = PREFIX) -> "Scenario | None":
        """The scenario of an address, from its keys that begin with `prefix`; None where there is none.

        >>> Scenario.in_address({"bill.volume": "5e6", "rows": "200"}).volume
        5000000.0
        """
        texts = {name.removeprefix(prefix): text for name, text in query.items() if name.startswith(prefix)}
        return cls.from_texts(texts) if texts else None

    def texts(self) -> dict[str, str]:
        """The fields that differ from their default, for an address; `from_texts` reads them back.

        >>> Scenario(volume=5e6).texts()
        {'volume': '5000000'}
        """
        return {name: _text(value) for name, value in dataclasses.asdict(self).items() if value != _DEFAULTS[name]}

    def toml(self) -> str:
        """The fields that differ from their default, as the text of a file; `read_scenario` reads it back.

        >>> Scenario(volume=5e6, offer="AWS c7g.xlarge").toml()
        'volume = 5000000\\noffer = "AWS c7g.xlarge"\\n'
        """
        return "".join(f"{name} = {json.dumps(text) if choices_of(name) else text}\n"
                       for name, text in self.texts().items())

    @property
    def per_second(self) -> float:
        """Requests a second in the hours of traffic, over which they are spread evenly."""
        return self.volume / (HOURS_PER_MONTH * self.traffic_hours / 24 * 3600)

    @property
    def mean_per_second(self) -> float:
        """Requests a second over all hours of a month, those without traffic among them."""
        return self.volume / (HOURS_PER_MONTH * 3600)

    @property
    def percent_of_list_price(self) -> float:
        """Share of the list price that the reader pays for the machine."""
        return 100 * self.machine.on_demand_usd_hour / offer(self.offer).on_demand_usd_hour

    @property
    def machine(self) -> Offer:
        """The machine at the reader's price: own price or list price, less the discount."""
        listed = offer(self.offer)
        usd = self.usd_per_machine_hour if self.usd_per_machine_hour is not None else listed.on_demand_usd_hour
        return dataclasses.replace(listed, on_demand_usd_hour=usd * (1 - self.machine_discount / 100))

    @property
    def hosted(self) -> ApiPrice:
        """The hosted model at the reader's prices; what it takes for cached tokens is unknown beside an own price."""
        listed, left = api_prices()[self.api], 1 - self.token_discount / 100
        read, written = self.usd_per_million_in, self.usd_per_million_out
        cached = listed.cached_usd_per_million_tokens if read is None else None
        return dataclasses.replace(
            listed, cached_usd_per_million_tokens=None if cached is None else left * cached,
            input_usd_per_million_tokens=left * (listed.input_usd_per_million_tokens if read is None else read),
            output_usd_per_million_tokens=left * (listed.output_usd_per_million_tokens if written is None else written))


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer of a file may have hundreds of digits
        return False


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Scenario)}


def choices_of(name: str) -> list[str] | None:
    """Allowed values of a field of choice; None for a number."""
    if name == "offer":  # what is measured here is measured on cores
        return [one.name for one in offers().values() if one.vcpus and not one.accelerator]
    return {"subject": list(SUBJECTS), "api": list(api_prices())}.get(name)


def read_scenario(path: Path) -> Scenario:
    """The scenario of a TOML file, such as `volume = 5e6`: any fields of Scenario, the others have their defaults.

    Raises:
        InputError: no such file, no TOML, an unknown field, or a value that cannot be.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a scenario's TOML file.") from error
    except (ValueError, RecursionError) as error:  # no text, no TOML, a number of thousands of digits, or deeply nested
        raise InputError(f"{path.name} is no TOML file ({error}): write one field a line, such as volume = 5e6."
                         ) from error
    return Scenario(**_known(values))


def _known(values: dict[str, Any]) -> dict[str, Any]:
    if unknown := next((name for name in values if name not in _DEFAULTS), None):
        raise InputError(f"Unknown field '{unknown}' of a scenario. Choose some of: {', '.join(_DEFAULTS)}.")
    return values


def _parsed(name: str, text: str) -> Any:
    """A text as a number where the field is one and it can be; what cannot is refused by the scenario itself."""
    if name not in _DEFAULTS or choices_of(name) is not None or (number := read_number(text)) is None:
        return text
    return number


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.12g}"
