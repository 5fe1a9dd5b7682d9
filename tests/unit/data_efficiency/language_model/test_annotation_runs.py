"""People are asked for what is doubtful; a good annotator saves, a bad one does not get there, and both is said."""

import numpy as np
import pytest
from tiny_features import blobs

from helpers.data_efficiency import accuracy_that_pays, annotation_study, usd_to
from helpers.data_efficiency.language_model.annotation_runs import ANNOTATORS, full_accuracy, most_doubtful
from helpers.data_efficiency.language_model.annotators import Annotation, simulated_annotator
from helpers.data_efficiency.linear import Linear
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress

PEOPLE, MODEL, DOUBTFUL = ANNOTATORS


@pytest.fixture(scope="module")
def hard():
    return blobs(4, rows=60, spread=2.0)


def test_who_labels_is_counted_and_an_annotator_that_never_errs_ends_where_people_do(hard):
    runs = annotation_study(hard, simulated_annotator(hard, 1.0, 0.01), batch=40, seeds=2)
    last = runs[runs["labels"] == 240].set_index(["annotator", "seed"])
    assert (last.loc[PEOPLE, ["people", "model"]] == [240, 0]).all(axis=None)
    assert (last.loc[MODEL, ["people", "model"]] == [0, 240]).all(axis=None)
    assert (last.loc[DOUBTFUL, ["people", "model"]] == [40 + 5 * 10, 200]).all(axis=None)
    assert last["accuracy"].to_numpy() == pytest.approx(full_accuracy(hard), abs=0.01)
    assert runs[runs["annotator"] == PEOPLE]["accuracy"].to_numpy() == pytest.approx(
        runs[runs["annotator"] == MODEL]["accuracy"].to_numpy())  # the same rows, the same labels


def test_people_are_asked_for_the_rows_that_both_doubt():
    sure = Linear(np.array([[4.0, -4.0], [0.0, 0.0]]))  # the first coordinate says class 0
    x, labels = np.array([[1.0], [1.0], [-1.0], [0.1]]), np.array([0, 1, 1, 0])
    assert most_doubtful(sure, x, labels, np.array([0.9, 0.2, 0.8, 0.3]), 2).tolist() == [1, 3]
    assert most_doubtful(sure, x, labels, np.full(4, 0.5), 1).tolist() == [1]  # the specialist alone


def test_a_good_annotator_saves_and_a_bad_one_does_not_get_there(hard):
    cheap = 0.001
    good, bad = (usd_to(annotation_study(hard, simulated_annotator(hard, right, cheap), batch=30, seeds=3),
                        0.95 * full_accuracy(hard), cheap).set_index("annotator") for right in (0.95, 0.1))
    assert good.loc[DOUBTFUL, "saved_usd"] > 0
    assert good.loc[DOUBTFUL, "break_even_usd"] > cheap
    assert np.isnan(bad.loc[MODEL, "usd"])
    assert bad.loc[MODEL, "reached"] == 0


def test_each_accuracy_is_played_through(hard):
    heard = []
    swept = accuracy_that_pays(hard, 0.9, 0.001, (0.5, 1.0), batch=60, seeds=2,
                               progress=Progress(lambda share, _: heard.append(share)))
    assert heard == sorted(heard)
    assert swept["right"].tolist() == [0.5, 0.5, 1.0, 1.0]
    perfect = annotation_study(hard, simulated_annotator(hard, 1.0, 0.001), batch=60, seeds=2)
    alone = usd_to(perfect, 0.9 * full_accuracy(hard), 0.001).set_index("annotator")
    model_rows = swept[swept["annotator"] == MODEL].set_index("right")
    assert model_rows.loc[1.0, "people"] == alone.loc[MODEL, "people"]
    assert model_rows.loc[1.0, "model"] == pytest.approx(alone.loc[MODEL, "model"])
    whole = swept[(swept["right"] == 1.0) & (swept["annotator"] == MODEL)].iloc[0]
    assert whole["saved_usd"] == pytest.approx(whole["model"] * (0.10 - 0.001), rel=1e-3)  # as many labels, cheaper


@pytest.mark.parametrize("make", [
    lambda data: annotation_study(data, Annotation("other", np.zeros(3, int), np.zeros(3), 0.0)),
    lambda data: annotation_study(data, simulated_annotator(data, 0.9, 0.0), batch=0),
    lambda data: usd_to(annotation_study(data, simulated_annotator(data, 0.9, 0.0), 120, seeds=1), 0.9, 0.0),
    lambda data: usd_to(annotation_study(data, simulated_annotator(data, 0.9, 0.0), 120, seeds=2), 0.9, -1.0),
    lambda data: usd_to(annotation_study(data, simulated_annotator(data, 0.9, 0.0), 120, seeds=2).query(
        "annotator == 'model'"), 0.9, 0.0),
])
def test_what_cannot_be_studied_is_refused_in_a_sentence(hard, make):
    with pytest.raises(InputError, match=r"\."):
        make(hard)
