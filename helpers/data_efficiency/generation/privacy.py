"""Does a generator give away what it was trained on? Secrets are planted, and looked for."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.data_efficiency.generation.synthesis import WordModel, synthesize
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import wilson

CARRIER = "my customer code is"
DIGITS = 6
CANDIDATES = 1000


def extraction_test(texts: Sequence[str], labels: Sequence[int], method: str = "words", copies: Sequence[int] = (1, 4),
                    secrets: int = 10, samples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Plant sentences with random codes in the training rows, generate, and count which codes come out.

    Args:
        copies: how often each secret stands in the data; each number is a test of its own.
        secrets: codes planted in one test.
        samples: texts generated and searched.

    Returns:
        Columns method, copies, extracted (share of codes that came out word for word), low, high (Wilson), exposure
        (bits, mean: log2 of the candidates over the code's rank among them by likelihood; 1.4 where nothing was
        remembered; NaN where the method gives no likelihood), max_exposure (log2(1001) = 10).

    Exposure is that of Carlini et al. (USENIX Security 2019).
    """
    if secrets < 1 or samples < 1 or min(copies, default=0) < 1:
        raise InputError("An extraction test needs at least one secret, one sample and one copy.")
    rng, rows = random.Random(seed), []
    for number in copies:
        codes = [_code(rng) for _ in range(secrets)]
        label = int(labels[0])
        planted = [f"{CARRIER} {code}" for code in codes for _ in range(number)]
        all_texts, all_labels = [*texts, *planted], [*map(int, labels), *[label] * len(planted)]
        of_label = [i for i, one in enumerate(all_labels) if one == label]
        written, _ = synthesize([all_texts[i] for i in of_label], [label] * len(of_label), samples, method, seed)
        whole = " ".join(written)
        out = sum(code in whole for code in codes)
        low, high = wilson(out, secrets)
        exposure = _exposure(WordModel(all_texts, all_labels), codes, label, rng) if method == "words" else math.nan
        rows.append({"method": method, "copies": number, "extracted": out / secrets, "low": low, "high": high,
                     "exposure": exposure, "max_exposure": math.log2(CANDIDATES + 1)})
    return pd.DataFrame(rows)


def _exposure(model: WordModel, codes: list[str], label: int, rng: random.Random) -> float:
    exposures = []
    for code in codes:
        planted = model.log_probability(f"{CARRIER} {code}", label)
        others = [model.log_probability(f"{CARRIER} {_code(rng)}", label) for _ in range(CANDIDATES)]
        # A tie counts half: all codes that were never seen are equally likely.
        rank = 1 + sum(other > planted for other in others) + 0.5 * sum(other == planted for other in others)
        exposures.append(math.log2((CANDIDATES + 1) / rank))
    return float(np.mean(exposures))


def _code(rng: random.Random) -> str:
    return "".join(rng.choices("0123456789", k=DIGITS))
