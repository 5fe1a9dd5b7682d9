"""Processes that form a group: results by rank, failures and cancelling."""

import time

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


@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.parametrize(("how", "said"), [("killed", "ended with code -9"), ("silent", "ended with code 0")])
def test_a_dead_worker_is_seen_at_once_whichever_it_is(dead, how, said, tmp_path):
    """Its partner computes on and waits for nobody: only the process itself tells."""
    def one_dies():
        import os
        import signal

        import torch.distributed as dist

        if dist.get_rank() == dead:
            (tmp_path / "died").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL) if how == "killed" else os._exit(0)
        time.sleep(60)

    with pytest.raises(RuntimeError, match=f"Worker {dead} of 2 {said}"):
        run_workers(one_dies, 2, timeout_s=120)
    assert time.time() - float((tmp_path / "died").read_text()) < 2.0


def test_the_killed_worker_is_named_not_the_partner_that_lost_the_connection():
    def one_is_killed():
        import os
        import signal

        import torch
        import torch.distributed as dist

        if dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.all_reduce(torch.ones(1))

    with pytest.raises(RuntimeError, match="Worker 1 of 2 ended with code -9"):
        run_workers(one_is_killed, 2, timeout_s=60)
