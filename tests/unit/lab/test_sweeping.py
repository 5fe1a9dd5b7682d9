"""Independent experiments side by side."""

import os
import signal
import sys
import threading
import time

import cloudpickle
import pytest

from helpers.lab import InputError, sweep
from helpers.lab.sweeping import SweepError, ray_cluster


def test_results_come_in_the_grids_order():
    def experiment(bits, seed):
        time.sleep(0.05 if bits == 2 else 0)  # the first to start is the last to end
        return bits * 100 + seed

    result = sweep(experiment, {"bits": [2, 4], "seed": [0, 1, 2]})
    assert result == [({"bits": bits, "seed": seed}, bits * 100 + seed) for bits in (2, 4) for seed in (0, 1, 2)]


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


def dies(a):
    os.kill(os.getpid(), signal.SIGSEGV) if a == 2 else time.sleep(0.05)
    return a


def exits(a):
    return a if a != 2 else sys.exit(3)


def gives_a_lock(a):
    return threading.Lock() if a == 2 else a


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize(("fn", "said"), [
    (dies, "a=2: the process that computed it was ended"), (exits, "a=2: SystemExit: 3"),
    (gives_a_lock, "a=2: TypeError: cannot pickle")])
def test_an_experiment_that_dies_loses_its_own_result_alone_and_is_named(fn, said):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with pytest.raises(SweepError, match=said) as caught:
            sweep(fn, {"a": [1, 2, 3, 4, 5]})
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert caught.value.finished == [({"a": a}, a) for a in (1, 3, 4, 5)]
    assert [settings for settings, _ in caught.value.failed] == [{"a": 2}]
    assert "The other 4 results are in this error's `finished`" in str(caught.value)
    assert sweep(lambda a: -a, {"a": [1, 2]}) == [({"a": 1}, -1), ({"a": 2}, -2)]


def test_a_setting_that_cannot_be_sent_loses_its_own_result_alone_and_is_named():
    settings = [{"a": 1, "b": "x"}, {"a": 2, "b": threading.Lock()}, {"a": 3, "b": "x" * 500}]
    with pytest.raises(SweepError, match=r"a=2, b=<unlocked .*: it cannot be sent to another process") as caught:
        sweep(lambda a, b: a, settings)
    assert [result for _, result in caught.value.finished] == [1, 3]


def test_all_errors_are_counted_the_first_is_told_with_its_trace():
    def experiment(a):
        if a != 2:
            raise ZeroDivisionError(f"by {a}")
        return a

    with pytest.raises(SweepError, match=r"^a=1: ZeroDivisionError: by 1\. 1 more failed") as caught:
        sweep(experiment, {"a": [1, 2, 3]})
    assert caught.value.finished == [({"a": 2}, 2)]
    assert caught.value.failed[1] == ({"a": 3}, "ZeroDivisionError: by 3.")
    assert "in experiment" in caught.value.__notes__[0]


def test_each_process_has_one_thread():
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert sweep(lambda a: [os.environ[name] for name in names], {"a": [1]})[0][1] == ["1"] * 3


@pytest.fixture(scope="module")
def cluster():
    """Ray, started once for the tests below; batch inference starts one of its own."""
    pytest.importorskip("ray", reason="ray is an optional extra (cluster)")
    with ray_cluster() as ray:
        yield ray
    assert not ray.is_initialized()  # what was started here is stopped here


@pytest.mark.slow
def test_on_ray_too_an_experiment_loses_its_own_result_alone(cluster):
    def experiment(a, b):
        if a == 2:
            raise InputError("no good: 2")
        return a

    settings = [{"a": 1, "b": 0}, {"a": 2, "b": 0}, {"a": 3, "b": threading.Lock()}, {"a": 4, "b": 0}]
    with pytest.raises(SweepError, match="a=2, b=0: no good: 2 1 more failed") as caught:
        sweep(experiment, settings, engine="ray")
    assert [result for _, result in caught.value.finished] == [1, 4]
    assert "cannot be sent to the cluster" in caught.value.failed[1][1]


@pytest.mark.slow
def test_ray_gives_the_same_results_in_the_same_order_though_a_worker_is_killed(tmp_path, cluster):
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
    assert cluster.is_initialized()  # a sweep leaves the cluster that it found
