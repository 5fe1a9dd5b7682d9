"""Mixed rows lie between their parents, and every method is compared with none."""

import numpy as np
import pytest
from tiny_features import blobs

from helpers.data_efficiency import augmentation_study
from helpers.data_efficiency.generation.augmentation import mixed
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress


def test_mixed_rows_lie_between_their_parents_and_so_do_their_labels():
    x, targets = np.eye(3, dtype=np.float32), np.eye(3)
    rows, labels = mixed(x, targets, copies=20, seed=0)
    np.testing.assert_allclose(rows, labels, atol=1e-6)
    np.testing.assert_allclose(labels.sum(1), 1)
    assert ((labels > 0.01).sum(1) == 2).any()


def test_a_study_has_a_row_for_each_method_budget_and_seed_with_none_beside_them(tiny_task):
    data = blobs(3, rows=len(tiny_task.train) // 3)
    heard = []
    runs = augmentation_study(tiny_task, data, (6, 12), ["mixup"], seeds=2,
                              progress=Progress(lambda share, _: heard.append(share)))
    assert heard == [number / 8 for number in range(8)]
    assert runs.groupby(["method", "labels"]).size().to_dict() == {
        (method, labels): 2 for method in ("none", "mixup") for labels in (6, 12)}


@pytest.mark.parametrize(("budgets", "methods"), [((6,), ["crossover"]), ((1,), ["mixup"]), ((10**6,), ["mixup"]),
                                                 ((), ["mixup"])])
def test_unknown_methods_and_budgets_are_refused(tiny_task, budgets, methods):
    with pytest.raises(InputError, match=r"\."):
        augmentation_study(tiny_task, blobs(3, rows=20), budgets, methods)


def test_no_copies_are_refused(tiny_task):
    with pytest.raises(InputError, match="at least one copy"):
        augmentation_study(tiny_task, blobs(3, rows=20), (6,), ["mixup"], copies=0)
