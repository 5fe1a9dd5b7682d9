"""The training loop that all experiments share."""

import itertools

import pytest
import torch
from torch import nn

from helpers.lab import Cancelled
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import train


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
