"""Steps after one another: built once, cached, and refused in a sentence."""

import numpy as np
import pytest
from pipeline_steps import CUT, DISTIL, ZEROS
from tiny_models import make_tiny_model
from tiny_texts import texts_of

from helpers.lab import Cancelled, InputError
from helpers.lab.progress import Progress
from helpers.model_optimization import build, distill_with_control, prune, quantize
from helpers.model_optimization.pipelines import steps as pipelines_module
from helpers.model_optimization.pipelines.steps import folder_of, name_of, start_of


def test_a_pipeline_is_its_steps_by_hand(tiny_model, tiny_task, fresh_home):
    steps = [CUT, {"step": "quantize", "scheme": "weight-only", "bits": 4}]
    built = build(tiny_model, tiny_task, steps)
    by_hand = quantize(prune(tiny_model, tiny_task, "neurons", 0.5, importance="magnitude"), tiny_task, "weight-only",
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
    ({"first": "static", "augmented": 1, "dimensions": 8, "epochs": 1.0}, "static student, 8 values per token, numpy"),
])
def test_a_cascade_takes_each_first_stage_and_its_settings(tiny_model, tiny_task, fresh_home, step, name):
    built = build(tiny_model, tiny_task, [{"step": "cascade", **step}])
    assert built.first.card.name == name
    assert built.first.card.settings.get("transfer_rows", len(tiny_task.train)) == len(tiny_task.train)


def test_a_control_follows_its_student_and_is_trained_as_long(tiny_model, tiny_task, fresh_home, made):
    """As `distill_with_control` does both, in one go and without a cache."""
    settings = {name: value for name, value in DISTIL.items() if name not in ("step", "name")}
    student, control = distill_with_control(tiny_model, tiny_task, **settings)
    steps = [DISTIL, {"step": "control", "name": "on labels alone"}]
    texts = texts_of(tiny_task)
    np.testing.assert_array_equal(build(tiny_model, tiny_task, steps).predict(texts), control.predict(texts))
    np.testing.assert_array_equal(build(tiny_model, tiny_task, [DISTIL]).predict(texts), student.predict(texts))
    assert not np.array_equal(student.predict(texts), control.predict(texts))
    assert made == ["distill", "control"]
    assert build(tiny_model, tiny_task, steps).card.name.endswith(", on labels alone")


def test_order_is_part_of_a_pipeline(tiny_model, tiny_task, fresh_home, made):
    build(tiny_model, tiny_task, [DISTIL, CUT])
    build(tiny_model, tiny_task, [CUT, DISTIL])
    assert made == ["distill", "prune", "prune", "distill"]


def test_a_damaged_cached_model_is_made_again(tiny_model, tiny_task, fresh_home, made):
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
    ([{"step": "pray"}], r"Unknown step 'pray'. Choose one of: distill, control, prune, quantize, export, cascade\."),
    ([CUT, {"step": "control"}], r"was not distilled: a control is trained like a student, so distill one first\."),
    ([{"step": "prune", "colour": 1}], r"The step 'prune colour=1' cannot be done: .*'colour'"),
    ([{"step": "cascade"}, CUT], r"Only a PyTorch model can be pruned; 'cascade' runs in cascade. Do this step before"),
    ([{"step": "cascade", "first": "tfidf", "words": 2}], r"The step .* cannot be done: .*'words'"),
    ([{"step": "cascade", "first": "oracle"}], r"Unknown first stage 'oracle'. Choose one of: tfidf, linear, static\."),
])
def test_what_cannot_be_built_is_refused_in_a_sentence(tiny_model, tiny_task, fresh_home, steps, sentence):
    with pytest.raises(InputError, match=sentence):
        build(tiny_model, tiny_task, steps)
