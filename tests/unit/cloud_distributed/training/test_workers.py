"""Processes that form a group: results by rank, failures and cancelling."""

import pytest

from helpers.cloud_distributed.training.workers import run_workers
from helpers.lab import InputError
from helpers.lab.errors import Cancelled
from helpers.lab.progress import Progress


def test_workers_know_each_other_and_results_come_by_rank():
    def sum_of_ranks():
        import torch
        import torch.distributed as dist

        ranks = torch.tensor([float(dist.get_rank())])
        dist.all_reduce(ranks)
        return dist.get_rank(), dist.get_world_size(), ranks.item()

    assert run_workers(sum_of_ranks, 2) == [(0, 2, 1.0), (1, 2, 1.0)]


def test_a_workers_failure_reaches_the_caller_and_ends_its_partner():
    def one_fails():
        import torch.distributed as dist

        if dist.get_rank() == 1:
            raise KeyError("no such layer")
        dist.barrier()  # the other waits for it

    with pytest.raises(RuntimeError, match="no such layer"):
        run_workers(one_fails, 2, timeout_s=60)


def test_a_run_of_workers_can_be_cancelled_and_needs_a_worker():
    with pytest.raises(Cancelled):
        run_workers(lambda: None, 1, progress=Progress(cancelled=lambda: True))
    with pytest.raises(InputError, match="counted from 1"):
        run_workers(lambda: None, 0)
