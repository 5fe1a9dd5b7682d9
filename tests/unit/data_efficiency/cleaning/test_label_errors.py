"""Wrong labels are put in, found, counted and reviewed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from tiny_features import blobs

from helpers.data_efficiency.cleaning.label_errors import (
    find_label_errors,
    flag_quality,
    flags_from,
    inject_noise,
    review_curve,
    review_worth,
)
from helpers.data_efficiency.linear import out_of_fold
from helpers.lab import load_task
from helpers.lab.errors import InputError


def test_noise_changes_exactly_the_share_that_was_asked_for():
    data = blobs()
    labels, corrupted = inject_noise(data, 0.1, "uniform", seed=3)
    changed = labels != data.train_y
    assert changed.sum() == 24
    np.testing.assert_array_equal(changed, corrupted)


def test_confusable_noise_takes_the_class_with_the_nearest_mean():
    data = blobs(3)
    x = data.train.copy()
    x[data.train_y == 2] = data.train[data.train_y == 1] + 0.3 * data.train[data.train_y == 2]  # 2 lies beside 1
    labels, corrupted = inject_noise(dataclasses.replace(data, train=x), 0.3, "confusable")
    pairs = set(zip(data.train_y[corrupted].tolist(), labels[corrupted].tolist(), strict=True))
    assert {(1, 2), (2, 1)} <= pairs
    assert not {(1, 0), (2, 0)} & pairs


def test_labels_that_were_replaced_are_flagged_with_the_right_suggestion():
    data = blobs()
    labels, corrupted = inject_noise(data, 0.1, seed=1)
    result = flags_from(out_of_fold(data.train, labels, 4), labels, data.labels)
    assert list(result.columns) == ["row", "given", "suggested", "doubt"]
    assert result["doubt"].is_monotonic_decreasing
    quality = flag_quality(result, corrupted)
    assert quality["precision"] > 0.9
    assert quality["recall"] > 0.9
    hits = result[corrupted[result["row"]]]
    assert (hits["suggested"].to_numpy() == np.array(data.labels)[data.train_y[hits["row"]]]).all()


def test_a_class_that_never_occurs_does_not_stop_the_search():
    probabilities = np.array([[0.9, 0.05, 0.05]] * 10 + [[0.05, 0.9, 0.05]] * 10)
    y = np.array([0] * 10 + [1] * 9 + [0])
    result = flags_from(probabilities, y, ("a", "b", "never"))
    assert result["row"].tolist() == [19]
    assert result.iloc[0][["given", "suggested"]].tolist() == ["a", "b"]
    assert result.iloc[0]["doubt"] == pytest.approx(0.85)


def test_precision_and_recall_are_those_counted_by_hand():
    result = pd.DataFrame({"row": [0, 1, 2, 3]})
    corrupted = np.array([True, False, True, False, True, False])
    quality = flag_quality(result, corrupted)
    assert (quality["precision"], quality["recall"]) == (0.5, pytest.approx(2 / 3))
    assert flag_quality(result.head(0), corrupted)["f1"] == 0


def test_reviewing_in_order_of_doubt_beats_any_order():
    # Labels of a few rows a class: noise then costs accuracy.
    data = blobs(6, rows=12, spread=1.2)
    curves = pd.concat([review_curve(data, 0.25, "uniform", seed, reviews=(9, 18), reviewer_error=0, usd_per_review=0.5)
                        for seed in (0, 1, 2)])
    worth = review_worth(curves).set_index(["order", "reviewed"])
    assert worth.loc[("doubt", 18), "usd"] == 9.0
    assert worth.loc[("doubt", 18), "accuracy"] > worth.loc[("random", 18), "accuracy"]
    none = curves[curves["reviewed"].eq(0) & curves["order"].eq("doubt")]
    np.testing.assert_allclose(none["accuracy"], none["dirty"])


def test_reviewing_all_rows_without_an_error_regains_all_and_with_errors_less():
    data = blobs(6, rows=12, spread=1.2)
    every = len(data.train_y)
    for error, whole in ((0.0, True), (0.3, False)):
        curve = review_curve(data, 0.25, seed=1, reviews=(every,), reviewer_error=error)
        curve = curve.set_index(["order", "reviewed"])
        assert bool(curve.loc[("doubt", every), "accuracy"] == curve["clean"].iloc[0]) == whole
        assert curve.loc[("doubt", every), "accuracy"] == curve.loc[("random", every), "accuracy"], "the same luck"


def test_budgets_reach_beyond_the_number_of_wrong_labels():
    curve = review_curve(blobs(6, rows=12, spread=1.2), 0.1)
    assert curve["reviewed"].min() == 0
    assert curve["reviewed"].max() > 2 * 0.1 * 72


def test_the_share_that_came_back_has_an_interval_and_none_without_a_loss():
    curves = pd.DataFrame({"order": "doubt", "reviewed": 10, "usd": 1.0, "seed": range(5), "clean": 0.9,
                           "dirty": [0.80, 0.82, 0.81, 0.79, 0.83], "accuracy": [0.85, 0.86, 0.86, 0.84, 0.87]})
    [row] = review_worth(curves).to_dict("records")
    assert row["regained"] == pytest.approx(0.046 / 0.09)
    assert row["regained_low"] < row["regained"] < row["regained_high"]
    [none] = review_worth(curves.assign(dirty=[0.9, 0.91, 0.89, 0.9, 0.9])).to_dict("records")
    assert np.isnan([none["regained"], none["regained_low"], none["regained_high"]]).all()


def test_flags_of_a_task_name_its_labels_and_the_test_stays_as_it_is(tiny_task):
    wrong = np.array(tiny_task.train["label"][:])
    wrong[:4] = (wrong[:4] + 1) % 3
    train = tiny_task.train.remove_columns("label").add_column("label", wrong.tolist(),
                                                               feature=tiny_task.train.features["label"])
    task = dataclasses.replace(tiny_task, train=train)
    before = task.test["label"][:]
    result = find_label_errors(task, kind="lexical")
    assert set(range(4)) & set(result["row"])
    assert set(result["given"]) | set(result["suggested"]) <= set(task.labels)
    shown = find_label_errors(task, "test", kind="lexical")
    assert shown["row"].between(0, len(task.test) - 1).all()
    assert task.test["label"][:] == before


def test_flags_of_a_file_name_its_lines(tmp_path):
    things = ["card", "bank", "account", "invoice", "charge"], ["box", "courier", "street", "door", "van"]
    rows = [(f"refund the {one} {other} {n}", "money") for n in range(4) for one in things[0] for other in things[0]]
    rows += [(f"parcel {one} {other} {n}", "parcel") for n in range(4) for one in things[1] for other in things[1]]
    rows[5::20] = [(text, "parcel") for text, _ in rows[5::20]]
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    lines, task = path.read_text().splitlines(), load_task(path)
    result = pd.concat([find_label_errors(task, split, kind="lexical") for split in ("train", "validation", "test")])
    assert set(result["line"]) & set(range(7, 102, 20))
    assert [lines[line - 1].split(",")[1] for line in result["line"]] == result["given"].tolist()


@pytest.mark.parametrize("make", [
    lambda: inject_noise(blobs(), 0.95), lambda: inject_noise(blobs(), 0.1, "typo"),
    lambda: find_label_errors(None, "training"), lambda: review_worth(review_curve(blobs(rows=12), reviews=(1,))),
    lambda: review_curve(blobs(), reviewer_error=1.5), lambda: review_curve(blobs(), reviews=(10**6,)),
])
def test_unknown_noise_splits_and_single_seeds_are_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
