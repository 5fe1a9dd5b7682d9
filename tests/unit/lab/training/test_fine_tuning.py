"""Fine-tuning and the training loop below it: batches, steps, and the same weights from the same seed."""

import copy
import itertools
import random

import numpy as np
import pytest
import torch
from architectures import small_classifier
from torch import nn

from helpers.lab import Cancelled
from helpers.lab.data.tokenizer import pad
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune, length_batches, train


@pytest.fixture
def line():
    """A straight line through zero, with its weight at 0."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    return module


def squared_error(module: nn.Module, target: float):
    """Of what the module makes of 1."""
    return (module(torch.ones(1)) - target).square().sum()


def test_each_batch_is_one_step_and_no_more_are_drawn(line):
    batches, messages = iter(range(100)), []
    train(line, batches, lambda batch: squared_error(line, 1.0), torch.optim.SGD(line.parameters(), lr=0.1), steps=3,
          clip=None, progress=Progress(lambda fraction, message: messages.append((fraction, message))), say="fitting")
    assert line.weight.item() == pytest.approx(1 - 0.8**3)  # each step covers a fifth of what is left
    assert next(batches) == 3
    assert messages[-1] == (1.0, "fitting: step 3 of 3")
    assert not line.training


def test_gradients_are_clipped_and_the_rate_follows_its_schedule(line):
    optimizer = torch.optim.SGD(line.parameters(), lr=1.0)
    halving = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    train(line, itertools.repeat(100.0), lambda target: squared_error(line, target), optimizer, steps=3,
          schedule=halving, clip=1.0)
    assert line.weight.item() == pytest.approx(1 + 1 / 2 + 1 / 4, rel=1e-4)


def test_cancelling_ends_the_training_before_the_next_step(line):
    messages = []
    progress = Progress(lambda fraction, message: messages.append(message), lambda: len(messages) == 2)
    with pytest.raises(Cancelled):
        train(line, itertools.repeat(1.0), lambda target: squared_error(line, target),
              torch.optim.SGD(line.parameters(), lr=0.1), steps=5, progress=progress)
    assert messages == ["training: step 1 of 5", "training: step 2 of 5"]


def test_batches_hold_each_row_once_and_rows_of_like_length():
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
    reports = []
    fine_tune(copy.deepcopy(tiny_model.module), rows, labels, epochs=1.67, learning_rate=1e-4,
              progress=Progress(lambda fraction, message: reports.append(fraction)))
    assert reports == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("own_head", [False, True])
def test_the_heads_learning_rate_is_that_of_what_stands_above_the_encoder(tiny_model, tiny_task, own_head):
    """A first step of Adam's moves a weight by about its learning rate, whatever its gradient."""
    rows, labels = ([[token % 50 for token in row] for row in tiny_model.encoder.encode(tiny_task.train["text"][:32])],
                    tiny_task.train["label"][:32])
    module = small_classifier("roberta") if own_head else copy.deepcopy(tiny_model.module)
    before = copy.deepcopy(module)
    fine_tune(module, rows, labels, epochs=1, learning_rate=1e-5, head_learning_rate=1e-2)
    above = "classifier.classifier" if own_head else "classifier"
    for head, rate in ((True, 1e-2), (False, 1e-5)):
        moved = max(float((new - old).detach().abs().max()) for (name, new), old in zip(
            module.named_parameters(), before.parameters(), strict=True)
            if name.startswith(above) == head and new.grad is not None)
        assert moved == pytest.approx(rate, rel=0.1)


@torch.inference_mode()
def _loss(module, rows, labels) -> float:
    ids, mask = (torch.from_numpy(array) for array in pad(rows))
    return float(torch.nn.functional.cross_entropy(module.eval()(ids, mask), torch.tensor(labels)))
