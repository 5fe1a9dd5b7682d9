"""Logits of made-up stages of a cascade."""

import numpy as np


def random_stages(rows: int, seed: int, skills=(1.0, 2.5)) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits of independent stages on 4 classes, better with more skill, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rows)
    ease = rng.gamma(2.0, 1.0, rows)[:, None]
    return [rng.normal(size=(rows, 4)) + skill * ease * np.eye(4)[labels] for skill in skills], labels
