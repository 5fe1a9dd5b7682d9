"""Independent experiments side by side."""

import os
import time

import pytest

from helpers.lab import InputError, sweep


def test_results_come_in_the_grids_order():
    def experiment(bits, seed):
        time.sleep(0.05 if bits == 2 else 0)  # the first to start is the last to end
        return bits * 100 + seed

    found = sweep(experiment, {"bits": [2, 4], "seed": [0, 1, 2]})
    assert found == [({"bits": bits, "seed": seed}, bits * 100 + seed) for bits in (2, 4) for seed in (0, 1, 2)]


def test_a_list_of_settings_is_run_as_it_stands():
    settings = [{"a": 1}, {"a": 5, "b": 2}, {"a": 3}]
    assert sweep(lambda a, b=10: a + b, settings) == list(zip(settings, [11, 7, 13], strict=True))


def test_experiments_run_in_other_processes():
    assert os.getpid() not in [pid for _, pid in sweep(lambda n: os.getpid(), {"n": [1, 2, 3]})]


def test_an_empty_list_gives_nothing():
    assert sweep(lambda: 1, []) == []


def test_a_setting_that_the_function_does_not_take_is_named():
    def experiment(bits):
        return bits

    with pytest.raises(InputError, match=r"experiment cannot be called with bits, rows: .*unexpected keyword.*'rows'"):
        sweep(experiment, {"bits": [1], "rows": [2]})


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(InputError, match="cannot be called with no settings: missing a required argument: 'bits'"):
        sweep(lambda bits: bits, [{}])


def test_an_unknown_engine_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"Unknown engine 'slurm'\. Choose one of: local, ray\."):
        sweep(lambda a: a, {"a": [1]}, engine="slurm")


def test_an_experiments_error_reaches_the_caller():
    def experiment(a):
        raise InputError(f"no good: {a}")

    with pytest.raises(InputError, match="no good: 1"):
        sweep(experiment, {"a": [1]})


@pytest.mark.slow
def test_ray_gives_the_same_results_in_the_same_order_though_a_worker_is_killed(tmp_path):
    ray = pytest.importorskip("ray", reason="ray is an optional extra (cluster)")
    grid = {"bits": [2, 4], "seed": [0, 1]}

    def experiment(bits, seed):
        return bits * 100 + seed

    def killed_once(bits, seed):
        import signal

        trap = tmp_path / "trap"
        if bits == 4 and seed == 0 and not trap.exists():
            trap.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (tmp_path / "finished").open("a") as file:
            file.write(f"{bits},{seed}\n")
        return experiment(bits, seed)

    assert sweep(killed_once, grid, engine="ray") == sweep(experiment, grid)
    assert (tmp_path / "trap").exists()
    assert sorted((tmp_path / "finished").read_text().split()) == ["2,0", "2,1", "4,0", "4,1"]  # none lost or doubled
    assert not ray.is_initialized()  # what was started here is stopped here
