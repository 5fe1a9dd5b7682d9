"""Contrast: which pairs are drawn, and what training on them does."""

import numpy as np
import pytest

from helpers.efficient_architectures import few_labels
from helpers.efficient_architectures.right_sizing.contrastive import draw_pairs, few_shot
from helpers.efficient_architectures.right_sizing.frozen import linear_probe
from helpers.lab import InputError
from helpers.lab.training.heads import embed_rows


def test_pairs_are_half_of_one_label_and_never_a_row_with_itself():
    labels = [0, 0, 0, 1, 1, 1, 2, 2]
    pairs = draw_pairs(labels, 5)
    assert len(pairs) == 8 * 5 * 2
    for one, other, same in pairs:
        assert one != other
        assert (labels[one] == labels[other]) == bool(same)


def test_contrast_draws_texts_of_one_label_together(tiny_task, narrow_encoder):
    few = few_labels(tiny_task, 6)
    model = few_shot(few, narrow_encoder, pairs_per_row=8, max_steps=25)
    before = linear_probe(few, narrow_encoder)
    labels = np.array(few.train["label"][:])

    def gap(one) -> float:
        means = embed_rows(one.module, one.encoder.encode(few.train["text"][:]))
        cosines = means @ means.T / np.outer(*[np.linalg.norm(means, axis=1)] * 2)
        same = labels[:, None] == labels[None]
        return cosines[same].mean() - cosines[~same].mean()

    assert gap(model) > gap(before)


def test_pairs_of_two_labels_need_two_labels():
    with pytest.raises(InputError, match=r"all rows have one label\.$"):
        draw_pairs([1, 1], 2)
