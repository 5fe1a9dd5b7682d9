"""Steps after one another: cascades, what each step adds, and a search that repeats nothing."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_tiny_model

from helpers.lab import Cancelled, InputError, Ledger, Model, load, tfidf_baseline
from helpers.lab.measuring.comparison import Comparison
from helpers.lab.models.cascade import CascadeModel
from helpers.lab.progress import Progress
from helpers.model_optimization import Stack, build, cascade, prune, quantize, search, stack
from helpers.model_optimization.pipelines import steps as pipelines_module
from helpers.model_optimization.pipelines.first_stage import choose_threshold
from helpers.model_optimization.pipelines.searching import pareto
from helpers.model_optimization.pipelines.steps import folder_of, name_of, start_of

CUT = {"step": "prune", "method": "columns", "sparsity": 0.5, "importance": "magnitude"}
ZEROS = {"step": "prune", "method": "magnitude", "sparsity": 0.5}
DISTIL = {"step": "distill", "layers": 1, "augmented": 0, "epochs": 0.5}


def texts_of(task):
    return task.test["text"][:]


# Cascades

def accuracy_at(threshold, first, second, labels) -> tuple[float, float]:
    """Accuracy and share escalated, row by row."""
    right = escalated = 0
    for row, label in enumerate(labels):
        shifted = np.exp(first[row] - first[row].max())
        sure = (shifted / shifted.sum()).max() >= threshold
        right += (first if sure else second)[row].argmax() == label
        escalated += not sure
    return right / len(labels), escalated / len(labels)


def wrong_at(threshold, first, labels) -> int:
    """Rows that the first stage answers, and wrongly, row by row."""
    return sum(np.exp(one).max() / np.exp(one).sum() >= threshold and one.argmax() != label
               for one, label in zip(first, labels, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 2.5, 10.0]), st.sampled_from([1.0, 20.0]))
def test_the_threshold_is_the_best_of_all_by_brute_force(seed, lose_at_most, rounding):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 40)
    first, second = (np.round(rng.normal(size=(40, 3)) * rounding) / rounding + skill * np.eye(3)[labels]
                     for skill in (1.0, 2.5))  # rounding makes rows of equal confidence
    found = choose_threshold(first, second, labels, lose_at_most)
    assert accuracy_at(found.value, first, second, labels) == (
        pytest.approx(found.accuracy), pytest.approx(found.escalated))
    assert found.accuracy >= accuracy_at(2.0, first, second, labels)[0] - lose_at_most / 100 - 1e-9
    tried = [2.0, *np.unique(np.exp(first).max(1) / np.exp(first).sum(1)) - 1e-9]
    within = [accuracy_at(threshold, first, second, labels)[1] for threshold in tried
              if wrong_at(threshold, first, labels) <= lose_at_most / 100 * len(labels) + 1e-9]
    assert found.escalated == pytest.approx(min(within))


def test_a_first_stage_is_not_trusted_because_the_second_is_no_better():
    """Neither knows the second row: answering it costs nothing here, and yet it counts."""
    labels = np.array([0, 0, 0, 0])
    first = np.log([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])  # sure and right, wrong, right, right
    second = np.log([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])
    assert choose_threshold(first, second, labels).escalated == 0.75
    assert choose_threshold(first, second, labels, 25.0).escalated == 0.0


@pytest.fixture(scope="module")
def two_stages(tiny_model, tiny_task):
    """TF-IDF before a model with random weights, answering what TF-IDF is sure of."""
    return cascade(tfidf_baseline(tiny_task), tiny_model, dataclasses.replace(tiny_task, test=None), lose_at_most=0.0)


def test_each_stage_answers_its_own_rows(two_stages, tiny_task):
    texts, stages = texts_of(tiny_task), (two_stages.first, two_stages.second)
    first, second = (stage.predict(texts) for stage in stages)
    probabilities = np.exp(first).max(axis=1)
    threshold = float(np.median(probabilities))
    found = CascadeModel(two_stages.card, *stages, threshold).predict(texts)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)
    for row in range(len(texts)):
        answering = first if probabilities[row] >= threshold else second
        assert found[row].argmax() == answering[row].argmax()
        if probabilities[row] >= threshold:
            np.testing.assert_allclose(found[row], first[row], atol=1e-4)


def test_a_cascade_answers_the_same_after_a_reload(two_stages, tiny_task, tmp_path):
    two_stages.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts_of(tiny_task)), two_stages.predict(texts_of(tiny_task)))
    assert load(tmp_path).card == two_stages.card
    assert isinstance(two_stages, Model)
    assert two_stages.predict([]).shape == (0, 3)


def test_a_cascade_says_what_it_costs_on_average(two_stages, tiny_model):
    card, first = two_stages.card, two_stages.first.card
    assert card.parameters == first.parameters + tiny_model.card.parameters
    assert card.macs == round(first.parameters + card.settings["escalated"] * tiny_model.card.macs)
    assert 0 <= card.settings["escalated"] < 0.5  # random weights are seldom asked where TF-IDF is better


def test_stages_of_other_classes_are_refused(two_stages, tiny_model, tiny_task):
    other = make_tiny_model(dataclasses.replace(tiny_task, labels=("a", "b")))
    with pytest.raises(InputError, match="The stages know 2 and 3 classes"):
        cascade(other, tiny_model, tiny_task)
    with pytest.raises(InputError, match=r"cannot be negative \(-1\)"):
        cascade(two_stages.first, tiny_model, tiny_task, lose_at_most=-1)


# Building

def test_a_pipeline_is_its_steps_by_hand(tiny_model, tiny_task, fresh_home):
    steps = [CUT, {"step": "quantize", "scheme": "weight-only", "bits": 4}]
    built = build(tiny_model, tiny_task, steps)
    by_hand = quantize(prune(tiny_model, tiny_task, "columns", 0.5, importance="magnitude"), tiny_task, "weight-only",
                       bits=4)
    np.testing.assert_array_equal(built.predict(texts_of(tiny_task)), by_hand.predict(texts_of(tiny_task)))
    assert built.card.name == name_of(steps)
    assert built.card.macs == by_hand.card.macs
    assert built.card.settings["steps"][0] == CUT


@pytest.fixture
def made(monkeypatch):
    """The names of the steps that were really done, in this process."""
    done = []
    for name, step in pipelines_module.STEPS.items():
        def counted(model, context, name=name, step=step, **settings):
            done.append(name)
            return step(model, context, **settings)
        monkeypatch.setitem(pipelines_module.STEPS, name, counted)
    return done


def test_what_two_pipelines_share_is_made_once(tiny_model, tiny_task, fresh_home, made):
    cascade_step = {"step": "cascade", "first": "tfidf"}
    first = build(tiny_model, tiny_task, [DISTIL, ZEROS])
    build(tiny_model, tiny_task, [DISTIL, ZEROS, cascade_step])
    again = build(tiny_model, tiny_task, [DISTIL, ZEROS])
    assert made == ["distill", "prune", "cascade"]
    np.testing.assert_array_equal(again.predict(texts_of(tiny_task)), first.predict(texts_of(tiny_task)))
    build(make_tiny_model(tiny_task, seed=1), tiny_task, [DISTIL])
    assert made[3:] == ["distill"]  # another first model is another pipeline


@pytest.mark.parametrize(("step", "name"), [
    ({"first": "tfidf"}, "TF-IDF + logistic regression"),
    ({"first": "linear", "augmented": 1}, "linear student, TF-IDF"),
    ({"first": "static", "augmented": 1, "dimensions": 8, "epochs": 1.0}, "static student, 8 numbers a token, numpy"),
])
def test_a_cascade_takes_each_first_stage_and_its_settings(tiny_model, tiny_task, fresh_home, step, name):
    built = build(tiny_model, tiny_task, [{"step": "cascade", **step}])
    assert built.first.card.name == name
    assert built.first.card.settings.get("transfer_rows", len(tiny_task.train)) == len(tiny_task.train)


def test_order_is_part_of_a_pipeline(tiny_model, tiny_task, fresh_home, made):
    build(tiny_model, tiny_task, [DISTIL, CUT])
    build(tiny_model, tiny_task, [CUT, DISTIL])
    assert made == ["distill", "prune", "prune", "distill"]


def test_a_damaged_kept_model_is_made_again(tiny_model, tiny_task, fresh_home, made):
    build(tiny_model, tiny_task, [CUT])
    folder = folder_of(start_of(tiny_model, tiny_task), [CUT])
    (folder / "weights.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="quarantined as .*damaged-1; it is made again"):
        build(tiny_model, tiny_task, [CUT])
    assert made == ["prune", "prune"]


def test_a_cancelled_pipeline_keeps_its_finished_steps(tiny_model, tiny_task, fresh_home, made):
    def cancelled():
        return "distill" in made

    with pytest.raises(Cancelled):
        build(tiny_model, tiny_task, [CUT, DISTIL], progress=Progress(cancelled=cancelled))
    made.clear()
    build(tiny_model, tiny_task, [CUT, DISTIL])
    assert made == ["distill"]


@pytest.mark.parametrize(("steps", "sentence"), [
    ([{"step": "pray"}], r"no step 'pray'. Known: distill, prune, quantize, export, cascade\."),
    ([{"step": "prune", "colour": 1}], r"The step 'prune colour=1' cannot be done: .*'colour'"),
    ([{"step": "cascade"}, CUT], r"Only a PyTorch model can be pruned; 'cascade' runs in cascade. Do this step before"),
    ([{"step": "cascade", "first": "tfidf", "words": 2}], r"The step .* cannot be done: .*'words'"),
    ([{"step": "cascade", "first": "oracle"}], r"no first stage 'oracle'. Known: tfidf, linear, static\."),
])
def test_what_cannot_be_built_is_refused_in_a_sentence(tiny_model, tiny_task, fresh_home, steps, sentence):
    with pytest.raises(InputError, match=sentence):
        build(tiny_model, tiny_task, steps)


# What each step adds

def test_a_stack_measures_each_prefix_and_each_step_alone(tiny_model, tiny_task, fresh_home):
    ledger = Ledger()
    found = stack(tiny_model, tiny_task, [CUT, ZEROS], rows=8, rounds=2, ledger=ledger)
    assert [m.model for m in found.result.measurements] == ["tiny", *(name_of(s) for s in ([CUT], [CUT, ZEROS],
                                                                                          [ZEROS]))]
    frame = found.waterfall()
    assert len(frame) == 3
    assert frame["gain"].prod() == pytest.approx(found.combined)
    assert frame["alone"].prod() == pytest.approx(found.product)
    assert frame["macs"][0] > frame["macs"][1] == frame["macs"][2]  # zeros save no multiplication
    assert 0 < found.tokenizing_s < 1 / found.reference.throughput_per_s
    assert len(ledger.all()) == 4


def make_stack(new_measurement, throughput: dict, tokenizing_s: float) -> Stack:
    """Records of two steps, A and B, whose throughputs are given; the reference does 100 a second."""
    records = [new_measurement(model=name, throughput_per_s=rate, speedup=rate / 100)
               for name, rate in throughput.items()]
    steps = ({"step": "prune", "name": "A"}, {"step": "quantize", "name": "B"})
    return Stack(steps, Comparison(tuple(records)), tokenizing_s)


def test_on_paper_tokenizing_does_not_multiply(new_measurement):
    """10 ms: 2 to tokenize and 8 to compute. A and B halve the 8: 6 ms each, together 2 + 2 ms."""
    found = make_stack(new_measurement, {"tiny": 100, "A": 1000 / 6, "A > B": 250, "B": 1000 / 6}, 0.002)
    assert found.product == pytest.approx((10 / 6) ** 2)
    assert found.paper == pytest.approx(2.5)
    assert found.combined == pytest.approx(2.5)
    assert found.explanation() == (
        "Alone, the steps' gains multiply to 2.8x; together they give 2.5x. Tokenizing takes 2.00 ms a text "
        "whatever the encoder: counting that, 2.5x were to be expected. "
        "Each step gained about what it gains alone.")


def test_on_paper_a_first_stage_saves_what_the_second_costs(new_measurement):
    """10 ms. A: 5 ms. A stage of 1 ms that escalates half: alone 1 + 5 = 6 ms; after A 1 + 2.5 = 3.5 ms."""
    records = [new_measurement(model=name, throughput_per_s=1000 / ms, speedup=10 / ms, settings={"escalated": 0.5})
               for name, ms in (("tiny", 10), ("A", 5), ("A > B", 3.6), ("B", 6))]
    steps = ({"step": "prune", "name": "A"}, {"step": "cascade", "name": "B"})
    found = Stack(steps, Comparison(tuple(records)), 0.0)
    assert found.paper == pytest.approx(10 / 3.5)
    assert found.product == pytest.approx(10 / 5 * 10 / 6)
    assert "a first stage saves less where the second is cheap already: counting" in found.explanation()


def test_a_step_that_gains_less_after_another_is_named(new_measurement):
    found = make_stack(new_measurement, {"tiny": 100, "A": 200, "A > B": 220, "B": 200}, 0.0)
    assert found.paper == found.product == pytest.approx(4)
    assert found.explanation().endswith("Less than alone gained: B.")
    assert found.waterfall()["gain"].tolist() == [1.0, 2.0, pytest.approx(1.1)]


def test_no_steps_are_refused(tiny_model, tiny_task):
    with pytest.raises(InputError, match="at least one step"):
        stack(tiny_model, tiny_task, [])
    with pytest.raises(InputError, match="at least one pipeline"):
        search(tiny_model, tiny_task, [])


# The search

@settings(max_examples=50, deadline=None)
@given(points=st.lists(st.tuples(st.integers(-4, 1), st.integers(1, 6)), max_size=8))
def test_the_pareto_set_is_what_nothing_beats(points, new_measurement):
    records = [new_measurement(accuracy_delta=lost / 100, speedup=float(speed)) for lost, speed in points]
    found = pareto(records, 2.0)
    allowed = [m for m in records if m.accuracy_delta >= -0.02]
    for record in allowed:
        beaten = any((o.accuracy_delta >= record.accuracy_delta and o.speedup > record.speedup)
                     or (o.accuracy_delta > record.accuracy_delta and o.speedup >= record.speedup) for o in allowed)
        assert (record in found) == (not beaten)
    assert all(m in allowed for m in found)


def test_a_search_looks_at_validation_rows_only_and_repeats_nothing(tiny_model, tiny_task, fresh_home, monkeypatch):
    """Three pipelines, two of them with a first step in common; the third ruins the model and is given up."""
    ruin = {"step": "prune", "method": "magnitude", "sparsity": 0.999}
    pipelines = [[CUT], [CUT, ZEROS], [ruin, ZEROS]]
    sound = trained(tiny_model, tiny_task)
    # the mean length of the test texts is all that is asked of them
    blind = dataclasses.replace(tiny_task, test=tiny_task.test.remove_columns("label"))
    options = {"lose_at_most": 100.0, "give_up_at": 30.0, "rows": 6, "rounds": 2}
    found = search(sound, blind, pipelines, **options)
    assert {m.model for m in found.measurements} == {name_of(steps) for steps in pipelines[:2]}
    assert {m.task for m in found.measurements} == {"tiny (validation)"}
    assert {m.rows for m in found.measurements} == {len(tiny_task.validation)}
    assert [(verdict.steps, verdict.built) for verdict in found.given_up] == [(tuple(pipelines[2]), 1)]
    assert not folder_of(start_of(sound, blind), pipelines[2]).exists()
    assert found.pareto

    def nothing(*_, **__):
        raise AssertionError("done again")

    monkeypatch.setattr("helpers.model_optimization.pipelines.searching.sweep", nothing)
    monkeypatch.setattr("helpers.lab.measuring.comparison.compare", nothing)
    assert search(sound, blind, pipelines, **options) == found


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


def trained(model, task):
    from helpers.lab.models.torch import TorchTextModel
    from helpers.lab.training.fine_tuning import fine_tune

    copy = make_tiny_model(task)
    fine_tune(copy.module, model.encoder.encode(task.train["text"][:]), task.train["label"][:], epochs=6,
              learning_rate=3e-3)
    return TorchTextModel(model.card, model.encoder, copy.module)


def test_a_search_killed_after_the_building_measures_only(tiny_model, tiny_task, fresh_home, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    options = {"lose_at_most": 100.0, "give_up_at": 100.0, "rows": 4, "rounds": 2}
    with monkeypatch.context() as patch:
        patch.setattr("helpers.lab.measuring.comparison.compare", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tiny_model, tiny_task, [[CUT]], **options)
    monkeypatch.setattr("helpers.model_optimization.pipelines.searching.sweep", killed)
    found = search(tiny_model, tiny_task, [[CUT]], **options)
    assert math.isfinite(found.measurements[0].speedup)
    assert len(Ledger().all()) == 2  # the reference and the pipeline
