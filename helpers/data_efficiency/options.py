"""What a user of this strategy may choose, without torch: prices, repetitions, and the names behind the controls."""

from helpers.lab.money.costs import DEFAULT_OFFER, offer

USD_PER_LABEL = 0.10  # an assumption to be replaced by your own: 15 s of a person who costs $24 an hour
SEEDS = 5  # repetitions: fewer say little about a difference of a point
FEATURES = ("minilm", "lexical", "pixels")
NOISES = ("uniform", "confusable")
# From which similarity on two texts count as the same. For MinHash, 0.4 to 0.6 find the injected typos and reorderings
# of `tickets`; lower finds more paraphrases, and more that are none.
THRESHOLDS = {"exact": 1.0, "minhash": 0.5, "semantic": 0.9}
AUGMENTATIONS = ("none", "edits", "masked", "mixup")
GENERATORS = ("words", "recombine")


def compute_usd(cpu_seconds: float) -> float:
    """Dollars of so many seconds of one processor of the default offer's machine.

    >>> from helpers.data_efficiency.options import compute_usd
    >>> round(compute_usd(3600), 3)
    0.048
    """
    rented = offer(DEFAULT_OFFER)
    return cpu_seconds / 3600 * rented.on_demand_usd_hour / (rented.vcpus or 1)
