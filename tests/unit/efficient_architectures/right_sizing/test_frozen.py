"""Encoders that are not trained: what their answers are made of."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import BertModel

from helpers.efficient_architectures.right_sizing.frozen import linear_probe, static_embeddings, zero_shot
from helpers.lab import load
from helpers.lab.training.heads import embed_rows


def test_zero_shot_tells_the_label_nearest_by_cosine(tiny_task, narrow_encoder):
    model = zero_shot(tiny_task, narrow_encoder)
    texts = tiny_task.test["text"][:]
    means, names = (embed_rows(model.module, model.encoder.encode(list(these))) for these in (texts, tiny_task.labels))
    cosines = torch.nn.functional.cosine_similarity(torch.tensor(means)[:, None], torch.tensor(names)[None], dim=2)
    np.testing.assert_array_equal(model.predict(texts).argmax(1), cosines.argmax(1))


def test_static_embeddings_are_the_head_on_the_mean_of_token_vectors(tiny_task, narrow_encoder, tmp_path):
    model = static_embeddings(tiny_task, narrow_encoder)
    texts = tiny_task.test["text"][:20]
    module = BertModel.from_pretrained(narrow_encoder).eval()
    rows, train = (model.encoder.encode(these) for these in (texts, tiny_task.train["text"][:]))
    vectors = module.embeddings.word_embeddings.weight.detach().numpy()
    counts = np.bincount(np.concatenate(train), minlength=len(vectors))
    weighed = (vectors - vectors.mean(0)) * (1e-3 / (1e-3 + counts / counts.sum()))[:, None]
    means = [np.stack([weighed[row].mean(0) for row in part]) for part in (train, rows)]
    scale = 1 / np.linalg.norm(means[0], axis=1).mean()
    probe = LogisticRegression(C=10, max_iter=500).fit(means[0] * scale, tiny_task.train["label"][:])
    np.testing.assert_allclose(model.predict(texts), probe.decision_function(means[1] * scale), atol=0.05)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), model.predict(texts))


def test_a_frozen_encoder_stays_what_was_published(tiny_task, narrow_encoder):
    model = linear_probe(tiny_task, narrow_encoder)
    published = BertModel.from_pretrained(narrow_encoder).state_dict()
    assert all(torch.equal(weight, published[name]) for name, weight in model.module.encoder.state_dict().items())
    right = (model.predict(tiny_task.train["text"][:]).argmax(1) == np.array(tiny_task.train["label"][:])).mean()
    assert right > 0.6  # one in three by chance
