"""Dollars to the same accuracy, whoever labels: read off the runs of `annotation_study`, at prices of one's own."""

import numpy as np
import pandas as pd

from helpers.data_efficiency.options import USD_PER_LABEL
from helpers.data_efficiency.runs import first_at, judged, require_seeds
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval, paired_mean_interval, paired_mean_p
from helpers.lab.money.costs import compute_usd

PEOPLE, MODEL, DOUBTFUL = "people", "model", "model, people for the doubtful"
ANNOTATORS = (PEOPLE, MODEL, DOUBTFUL)
COUNTED = ["people", "model", "cpu_s"]  # labels of each, and the specialist's compute


def usd_to(runs: pd.DataFrame, accuracy: float, usd_per_model_label: float,
           usd_per_label: float = USD_PER_LABEL) -> pd.DataFrame:
    """What it costs to reach an accuracy, each way of labelling against people alone with the same seeds.

    Returns:
        Columns annotator, people, model (mean labels of each), usd (labels and the specialist's compute), saved_usd,
        saved_usd_low, saved_usd_high (paired, against people), p (Holm), significant, break_even_usd (the price of the
        model's label at which both cost the same; negative: not even for nothing), reached (share of seeds), within
        (labels that were tried). A way that did not get there with every seed has no figure: its last label is not the
        one that was enough. Nor has what is saved where people did not get there.

    Raises:
        InputError: one seed only, no runs of people alone, or a negative price.

    >>> import pandas as pd
    >>> from helpers.data_efficiency import usd_to
    >>> runs = pd.DataFrame([{"annotator": who, "seed": seed, "people": people, "model": model, "labels": 40,
    ...                       "cpu_s": 0.0, "accuracy": 0.8}
    ...                      for who, people, model in (("people", 40, 0), ("model", 0, 40)) for seed in (0, 1)])
    >>> usd_to(runs, 0.8, usd_per_model_label=0.01, usd_per_label=0.1)["usd"].round(2).tolist()
    [4.0, 0.4]
    """
    frame = compared_with_people(runs, accuracy, usd_per_model_label, usd_per_label)
    return frame.assign(**judged(frame["p"]))


def compared_with_people(runs: pd.DataFrame, accuracy: float, usd_per_model_label: float,
                         usd_per_label: float) -> pd.DataFrame:
    """The columns of `usd_to`, but for significant; p is of each comparison by itself."""
    require_seeds(runs)
    if PEOPLE not in set(runs["annotator"]):
        raise InputError("Bills are compared with those of people alone, and there is no run of them: keep the rows of "
                         f"annotation_study whose annotator is '{PEOPLE}'.")
    if usd_per_label < 0 or usd_per_model_label < 0:
        raise InputError(f"A label costs 0 or more, not {usd_per_label} and {usd_per_model_label}.")
    need = {who: _needed(group, accuracy) for who, group in runs.groupby("annotator")}
    prices, rows = np.array([usd_per_label, usd_per_model_label, compute_usd(1.0)]), []
    bills = {who: counts @ prices for who, counts in need.items()}  # (seeds,); NaN where it was not reached
    for who in runs["annotator"].unique():
        counts, known = need[who], not np.isnan(bills[who] - bills[PEOPLE]).any()
        saved = paired_mean_interval(bills[who], bills[PEOPLE]) if known else (np.nan, np.nan, np.nan)
        model_labels = counts[:, 1].mean()
        without = (need[PEOPLE] - counts)[:, [0, 2]].mean(0) @ prices[[0, 2]]  # saved if the model's labels were free
        rows.append({"annotator": who, "people": counts[:, 0].mean(), "model": model_labels, "usd": bills[who].mean(),
                     **dict(zip(("saved_usd", "saved_usd_low", "saved_usd_high"), saved, strict=True)),
                     "p": paired_mean_p(bills[who], bills[PEOPLE]) if known and who != PEOPLE else np.nan,
                     "break_even_usd": without / model_labels if model_labels > 0 else np.nan,
                     "reached": float((~np.isnan(bills[who])).mean()),
                     "within": int(runs.loc[runs["annotator"] == who, "labels"].max())})
    return pd.DataFrame(rows)


def paying_accuracy(swept: pd.DataFrame, annotator: str = DOUBTFUL) -> float:
    """The lowest accuracy of an annotator from which on each higher one saves significantly; NaN: none does.

    >>> import pandas as pd
    >>> from helpers.data_efficiency import paying_accuracy
    >>> swept = pd.DataFrame({"annotator": "model", "right": [0.5, 0.7, 0.9], "saved_usd": [-2.0, 1.0, 3.0],
    ...                       "significant": True})
    >>> paying_accuracy(swept, "model")
    0.7
    """
    rows = swept[swept["annotator"] == annotator].sort_values("right", ascending=False)
    pays = (rows["significant"] & (rows["saved_usd"] > 0)).to_numpy()
    from_top = int(np.argmin(pays)) if not pays.all() else len(pays)
    return float(rows["right"].iloc[from_top - 1]) if from_top else float("nan")


def cost_curves(runs: pd.DataFrame, usd_per_model_label: float, usd_per_label: float = USD_PER_LABEL) -> pd.DataFrame:
    """Accuracy over dollars.

    Returns:
        Columns annotator, labels, usd (mean, labels and the specialist's compute), accuracy, low, high (over seeds).

    >>> import pandas as pd
    >>> from helpers.data_efficiency import cost_curves
    >>> run = pd.DataFrame({"annotator": "people", "seed": [0, 1], "people": 30, "model": 0, "labels": 30, "cpu_s": 0.0,
    ...                     "accuracy": [0.5, 0.7]})
    >>> cost_curves(run, usd_per_model_label=0.01, usd_per_label=0.1)[["usd", "accuracy"]].round(3).values.tolist()
    [[3.0, 0.6]]
    """
    prices, rows = [usd_per_label, usd_per_model_label, compute_usd(1.0)], []
    for (who, labels), group in runs.groupby(["annotator", "labels"], sort=False):
        accuracy, low, high = mean_interval(group["accuracy"])
        rows.append({"annotator": who, "labels": labels, "usd": float((group[COUNTED] @ prices).mean()),
                     "accuracy": accuracy, "low": low, "high": high})
    return pd.DataFrame(rows)


def _needed(runs: pd.DataFrame, accuracy: float) -> np.ndarray:
    """(seeds, 3): labels of people, labels of the model and CPU seconds until an accuracy; NaN where it is not met."""
    return np.array([first_at(run.sort_values("labels"), accuracy, "accuracy", COUNTED)
                     for _, run in runs.groupby("seed")])
