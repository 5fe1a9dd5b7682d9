"""Cascades: temperatures, thresholds with a guarantee, costs, and what drift does to them."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from helpers.efficient_architectures import (
    build_cascade,
    calibrate,
    choose_threshold,
    curve,
    fit_temperature,
    follow,
    hard_rows,
    resampled,
    rows_needed,
    surest_within,
    under_drift,
    with_typos,
)
from helpers.efficient_architectures.right_sizing.rungs import most_frequent
from helpers.lab import InputError, load, tfidf_baseline


def made_up_stages(rows: int, seed: int, skills=(1.0, 2.5)) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits of independent stages on 4 classes, better with more skill, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rows)
    ease = rng.gamma(2.0, 1.0, rows)[:, None]
    return [rng.normal(size=(rows, 4)) + skill * ease * np.eye(4)[labels] for skill in skills], labels


def test_temperature_is_the_one_that_a_grid_search_finds():
    stages, labels = made_up_stages(400, seed=0)
    logits = 3 * stages[0]
    grid = np.geomspace(0.5, 10, 300)
    surprise = [log_loss(labels, np.exp(log_softmax(logits / t, axis=1)), labels=range(4)) for t in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmin(surprise)], rel=0.012)


def test_logits_drawn_from_their_own_probabilities_have_temperature_one():
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(20_000, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(logits * 4, labels) == pytest.approx(4, abs=0.12)


def test_the_loss_on_fresh_rows_stays_within_the_target_on_average():
    """Theorem 1 of arXiv 2208.02814, with a margin of three standard errors."""
    lost = []
    for seed in range(200):
        stages, labels = made_up_stages(700, seed)
        choice = choose_threshold([stage[:200] for stage in stages], labels[:200], lose_at_most=3.0)
        lost.append(follow([stage[200:] for stage in stages], labels[200:], [1, 9], choice.threshold).lost)
    assert np.mean(lost) <= 0.03 + 3 * np.std(lost) / np.sqrt(len(lost))
    assert np.mean(lost) > 0.015, "and it is no excuse for escalating everything"


@pytest.mark.parametrize("skills", [(1.0, 2.5), (0.7, 1.5, 3.0)])
def test_the_chosen_threshold_is_the_lowest_that_the_rule_allows(skills):
    """Row by row, by brute force over all thresholds at which an answer can change."""
    stages, labels = made_up_stages(120, seed=5, skills=skills)
    choice = choose_threshold(stages, labels, lose_at_most=5.0)
    sure = [np.exp(log_softmax(stage, axis=1)).max(axis=1) for stage in stages[:-1]]

    def losses(threshold):
        found = []
        for row, label in enumerate(labels):
            told = next((stage[row].argmax() for stage, own in zip(stages, sure, strict=False)
                         if own[row] >= threshold), stages[-1][row].argmax())
            found.append(told != label and stages[-1][row].argmax() == label)
        return np.array(found)

    places = np.sort(np.concatenate([*sure, [2.0]]))
    worst, allowed = np.zeros(len(labels), bool), []
    for threshold in places[::-1]:  # charged the worst at this threshold and above
        worst |= losses(threshold)
        if (worst.sum() + 1) / (len(labels) + 1) > 0.05:
            break
        allowed.append(threshold)
    assert (losses(choice.threshold) == losses(allowed[-1])).all()
    assert choice.lost == losses(allowed[-1]).mean()


def test_accuracy_is_kept_on_average_where_gains_make_up_for_losses():
    """With many held-out rows; and then fewer rows have to go on than where losses alone count."""
    differences, escalated = [], []
    for seed in range(40):
        stages, labels = made_up_stages(4000, seed, skills=(1.0, 1.6))
        for counting in ("net", "lost"):
            choice = choose_threshold([stage[:2000] for stage in stages], labels[:2000], 3.0, counting)
            found = follow([stage[2000:] for stage in stages], labels[2000:], [1, 9], choice.threshold)
            if counting == "net":
                differences.append(found.last_accuracy - found.accuracy)
            escalated.append(found.answered[1])
    assert np.mean(differences) <= 0.03 + 3 * np.std(differences) / np.sqrt(len(differences))
    assert np.mean(escalated[::2]) < np.mean(escalated[1::2])


def test_without_enough_rows_the_last_stage_answers_everything():
    stages, labels = made_up_stages(50, seed=2)
    found = follow(stages, labels, [1, 10], choose_threshold(stages, labels, lose_at_most=1.0).threshold)
    assert found.answered == (0.0, 1.0)
    assert rows_needed(1.0) == 99


def test_cost_adds_up_every_stage_that_a_row_passes():
    sure, unsure = [9.0, 0, 0], [0.1, 0, 0]
    stages = [np.array([sure, unsure, unsure, unsure]), np.array([sure, sure, unsure, unsure]),
              np.array([sure, sure, sure, unsure])]
    found = follow(stages, np.zeros(4, int), [1.0, 2.0, 10.0], threshold=0.9)
    assert found.answered == (0.25, 0.25, 0.5)
    assert found.cost == pytest.approx((1 + 3 + 13 + 13) / 4)
    assert found.cost_share == pytest.approx(found.cost / 10)
    weighted = follow(stages, np.zeros(4, int), [1.0, 2.0, 10.0], 0.9, weights=np.array([3, 1, 0, 0]))
    assert weighted.cost == pytest.approx((3 * 1 + 3) / 4)


def test_the_curve_ends_at_the_first_stage_and_at_the_last():
    stages, labels = made_up_stages(300, seed=3)
    found = curve(stages, labels, [1, 10], thresholds=[0.0, 0.8, 1.5])
    assert found["accuracy"].iloc[0] == (stages[0].argmax(1) == labels).mean()
    assert found["accuracy"].iloc[-1] == (stages[1].argmax(1) == labels).mean()
    assert found["cost_share"].is_monotonic_increasing
    assert found["cost_share"].iloc[-1] == pytest.approx(1.1)


def test_harder_traffic_costs_more_and_the_plain_mix_is_the_weighted_mean():
    stages, labels = made_up_stages(400, seed=4)
    hard = hard_rows(stages, 0.25)
    assert hard.mean() == pytest.approx(0.25, abs=0.01)
    found = under_drift(stages, labels, [1, 10], 0.8, hard, shares=[0.0, float(hard.mean()), 1.0])
    assert found["cost_share"].is_monotonic_increasing
    plain = follow(stages, labels, [1, 10], 0.8)
    assert found["accuracy"].iloc[1] == pytest.approx(plain.accuracy)
    assert found["escalated"].iloc[1] == pytest.approx(plain.answered[1])


def test_typos_change_letters_only_and_as_many_as_asked():
    text = "Where is my parcel? " * 200
    typed = with_typos([text], 0.1)[0]
    changed = [(one, other) for one, other in zip(text, typed, strict=True) if one != other]
    assert len(changed) / sum(letter.isalpha() for letter in text) == pytest.approx(0.1, abs=0.015)
    assert all(one.isalpha() for one, _ in changed)
    assert with_typos([text], 0.0) == [text]


def test_resampling_counts_how_often_the_quality_is_kept():
    stages, labels = made_up_stages(300, seed=6)
    assert resampled(stages, labels, [1, 10], threshold=2.0) == 1.0  # the last stage alone
    assert resampled(stages[::-1], labels, [1, 10], threshold=2.0, keep=1.5) == 0.0


@pytest.fixture(scope="module")
def stages(tiny_task, tiny_model):
    return [calibrate(most_frequent(tiny_task), tiny_task), calibrate(tfidf_baseline(tiny_task), tiny_task)]


def test_a_calibrated_model_gives_the_same_answers_with_other_probabilities(tiny_task, tiny_model):
    texts = tiny_task.test["text"][:]
    for model in (tfidf_baseline(tiny_task), tiny_model):
        cooler = calibrate(model, tiny_task)
        t = cooler.card.settings["temperature"]
        expected = log_softmax(model.predict(texts) / t, axis=1)
        np.testing.assert_allclose(log_softmax(cooler.predict(texts), axis=1), expected, atol=1e-4)


def test_a_cascade_of_three_predicts_the_same_after_a_reload(stages, tiny_task, tiny_model, tmp_path):
    model = build_cascade([*stages, tiny_model], tiny_task, lose_at_most=50.0)
    texts = tiny_task.test["text"][:]
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), model.predict(texts))
    logits = [log_softmax(stage.predict(texts), axis=1) for stage in (*stages, tiny_model)]
    found = follow(logits, np.array(tiny_task.test["label"][:]), [1, 2, 3], model.threshold)
    assert (model.predict(texts).argmax(1) == np.array(tiny_task.test["label"][:])).mean() == found.accuracy


@pytest.mark.parametrize("skills", [(1.0, 2.5), (0.7, 1.5, 3.0)])
def test_the_surest_threshold_spends_what_the_budget_allows(skills):
    """By brute force: one row more sent on to a later stage would be too much for the interval's upper end."""
    stages, labels = made_up_stages(120, seed=5, skills=skills)
    seconds = [1.0, 3.0, 9.0][-len(skills):]

    def most(threshold: float) -> float:
        costs = [follow([stage[[row]] for stage in stages], labels[[row]], seconds, threshold).cost_share
                 for row in range(len(labels))]
        return np.mean(costs) + 1.645 * np.std(costs) / np.sqrt(len(costs))

    threshold = surest_within(stages, seconds, 0.6)
    assert most(threshold) <= 0.6
    sure = np.concatenate([np.exp(log_softmax(stage, axis=1)).max(axis=1) for stage in stages[:-1]])
    assert most(np.nextafter(sure[sure > threshold].min(), 2.0)) > 0.6
    assert surest_within(stages, seconds, 10.0) > 1, "with enough to spend, the last stage answers all"


def test_fresh_rows_cost_no_more_than_the_budget_nineteen_times_in_twenty():
    within = []
    for seed in range(300):
        stages, labels = made_up_stages(5200, seed)
        threshold = surest_within([stage[:200] for stage in stages], [1.0, 9.0], 0.5)
        within.append(follow([stage[200:] for stage in stages], labels[200:], [1.0, 9.0], threshold).cost_share <= 0.5)
    assert np.mean(within) > 0.92  # 0.95 less two and a half standard errors


@pytest.mark.parametrize("wrong", [
    lambda: surest_within([np.zeros((3, 2))] * 2, [1.0, 2.0], 0.4),
    lambda: choose_threshold([np.zeros((3, 2))], np.zeros(3), 1.0),
    lambda: choose_threshold([np.zeros((3, 2)), np.zeros((2, 2))], np.zeros(3), 1.0),
    lambda: choose_threshold([np.zeros((3, 2))] * 2, np.zeros(3), 0.0),
    lambda: choose_threshold([np.zeros((3, 2))] * 2, np.zeros(3), 1.0, counting="all"),
    lambda: follow([np.zeros((3, 2))] * 2, np.zeros(3), [1.0], 0.5),
    lambda: fit_temperature(np.zeros((0, 3)), np.zeros(0)),
    lambda: under_drift([np.zeros((3, 2))] * 2, np.zeros(3), [1, 2], 0.5, np.ones(3)),
    lambda: with_typos(["a"], 2.0),
    lambda: hard_rows([np.zeros((3, 2))], 0.0),
    lambda: rows_needed(0.0),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()


def test_a_guarantee_that_the_rows_cannot_give_is_refused(stages, tiny_task):
    with pytest.raises(InputError, match="validation rows"):
        build_cascade(stages, tiny_task, lose_at_most=0.5)
