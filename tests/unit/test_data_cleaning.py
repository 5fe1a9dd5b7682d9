"""Wrong labels are found, counted, reviewed; the data report says what is there; the linear model is scikit-learn's."""

import csv
import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from helpers.data_efficiency import (
    Features,
    class_balance,
    data_report,
    features,
    find_label_errors,
    flag_quality,
    inject_noise,
    repaired,
    review_curve,
    review_worth,
    with_labels,
)
from helpers.data_efficiency.cleaning.label_errors import flags_from
from helpers.data_efficiency.cleaning.reports import language_of
from helpers.data_efficiency.linear import fit, fold_of, one_hot, out_of_fold
from helpers.data_efficiency.selection.labelling_cost import Watch, compute_usd, interval
from helpers.lab import load_task, offer
from helpers.lab.errors import InputError


def blobs(classes: int = 4, rows: int = 60, width: int = 12, spread: float = 0.25, seed: int = 0) -> Features:
    """Well separated clouds of unit vectors, one a class, with a train, a validation and a test part."""
    rng = np.random.default_rng(seed)
    centres = np.eye(width)[:classes]

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.arange(classes), count)
        x = centres[y] + spread * rng.standard_normal((len(y), width)) / np.sqrt(width)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y

    return Features("blobs", tuple("abcdefghij"[:classes]), "minilm", *split(rows), *split(10), *split(40))


def test_the_linear_model_is_scikit_learns():
    data = blobs(spread=3.0)
    ours = fit(data.train, data.train_y, 4, c=2.0).probabilities(data.test)
    theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=2000).fit(data.train, data.train_y)
    np.testing.assert_allclose(ours, theirs.predict_proba(data.test), atol=2e-2)


def test_mixed_labels_weigh_as_two_half_rows():
    data = blobs(spread=3.0)
    x = data.train[:40]
    half = 0.5 * one_hot(data.train_y[:40], 4) + 0.5 * one_hot((data.train_y[:40] + 1) % 4, 4)
    both = fit(np.concatenate([x, x]), np.concatenate([data.train_y[:40], (data.train_y[:40] + 1) % 4]), 4, c=1.0)
    np.testing.assert_allclose(fit(x, half, 4, c=2.0).probabilities(data.test), both.probabilities(data.test),
                               atol=2e-2)


def test_a_warm_start_ends_at_the_same_optimum():
    data = blobs(spread=3.0)
    cold = fit(data.train, data.train_y, 4, c=1.0)
    start = fit(data.train[:60], data.train_y[:60], 4, c=1.0)
    warm = fit(data.train, data.train_y, 4, c=1.0, start=start)
    np.testing.assert_allclose(cold.probabilities(data.test), warm.probabilities(data.test), atol=2e-2)


def test_out_of_fold_predictions_come_from_models_that_have_not_seen_the_row():
    data = blobs(spread=2.0)
    found = out_of_fold(data.train, data.train_y, 4, folds=3, seed=1)
    fold = fold_of(data.train_y, 3, 1)
    assert all(np.bincount(fold[data.train_y == label]).tolist() == [20, 20, 20] for label in range(4))
    alone = fit(data.train[fold != 1], data.train_y[fold != 1], 4).probabilities(data.train[fold == 1])
    np.testing.assert_array_equal(found[fold == 1], alone)


@pytest.mark.parametrize("make", [
    lambda: fit(np.zeros((0, 3)), [], 2), lambda: fit(np.zeros((2, 3)), [0, 5], 2),
    lambda: out_of_fold(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 2, folds=9),
    lambda: inject_noise(blobs(), 0.95), lambda: inject_noise(blobs(), 0.1, "typo"),
    lambda: interval([1.0]),
])
def test_what_cannot_be_trained_or_counted_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()


def test_noise_changes_exactly_the_share_that_was_asked_for():
    data = blobs()
    noise = inject_noise(data, 0.1, "uniform", seed=3)
    changed = noise.labels != data.train_y
    assert changed.sum() == 24
    np.testing.assert_array_equal(changed, noise.corrupted)


def test_confusable_noise_takes_the_class_with_the_nearest_mean():
    data = blobs(3)
    x = data.train.copy()
    x[data.train_y == 2] = data.train[data.train_y == 1] + 0.3 * data.train[data.train_y == 2]  # 2 lies beside 1
    noise = inject_noise(dataclasses.replace(data, train=x), 0.3, "confusable")
    pairs = set(zip(data.train_y[noise.corrupted].tolist(), noise.labels[noise.corrupted].tolist(), strict=True))
    assert {(1, 2), (2, 1)} <= pairs
    assert not {(1, 0), (2, 0)} & pairs


def test_labels_that_were_replaced_are_flagged_with_the_right_suggestion():
    data = blobs()
    noise = inject_noise(data, 0.1, seed=1)
    found = flags_from(out_of_fold(data.train, noise.labels, 4), noise.labels, data.labels)
    assert list(found.columns) == ["row", "given", "suggested", "doubt"]
    assert found["doubt"].is_monotonic_decreasing
    quality = flag_quality(found, noise.corrupted)
    assert quality["precision"] > 0.9
    assert quality["recall"] > 0.9
    hits = found[noise.corrupted[found["row"]]]
    assert (hits["suggested"].to_numpy() == np.array(data.labels)[data.train_y[hits["row"]]]).all()


def test_a_class_that_never_occurs_does_not_stop_the_search():
    probabilities = np.array([[0.9, 0.05, 0.05]] * 10 + [[0.05, 0.9, 0.05]] * 10)
    y = np.array([0] * 10 + [1] * 9 + [0])
    found = flags_from(probabilities, y, ("a", "b", "never"))
    assert found["row"].tolist() == [19]
    assert found.iloc[0][["given", "suggested"]].tolist() == ["a", "b"]
    assert found.iloc[0]["doubt"] == pytest.approx(0.85)


def test_precision_and_recall_are_those_counted_by_hand():
    found = pd.DataFrame({"row": [0, 1, 2, 3]})
    corrupted = np.array([True, False, True, False, True, False])
    quality = flag_quality(found, corrupted)
    assert (quality["precision"], quality["recall"]) == (0.5, pytest.approx(2 / 3))
    assert flag_quality(found.head(0), corrupted)["f1"] == 0


def test_reviewing_in_order_of_doubt_beats_any_order():
    # Labels of a few rows a class: noise then costs accuracy.
    data = blobs(6, rows=12, spread=1.2)
    curves = pd.concat([review_curve(data, 0.25, seed=seed, steps=2, usd_a_review=0.5) for seed in (0, 1, 2)])
    worth = review_worth(curves).set_index(["order", "reviewed"])
    assert worth.loc[("doubt", 18), "usd"] == 9.0
    assert worth.loc[("doubt", 18), "accuracy"] > worth.loc[("random", 18), "accuracy"]
    none = curves[curves["reviewed"].eq(0) & curves["order"].eq("doubt")]
    np.testing.assert_allclose(none["accuracy"], none["dirty"])


def test_flags_of_a_task_name_its_labels_and_the_test_stays_as_it_is(tiny_task):
    wrong = np.array(tiny_task.train["label"][:])
    wrong[:4] = (wrong[:4] + 1) % 3
    task = with_labels(tiny_task, wrong)
    before = task.test["label"][:]
    found = find_label_errors(task, kind="lexical")
    assert set(range(4)) & set(found["row"])
    assert set(found["given"]) | set(found["suggested"]) <= set(task.labels)
    shown = find_label_errors(task, "test", kind="lexical")
    assert shown["row"].between(0, len(task.test) - 1).all()
    assert task.test["label"][:] == before
    assert tiny_task.train["label"][:4] != wrong[:4].tolist(), "the task that was given keeps its labels"


def test_unknown_splits_kinds_and_labels_are_refused(tiny_task):
    with pytest.raises(InputError, match="split"):
        find_label_errors(tiny_task, "training")
    with pytest.raises(InputError, match="pixels"):
        features(tiny_task, "pixels")
    with pytest.raises(InputError, match="do not fit"):
        with_labels(tiny_task, np.zeros(3, int))


def test_features_are_unit_rows_and_come_from_the_file_the_second_time(tiny_task):
    first, second = features(tiny_task, "lexical"), features(tiny_task, "lexical")
    lengths = np.linalg.norm(first.train, axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-5)
    assert isinstance(second.train, np.memmap)
    np.testing.assert_array_equal(first.train, second.train)


def test_damaged_vectors_are_quarantined_and_made_again(tiny_task, fresh_home):
    first = np.array(features(tiny_task, "lexical").train)
    [stored] = (fresh_home / "cache" / "embeddings").glob("*/train.npy")
    stored.write_bytes(stored.read_bytes()[:200])
    with pytest.warns(UserWarning, match="quarantined"):
        again = features(tiny_task, "lexical")
    np.testing.assert_array_equal(again.train, first)
    assert list(stored.parents[1].glob("*.damaged-1"))


@pytest.fixture
def odd_task(tmp_path):
    """Texts with damage of several kinds, at places that the test knows."""
    rows = [(f"where is the parcel number {n} of my order", "parcel") for n in range(30)]
    rows += [(f"the refund of my {n} euros is not with you", "money") for n in range(30)]
    rows += [("caf\u00c3\u00a9 and cr\u00c3\u00a8me for the office", "money")] * 2
    rows += [("1234 5678", "parcel"), ("die Lieferung ist nicht da und ich warte auf das Paket", "parcel"),
             ("same words", "parcel"), ("Same  words", "money"), ("\u0433\u0434\u0435 \u043c\u043e\u0439 "
                                                                   "\u0437\u0430\u043a\u0430\u0437", "parcel")]
    path = tmp_path / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return load_task(path)


def test_the_report_counts_what_was_put_in(odd_task):
    report = data_report(odd_task)
    total = report.groupby("check")["value"].sum()
    assert total["rows"] == 67
    assert total["damaged encoding"] == 2
    assert total["no letters"] == 1
    assert total["language: German"] == 1
    assert total["language: Cyrillic"] == 1
    rows = report[(report["check"] == "rows") & (report["split"] == "test")]
    assert rows["value"].iloc[0] == len(odd_task.test)
    shares = class_balance(odd_task).groupby("split")["share"].sum()
    np.testing.assert_allclose(shares, 1)


@pytest.mark.parametrize(("damaged", "whole"), [
    ("caf\u00c3\u00a9", "caf\u00e9"), ("it\u00e2\u20ac\u2122s", "it\u2019s"), ("plain", "plain"),
    ("\u00e4chzt", "\u00e4chzt"), ("lost \N{REPLACEMENT CHARACTER}", "lost \N{REPLACEMENT CHARACTER}"),
])
def test_utf8_that_was_read_as_windows_1252_is_repaired_and_the_rest_left(damaged, whole):
    assert repaired(damaged) == whole


def test_a_language_is_guessed_from_its_small_words():
    assert language_of("Je ne trouve pas la commande dans le compte") == "French"
    assert language_of("42") == "unclear"


def test_seconds_become_dollars_at_the_offers_price_for_one_processor():
    machine = offer("AWS m6i.large")
    assert compute_usd(3600.0) == pytest.approx(machine.on_demand_usd_hour / 2)
    watch = Watch()
    with watch.running():
        sum(range(200_000))
    assert 0 < watch.seconds < 5


def test_an_interval_is_students():
    # Mean 2, standard deviation 1, three values: t = 4.303.
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), rel=1e-4)
