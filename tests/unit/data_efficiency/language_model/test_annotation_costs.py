"""Dollars are read between the points and paired; what was not reached has no figure."""

import numpy as np
import pandas as pd
import pytest

from helpers.data_efficiency import cost_curves, paying_accuracy, usd_to
from helpers.data_efficiency.language_model.annotation_costs import ANNOTATORS

PEOPLE, MODEL, DOUBTFUL = ANNOTATORS


def run_of(who, seed, people, model, accuracy):
    return pd.DataFrame({"annotator": who, "seed": seed, "people": people, "model": model, "cpu_s": 0.0,
                         "labels": [30, 60, 90], "accuracy": accuracy, "validation": accuracy})


def test_dollars_to_an_accuracy_are_read_between_the_points_and_paired():
    runs = pd.concat([run_of(PEOPLE, 0, [30, 60, 90], 0, [0.5, 0.7, 0.9]),
                      run_of(PEOPLE, 1, [30, 60, 90], 0, [0.4, 0.6, 0.8]),
                      run_of(DOUBTFUL, 0, [10, 20, 30], [20, 40, 60], [0.5, 0.7, 0.9]),
                      run_of(DOUBTFUL, 1, [10, 20, 30], [20, 40, 60], [0.5, 0.7, 0.9]),
                      run_of(MODEL, 0, 0, [30, 60, 90], [0.5, 0.6, 0.7]),
                      run_of(MODEL, 1, 0, [30, 60, 90], [0.5, 0.6, 0.9])])
    result = usd_to(runs, 0.8, usd_per_model_label=0.1, usd_per_label=1.0).set_index("annotator")
    assert result.loc[PEOPLE, "usd"] == pytest.approx((75 + 90) / 2)
    assert result.loc[DOUBTFUL, "usd"] == pytest.approx(25 + 5.0)
    assert result.loc[DOUBTFUL, "saved_usd"] == pytest.approx((75 + 90) / 2 - 30)
    # The model's label may cost as much as makes both bills alike: (82.5 - 25) dollars for 50 of them.
    assert result.loc[DOUBTFUL, "break_even_usd"] == pytest.approx(57.5 / 50)
    dearer = usd_to(runs, 0.8, usd_per_model_label=57.5 / 50, usd_per_label=1.0).set_index("annotator")
    assert dearer.loc[DOUBTFUL, "saved_usd"] == pytest.approx(0, abs=1e-9)
    unknown = ["people", "model", "usd", "saved_usd", "saved_usd_low", "p", "break_even_usd"]
    assert result.loc[MODEL, unknown].isna().all()  # one of two seeds stopped at 90 labels: these were not enough
    assert (result.loc[MODEL, "reached"], result.loc[MODEL, "within"]) == (0.5, 90)
    assert not result.loc[MODEL, "significant"]


def test_the_accuracy_that_pays_is_the_lowest_from_which_on_all_pay():
    def swept(pays):
        return pd.DataFrame({"annotator": DOUBTFUL, "right": [0.5, 0.7, 0.9, 0.95], "significant": True,
                             "saved_usd": [1.0 if yes else -1.0 for yes in pays]})
    assert paying_accuracy(swept([True, False, True, True])) == 0.9
    assert paying_accuracy(swept([True] * 4)) == 0.5
    assert np.isnan(paying_accuracy(swept([True, True, True, False])))
    assert np.isnan(paying_accuracy(swept([True] * 4).assign(significant=False)))


def test_curves_are_means_over_the_seeds_in_dollars():
    runs = pd.concat([run_of(DOUBTFUL, 0, [10, 20, 30], [20, 40, 60], [0.5, 0.7, 0.9]),
                      run_of(DOUBTFUL, 1, [10, 20, 30], [20, 40, 60], [0.7, 0.9, 0.9])])
    curve = cost_curves(runs, usd_per_model_label=0.01, usd_per_label=1.0)
    assert curve["usd"].tolist() == pytest.approx([10.2, 20.4, 30.6])
    assert curve["accuracy"].tolist() == pytest.approx([0.6, 0.8, 0.9])
    assert (curve["low"] <= curve["accuracy"]).all()
