"""Settings of an engine, switched one after another, and the gain of each on paper."""

import dataclasses
from collections.abc import Mapping

import pandas as pd

from helpers.hardware_codesign.language_serving.phase_model import StepCounts
from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks

KV_BYTES: Mapping[str, float] = {"f32": 4.0, "f16": 2.0, "u8": 1.0, "u4": 0.5}  # of a number, without its scales
KV_PRECISIONS = tuple(KV_BYTES)
PROMPT, FEWER_BITS = "the prompt", "4 bits"
FEWER_LAYERS, TUNED_LAYERS = "half of the layers", "half of the layers, tuned"
GUESSERS = (PROMPT, FEWER_BITS, FEWER_LAYERS, TUNED_LAYERS)
GUESSES = 4  # tokens that are guessed and then checked in one step
BLOCK = 32  # tokens: OpenVINO stores and drops keys and values by blocks
_WORTH = 1.1  # times as many requests, on paper: less is not called a gain
_Q4_0_BYTES, _Q8_0_BYTES = 18 / 32, 34 / 32  # of a weight: 32 codes and a 16-bit scale


@dataclasses.dataclass(frozen=True)
class Switches:
    """How an engine serves.

    Args:
        sequences: answers that are written together, at most; 1: one by one.
        static: the next ones begin when all of these have ended, not when one has.
        prefix_caching: keys and values of what prompts begin with alike are computed once.
        guesser: what guesses GUESSES tokens, which are checked in one step; one of GUESSERS, or "": nothing. "the
            prompt": what stood there behind the same three (Saxena, prompt lookup decoding, 2023). Else a draft, the
            same model in 4 bits or cut to its first layers (Leviathan et al., speculative decoding, 2023), which may be
            tuned to the whole model's answers.
        kv_precision: of keys and values in memory, one of KV_PRECISIONS.
        kept_tokens: of each answer's keys and values, at most; the least attended in between are dropped. 0: all.
        form: answers are held to a regular expression (here one that every text fits, so that answers stay).
        threads: 0: as many as cores. streams: that the threads are divided among.
        step_tokens: in one step, at most; a longer prompt takes several, between which others write (chunked prefill).

    Raises:
        InputError: figures, a guesser or a precision that cannot be.

    >>> from helpers.hardware_codesign.language_serving.switches import Switches
    >>> Switches(sequences=4).sequences
    4
    """

    sequences: int = 8
    static: bool = False
    prefix_caching: bool = False
    guesser: str = ""
    kv_precision: str = "f32"
    kept_tokens: int = 0
    form: bool = False
    threads: int = 0
    streams: int = 1
    step_tokens: int = 256

    def __post_init__(self) -> None:
        for what, value, known in (("precision '{}' of keys and values", self.kv_precision, KV_PRECISIONS),
                                   ("guesser '{}'", self.guesser, ("", *GUESSERS))):
            if value not in known:
                raise InputError(f"Unknown {what.format(value)}. Choose one of: {', '.join(filter(None, known))}.")
        if min(self.sequences, self.step_tokens, self.streams) < 1 or self.threads < 0:
            raise InputError("An engine needs at least one sequence, one stream and one token in a step, and no "
                             "negative number of threads.")
        if self.kept_tokens % BLOCK or 0 < self.kept_tokens <= 2 * BLOCK or self.kept_tokens < 0:
            raise InputError(f"Keys and values are dropped by blocks of {BLOCK} tokens, and the first and the last one "
                             f"stay: keep a multiple of {BLOCK} above {2 * BLOCK} tokens, or 0 for all.")


ENGINES: Mapping[str, Switches] = {
    "one by one": Switches(sequences=1, static=True),
    "one by one, with prompt lookup": Switches(sequences=1, static=True, guesser=PROMPT),
    "one by one, with a draft in 4 bits": Switches(sequences=1, static=True, guesser=FEWER_BITS),
    "one by one, with a draft of half the layers": Switches(sequences=1, static=True, guesser=FEWER_LAYERS),
    "one by one, with a tuned draft of half the layers": Switches(sequences=1, static=True, guesser=TUNED_LAYERS),
    "static batches": Switches(static=True),
    "continuous batching": Switches(),
    "with whole prompts in a step": Switches(step_tokens=8192),
    "with prefix caching": Switches(prefix_caching=True),
    "with prompt lookup": Switches(guesser=PROMPT),
    "with 16-bit keys and values": Switches(kv_precision="f16"),
    "with 8-bit keys and values": Switches(kv_precision="u8"),
    "with 4-bit keys and values": Switches(kv_precision="u4"),
    "with cache eviction": Switches(kept_tokens=3 * BLOCK),
    "with a form to keep to": Switches(form=True),
    "with one thread": Switches(threads=1),
    "with two streams": Switches(streams=2),
    "with prefix caching and 8 bits": Switches(prefix_caching=True, kv_precision="u8"),
}


def without(name: str, engines: Mapping[str, Switches] = ENGINES) -> str | None:
    """The engine that differs in one switch alone: the first such, earlier ones before later ones; None: there is none.

    >>> from helpers.hardware_codesign.language_serving.switches import without
    >>> without("with prefix caching"), without("continuous batching"), without("static batches")
    ('continuous batching', 'static batches', 'one by one')
    """
    switches, names = dataclasses.asdict(engines[name]), list(engines)
    for other in names[:names.index(name)]:
        if sum(switches[key] != value for key, value in dataclasses.asdict(engines[other]).items()) == 1:
            return other
    return None


def request_seconds(switches: Switches, counts: StepCounts, peaks: Peaks, *, prompt: float, answer: float,
                    common: float, written: float = 1.0, precision: str = "fp32") -> float:
    """Least seconds of a request on paper, of what a roofline knows: batch, shared prompts, guesses, keys and values.

    Args:
        prompt, answer: tokens; the answer's first one comes with the prompt. common: share of the prompt that requests
            have in common.
        written: tokens that a step writes of one answer: 1, and with guesses as many more as were right.
    """
    context = min(prompt + answer / 2, switches.kept_tokens or float("inf"))
    known = common * prompt if switches.prefix_caching else 0.0
    sequences, guesses = switches.sequences, GUESSES * bool(switches.guesser)
    draft = _draft(switches, counts)
    prefill_s = step_s = 0.0
    for model, tokens, steps in ((counts, 1 + guesses, 1), *([(draft, 1, GUESSES)] if draft else [])):
        of_each = dataclasses.replace(model, kv_bytes=(model.kv_bytes * KV_BYTES[switches.kv_precision]
                                                       / KV_BYTES["f32"]))
        # What is known is not computed again, but each new token attends to it.
        attended = (prompt * (prompt + 1) - known * (known + 1)) / 2
        prefill_s += peaks.seconds(of_each.flops(prompt - known, 1, attended), of_each.moved(prompt), precision)
        checked = sequences * tokens
        step_s += steps * peaks.seconds(of_each.flops(checked, checked, checked * context),
                                        of_each.moved(sequences * context), precision)
    return prefill_s + (answer - 1) * step_s / (sequences * written)


def _draft(switches: Switches, counts: StepCounts) -> StepCounts | None:
    """Work of a draft, as `draft_folder` makes it; None without one."""
    if switches.guesser == FEWER_BITS:
        return dataclasses.replace(counts, stored=_Q4_0_BYTES * (counts.body + counts.head))
    if switches.guesser in (FEWER_LAYERS, TUNED_LAYERS):
        return StepCounts(counts.body / 2, counts.head, _Q8_0_BYTES * (counts.body / 2 + counts.head),
                          counts.kv_bytes / 2, counts.attention / 2)
    return None


def on_other_machines(switched: pd.DataFrame, counts: StepCounts, machines: Mapping[str, tuple[Peaks, str]], *,
                      common: float) -> pd.DataFrame:
    """Compare each switch's gain here with the gain that a roofline gives on each machine.

    Args:
        switched: what `compare_engines` returned of some of ENGINES.
        machines: name -> (peaks, precision), such as this machine's and a GPU's data sheet.
        common: share of each prompt that requests had in common.

    Returns:
        The rows that have an engine to be compared with: engine, off (that engine), gain, gain_low, gain_high
        (measured), and for each machine a column of its name, the gain on paper. A switch that a roofline knows nothing
        of (a form, threads, streams, chunks) has 1 there.
    """
    ran = switched[switched["note"] == ""].set_index("engine")
    rows = []
    for name, row in ran[ran["gain"].notna()].iterrows():
        figures = {"prompt": row["prompt_tokens"], "answer": row["answer_tokens"], "common": common}
        rows.append({"engine": name, **row[["off", "gain", "gain_low", "gain_high"]]})
        for machine, (peaks, precision) in machines.items():
            on, off = (request_seconds(ENGINES[one], counts, peaks, **figures, precision=precision,
                                       written=_written(ran, one)) for one in (name, row["off"]))
            rows[-1][machine] = off / on
    return pd.DataFrame(rows, columns=["engine", "off", "gain", "gain_low", "gain_high", *machines])


def _written(ran: pd.DataFrame, name: str) -> float:
    """Tokens that a step wrote of one answer after its first, measured where it guesses: steps without, over with."""
    plain = without(name)
    if not ENGINES[name].guesser or plain not in ran.index:
        return 1.0
    # An answer's first token comes with its prompt, guesses or not: those steps are left out.
    reading = ran.loc[name, "requests"] / ENGINES[name].sequences
    before, steps = (one["requests"] * one["answer_tokens"] / one["tokens_per_step"] - reading
                     for one in (ran.loc[plain], ran.loc[name]))
    return float(before / steps) if steps > 0 else 1.0


def lessons(gains: pd.DataFrame, here: str, there: str) -> str:
    """A sentence: what is faster here, and what would be on the other machine alone, by paper.

    Args:
        gains: what `on_other_machines` returned. here, there: two of its machines.

    >>> import pandas as pd
    >>> from helpers.hardware_codesign import lessons
    >>> gains = pd.DataFrame({"engine": ["a", "b"], "gain_low": [1.5, 0.6], "gain_high": [1.9, 0.9], "CPU": [1.6, 0.8],
    ...                      "GPU": [1.6, 2.0]})
    >>> lessons(gains, "CPU", "GPU")
    'Faster here: a. Slower here: b. On paper a gain of a tenth or more on GPU alone: b.'
    """
    faster, slower = gains["gain_low"] > 1, gains["gain_high"] < 1
    only = (gains[there] >= _WORTH) & (gains[here] < _WORTH) & ~faster
    named = [", ".join(gains.loc[rows, "engine"]) or "none" for rows in (faster, slower, only)]
    return (f"Faster here: {named[0]}. Slower here: {named[1]}. On paper a gain of a tenth or more on {there} alone: "
            f"{named[2]}.")
