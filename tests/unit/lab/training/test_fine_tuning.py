"""Fine-tuning: batches, steps, and the same weights from the same seed."""

import copy

import numpy as np
import pytest
import torch

from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune, length_batches
from helpers.lab.training.tokenizer import pad


def test_batches_hold_each_row_once_and_rows_of_like_length():
    import random

    lengths = list(np.random.default_rng(0).integers(2, 100, 1000))
    batches = length_batches(lengths, 16, random.Random(0))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    assert max(len(batch) for batch in batches) == 16
    spread = np.mean([np.ptp([lengths[row] for row in batch]) for batch in batches])
    assert spread < 0.2 * np.ptp(lengths)


def test_training_lowers_the_loss_and_repeats_itself_with_the_same_seed(tiny_model, tiny_task):
    rows, labels = tiny_model.encoder.encode(tiny_task.train["text"][:]), tiny_task.train["label"][:]
    states = []
    for _ in range(2):
        module = copy.deepcopy(tiny_model.module)
        before = _loss(module, rows, labels)
        fine_tune(module, rows, labels, epochs=5, learning_rate=3e-3, seed=3)
        assert _loss(module, rows, labels) < 0.8 * before
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_runs_as_many_steps_as_the_epochs_make(tiny_model, tiny_task):
    """81 rows in batches of 32 are 3 steps an epoch."""
    rows, labels = tiny_model.encoder.encode(tiny_task.train["text"][:]), tiny_task.train["label"][:]
    told = []
    fine_tune(copy.deepcopy(tiny_model.module), rows, labels, epochs=1.67, learning_rate=1e-4,
              progress=Progress(lambda fraction, message: told.append(fraction)))
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@torch.inference_mode()
def _loss(module, rows, labels) -> float:
    ids, mask = (torch.from_numpy(array) for array in pad(rows))
    return float(torch.nn.functional.cross_entropy(module.eval()(ids, mask), torch.tensor(labels)))
