"""Which rows to label next: the strategies of active learning, each a function of a pool."""

import dataclasses
from collections.abc import Callable

import numpy as np

from helpers.data_efficiency.linear import Linear, fit
from helpers.lab.errors import InputError

NEIGHBOURS = 20  # that a row's typicality is measured with (TypiClust's own number)
MAX_CLUSTERS = 500
DISCRIMINATIONS = 5  # rounds in which the discriminative strategy takes a batch


@dataclasses.dataclass(frozen=True)
class Pool:
    """What a strategy may look at.

    x: (n, d) float32 rows of length 1. labelled, unlabelled: row numbers, ascending. model: fitted on the labelled
    rows. rng: for ties and draws.
    """

    x: np.ndarray
    labelled: np.ndarray
    unlabelled: np.ndarray
    model: Linear
    rng: np.random.Generator

    def probabilities(self) -> np.ndarray:
        """(unlabelled, classes) of the rows that could be asked for."""
        return self.model.probabilities(self.x[self.unlabelled])


Strategy = Callable[[Pool, int], np.ndarray]


def random_rows(pool: Pool, count: int) -> np.ndarray:
    """Any rows: what all others must beat."""
    return pool.rng.choice(pool.unlabelled, count, replace=False)


def least_confidence(pool: Pool, count: int) -> np.ndarray:
    """Rows whose most probable class is least probable (Lewis and Gale, 1994)."""
    return _lowest(pool, pool.probabilities().max(1), count)


def margin(pool: Pool, count: int) -> np.ndarray:
    """Rows whose two most probable classes are closest: 'breaking ties' (Luo et al., 2005)."""
    top = np.partition(pool.probabilities(), -2, axis=1)
    return _lowest(pool, top[:, -1] - top[:, -2], count)


def entropy(pool: Pool, count: int) -> np.ndarray:
    """Rows whose probabilities are spread most evenly."""
    probabilities = pool.probabilities()
    return _lowest(pool, (probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(1), count)


def k_center(pool: Pool, count: int) -> np.ndarray:
    """Each time the row that is farthest from all labelled and chosen ones (Sener and Savarese, ICLR 2018)."""
    rows = np.asarray(pool.x[pool.unlabelled])
    distance = np.full(len(rows), np.inf)
    for start in range(0, len(pool.labelled), 512):
        near = 2 - 2 * rows @ np.asarray(pool.x[pool.labelled[start:start + 512]]).T
        distance = np.minimum(distance, near.min(1))
    chosen = []
    for _ in range(count):
        pick = int(distance.argmax())
        chosen.append(pick)
        distance = np.minimum(distance, 2 - 2 * rows @ rows[pick])
        distance[chosen] = -np.inf
    return pool.unlabelled[chosen]


def badge(pool: Pool, count: int) -> np.ndarray:
    """Rows whose gradients are long and differ from each other (Ash et al., ICLR 2020).

    The gradient of the last layer, with the most probable class taken for the label, is the outer product of
    (probabilities - that class) and the row; rows are drawn as k-means++ draws its centres. The products are never
    written out: a distance needs only the products of their two factors.
    """
    rows, errors = np.asarray(pool.x[pool.unlabelled], np.float64), pool.probabilities()
    errors[np.arange(len(errors)), errors.argmax(1)] -= 1
    length = (errors**2).sum(1) * (rows**2).sum(1)
    chosen = [int(length.argmax())]
    distance = np.full(len(rows), np.inf)
    while True:
        last = chosen[-1]
        apart = length + length[last] - 2 * (errors @ errors[last]) * (rows @ rows[last])
        distance = np.minimum(distance, np.maximum(apart, 0))
        distance[chosen] = 0
        if len(chosen) == count:
            return pool.unlabelled[chosen]
        total = distance.sum()
        weights = distance / total if total > 0 else _left_over(len(rows), chosen)
        chosen.append(int(pool.rng.choice(len(rows), p=weights)))


def typiclust(pool: Pool, count: int) -> np.ndarray:
    """The most typical row of each large cluster without a label (Hacohen, Dekel and Weinshall, ICML 2022)."""
    from sklearn.cluster import MiniBatchKMeans

    x = np.asarray(pool.x)
    clusters = min(len(pool.labelled) + count, MAX_CLUSTERS, len(x))
    cluster = MiniBatchKMeans(clusters, random_state=int(pool.rng.integers(2**31)), n_init=1,
                              batch_size=1024, max_iter=20).fit_predict(x)
    has_label = np.bincount(cluster[pool.labelled], minlength=clusters)
    sizes = np.bincount(cluster, minlength=clusters)
    free = np.zeros(len(x), bool)
    free[pool.unlabelled] = True
    typical = _typicality(x, cluster, clusters)
    chosen: list[int] = []
    while len(chosen) < count:  # clusters with fewest labels first, then the largest
        order = [c for c in np.lexsort((-sizes, has_label)) if free[cluster == c].any()]
        for number in order[:count - len(chosen)]:
            members = np.flatnonzero((cluster == number) & free)
            pick = int(members[typical[members].argmax()])
            chosen.append(pick)
            free[pick] = False
            has_label[number] += 1
    return np.array(chosen)


def discriminative(pool: Pool, count: int) -> np.ndarray:
    """Rows that a classifier can tell best from the labelled ones (Gissin and Shalev-Shwartz, arXiv 1907.06347)."""
    labelled, unlabelled = pool.labelled, pool.unlabelled
    parts = [len(part) for part in np.array_split(np.arange(count), min(DISCRIMINATIONS, count))]
    chosen = np.empty(0, np.int64)
    for size in parts:
        known = np.concatenate([labelled, chosen])
        rest = np.setdiff1d(unlabelled, chosen)
        rows = np.concatenate([known, rest])
        judge = fit(np.asarray(pool.x[rows]), np.repeat([0, 1], [len(known), len(rest)]), 2)
        scores = judge.probabilities(pool.x[rest])[:, 1]
        chosen = np.concatenate([chosen, rest[np.argsort(-scores, kind="stable")[:size]]])
    return chosen


STRATEGIES: dict[str, Strategy] = {
    "random": random_rows, "least confidence": least_confidence, "margin": margin, "entropy": entropy,
    "k-center": k_center, "BADGE": badge, "TypiClust": typiclust, "discriminative": discriminative}


def strategy_named(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name not in STRATEGIES:
        raise InputError(f"Unknown strategy '{name}'. Choose one of: {', '.join(STRATEGIES)}.")
    return STRATEGIES[name]


def _lowest(pool: Pool, scores: np.ndarray, count: int) -> np.ndarray:
    return pool.unlabelled[np.argsort(scores, kind="stable")[:count]]


def _left_over(count: int, chosen: list[int]) -> np.ndarray:
    """Equal chances for all rows that are not chosen yet."""
    weights = np.ones(count)
    weights[chosen] = 0
    return weights / weights.sum()


def _typicality(x: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """(n,) one over the mean distance to the nearest rows of the same cluster."""
    typical = np.zeros(len(x))
    for number in range(clusters):
        members = np.flatnonzero(cluster == number)
        if len(members) < 2:
            continue
        distances = np.sqrt(np.maximum(2 - 2 * x[members] @ x[members].T, 0))
        np.fill_diagonal(distances, np.inf)
        nearest = np.partition(distances, min(NEIGHBOURS, len(members) - 1) - 1, axis=1)
        typical[members] = 1 / (nearest[:, :min(NEIGHBOURS, len(members) - 1)].mean(1) + 1e-9)
    return typical
