"""A linear head on fixed embeddings."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from helpers.lab import Cancelled
from helpers.lab.data.tokenizer import pad
from helpers.lab.progress import Progress
from helpers.lab.training.heads import embed_rows, fit_head, fit_linear_head, pretrained


def test_a_fitted_head_gives_the_logistic_regressions_probabilities():
    rng = np.random.default_rng(0)
    for classes in (2, 4):
        means = rng.normal(size=(200, 6)).astype(np.float32)
        labels = (means @ rng.normal(size=(6, classes))).argmax(1)
        weight, bias = fit_head(means, labels, classes)
        logits = means @ weight.T + bias
        odds = np.exp(logits - logits.max(1, keepdims=True))
        expected = LogisticRegression(C=10, max_iter=500).fit(means, labels).predict_proba(means)
        np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), expected, atol=1e-4)


def test_a_class_without_a_row_never_wins():
    weight, bias = fit_head(np.eye(4, dtype=np.float32), [0, 0, 2, 2], 4)
    assert set((np.eye(4) @ weight.T + bias).argmax(1)) == {0, 2}


def test_rows_are_embedded_as_each_would_be_alone(narrow_encoder):
    module, tokenizer = pretrained(narrow_encoder, 3)
    rows = tokenizer.encode(["a cat", "a very long text about a whale in the rain", "fog"] * 15)
    means = embed_rows(module, rows)
    for row, mean in zip(rows[:3], means, strict=False):
        ids, mask = (torch.from_numpy(array) for array in pad([row]))
        with torch.inference_mode():
            np.testing.assert_allclose(mean, module.embed(ids, mask)[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_head_put_on_an_encoder_gives_the_probes_probabilities(narrow_encoder, classes):
    module, tokenizer = pretrained(narrow_encoder, classes)
    rows = tokenizer.encode([f"word {number} of a text" for number in range(60)])
    labels = np.random.default_rng(classes).integers(0, classes, 60)
    fit_linear_head(module, rows, labels.tolist())
    means = embed_rows(module, rows)
    expected = LogisticRegression(C=10, max_iter=500).fit(means, labels).predict_proba(means)
    with torch.inference_mode():
        result = module.classifier(torch.from_numpy(means)).softmax(dim=1).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_embedding_can_be_cancelled(narrow_encoder):
    module, tokenizer = pretrained(narrow_encoder, 3)
    with pytest.raises(Cancelled):
        embed_rows(module, tokenizer.encode(["a", "b"]), Progress(cancelled=lambda: True))
