"""A search over pipelines repeats nothing and looks at validation rows only."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_steps import CUT, ZEROS
from tiny_texts import trained

from helpers.lab import InputError, Ledger
from helpers.model_optimization import search
from helpers.model_optimization.pipelines.searching import pareto
from helpers.model_optimization.pipelines.steps import folder_of, name_of, start_of


@settings(max_examples=50, deadline=None)
@given(points=st.lists(st.tuples(st.integers(-4, 1), st.integers(1, 6)), max_size=8))
def test_the_pareto_set_is_what_nothing_beats(points, new_measurement):
    records = [new_measurement(accuracy_delta=lost / 100, speedup=float(speed)) for lost, speed in points]
    result = pareto(records, 2.0)
    allowed = [m for m in records if m.accuracy_delta >= -0.02]
    for record in allowed:
        beaten = any((o.accuracy_delta >= record.accuracy_delta and o.speedup > record.speedup)
                     or (o.accuracy_delta > record.accuracy_delta and o.speedup >= record.speedup) for o in allowed)
        assert (record in result) == (not beaten)
    assert all(m in allowed for m in result)


def test_a_search_looks_at_validation_rows_only_and_repeats_nothing(tiny_model, tiny_task, fresh_home, monkeypatch):
    """Three pipelines, two of them with a first step in common; the third ruins the model and is given up."""
    ruin = {"step": "prune", "method": "magnitude", "sparsity": 0.999}
    pipelines = [[CUT], [CUT, ZEROS], [ruin, ZEROS]]
    sound = trained(tiny_model, tiny_task, "tiny", epochs=6)
    # the mean length of the test texts is all that is asked of them
    blind = dataclasses.replace(tiny_task, test=tiny_task.test.remove_columns("label"))
    options = {"max_accuracy_loss": 100.0, "give_up_at": 30.0, "rows": 6, "rounds": 2}
    result = search(sound, blind, pipelines, **options)
    assert {m.model for m in result.measurements} == {name_of(steps) for steps in pipelines[:2]}
    assert {m.task for m in result.measurements} == {"tiny (validation)"}
    assert {m.rows for m in result.measurements} == {len(tiny_task.validation)}
    assert [(abandoned.steps, abandoned.built) for abandoned in result.given_up] == [(tuple(pipelines[2]), 1)]
    assert not folder_of(start_of(sound, blind), pipelines[2]).exists()
    assert result.pareto

    def nothing(*_, **__):
        raise AssertionError("done again")

    monkeypatch.setattr("helpers.model_optimization.pipelines.searching.sweep", nothing)
    monkeypatch.setattr("helpers.lab.measuring.comparison.compare", nothing)
    assert search(sound, blind, pipelines, **options) == result


def test_a_search_builds_what_pipelines_share_once_and_never_waits_for_it(tiny_model, tiny_task, fresh_home,
                                                                          monkeypatch):
    other = {**CUT, "sparsity": 0.25, "name": "a quarter"}
    groups = []

    def noted(fn, grid, engine):
        groups.append([name_of(one["steps"]) for one in grid])
        return [(one, fn(**one)) for one in grid]

    monkeypatch.setattr("helpers.model_optimization.pipelines.searching.sweep", noted)
    monkeypatch.setattr("helpers.model_optimization.pipelines.searching.usable_cores", lambda: 2)
    pipelines = [[CUT], [CUT, ZEROS], [CUT, other], [other, ZEROS]]
    search(tiny_model, tiny_task, pipelines, give_up_at=100.0, rows=4, rounds=2)
    assert groups == [[name_of([CUT]), name_of([other])], [name_of(steps) for steps in pipelines[1:]]]


def test_a_search_killed_after_the_building_measures_only(tiny_model, tiny_task, fresh_home, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    options = {"max_accuracy_loss": 100.0, "give_up_at": 100.0, "rows": 4, "rounds": 2}
    with monkeypatch.context() as patch:
        patch.setattr("helpers.lab.measuring.comparison.compare", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tiny_model, tiny_task, [[CUT]], **options)
    monkeypatch.setattr("helpers.model_optimization.pipelines.searching.sweep", killed)
    result = search(tiny_model, tiny_task, [[CUT]], **options)
    assert math.isfinite(result.measurements[0].speedup)
    assert len(Ledger().all()) == 2  # the reference and the pipeline


def test_no_pipelines_are_refused(tiny_model, tiny_task):
    with pytest.raises(InputError, match="at least one pipeline"):
        search(tiny_model, tiny_task, [])
