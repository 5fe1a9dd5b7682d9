"""Peers are what their documents say, with our budget."""

import io

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from joblib.externals.loky import ProcessPoolExecutor
from letter_triples import triples

from benchmarks.peers.data import datasketch_pairs, letter_triples, semhash_pairs, small_text_queries
from benchmarks.peers.optimization import (
    default_optimizers,
    model2vec_recipes,
    sentence_transformers_recipe,
    torch_pruning_recipes,
)
from benchmarks.peers.recipes import loadable_peers, onnxruntime_recipe, openvino_recipe, pytorch_recipe
from helpers.data_efficiency import STRATEGIES, Pool, fit
from helpers.lab import export, load
from helpers.lab.data.shingles import Packed, hashed
from helpers.lab.exporting.graph import onnx_graph
from helpers.model_optimization import anatomy, prune

TEXTS = ["where is my order", "a refund please", "where is my order", "the parcel came broken and wet yesterday",
         "the parcel came broken and wet yesterdays"]


@pytest.fixture(scope="module")
def pruned(tiny_model, tiny_task):
    """Ours, and both of Torch-Pruning's."""
    budget = {"epochs": 1.0, "augmented": 1, "learning_rate": 2e-4}
    ours = prune(tiny_model, tiny_task, "structured", 0.5, teacher=tiny_model, **budget)
    return ours, torch_pruning_recipes(tiny_model, tiny_task, **budget)


def test_torch_pruning_gets_our_budget(pruned):
    ours, peers = pruned
    for name in ("epochs", "augmented", "teacher", "learning_rate"):
        assert [peer.card.settings[name] for peer in peers] == 2 * [ours.card.settings[name]]


def test_torch_pruning_prunes_what_its_documents_prune(pruned, tiny_model, tiny_task):
    whole, (example, advised) = anatomy(tiny_model.module), [
        anatomy(torch.load(io.BytesIO(peer.files["model.pt"]), weights_only=False)) for peer in pruned[1]]
    assert advised.width == whole.width
    assert advised.heads == [heads // 2 for heads in whole.heads]
    assert advised.neurons == [neurons // 2 for neurons in whole.neurons]
    assert example.width < whole.width
    assert sum(example.heads) == sum(whole.heads) // 2  # over the whole model, not layer by layer
    for peer in pruned[1]:
        assert peer.predict(tiny_task.test["text"][:5]).shape == (5, 3)


@pytest.fixture(scope="module")
def peers(pruned, tiny_model, tiny_task) -> dict:
    """One of each way in which peers are saved and run, by name."""
    made = [onnxruntime_recipe(tiny_model), openvino_recipe(tiny_model, tiny_task), pytorch_recipe(tiny_model),
            default_optimizers(export(tiny_model, "onnxruntime", streams=2)), *pruned[1],
            *model2vec_recipes(tiny_model, tiny_task, augmented=0)]
    return {peer.card.name: peer for peer in made}


def test_peers_answer_the_same_in_a_fresh_process(peers, tiny_task, tmp_path):
    texts = tiny_task.test["text"][:8]
    for number, peer in enumerate(peers.values()):
        peer.save(tmp_path / str(number))
    with loadable_peers(), ProcessPoolExecutor(1) as pool:
        for number, (name, peer) in enumerate(peers.items()):
            answers = pool.submit(lambda folder: load(folder).predict(texts), tmp_path / str(number)).result()
            np.testing.assert_allclose(answers, peer.predict(texts), atol=1e-5, err_msg=name)


def test_model2vec_learns_from_labels_and_from_the_teacher(tiny_model, tiny_task):
    plain, taught = model2vec_recipes(tiny_model, tiny_task, augmented=2)
    assert [peer.card.settings["augmented"] for peer in (plain, taught)] == [0, 2]
    labels = np.array(tiny_task.test["label"][:])
    assert (plain.predict(tiny_task.test["text"][:]).argmax(axis=1) == labels).mean() > 0.5


def test_sentence_transformers_quantizes_all_products_and_no_embedding(tiny_model):
    plain, made = (onnx.load_from_string(content) for content in (
        onnx_graph(tiny_model), sentence_transformers_recipe(tiny_model).files["model.onnx"]))
    products = [node for node in plain.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert [node.op_type for node in made.graph.node].count("MatMulInteger") == len(products)
    table = max(made.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    assert table.data_type == onnx.TensorProto.FLOAT


def test_duplicate_peers_find_a_copy_and_a_near_copy():
    vectors = hashed(Packed(TEXTS), 256)
    cosine = vectors @ vectors.T
    expected = {(row, twin) for row in range(5) for twin in range(row) if cosine[row, twin] >= 0.9}
    assert expected == {(2, 0), (4, 3)}
    assert pairs_of(semhash_pairs(TEXTS, vectors)) == expected
    assert pairs_of(datasketch_pairs(TEXTS)) == {(2, 0)}  # one word in seven is another one
    assert pairs_of(datasketch_pairs(TEXTS, letter_triples, 0.7)) == expected


def pairs_of(frame: pd.DataFrame) -> set[tuple[int, int]]:
    return set(map(tuple, frame[["row", "twin"]].to_numpy().tolist()))


def test_letter_triples_are_those_of_ours():
    for text in TEXTS:
        assert {int.from_bytes(one.encode(), "big") for one in letter_triples(text)} == triples(text)


def test_small_text_is_asked_for_the_same_rows(tiny_task):
    x = hashed(Packed(tiny_task.train["text"][:]), 64)
    y = np.array(tiny_task.train["label"][:])
    rest, known = np.arange(len(x) // 2), np.arange(len(x) // 2, len(x))
    pool = Pool(x, known, rest, fit(x[known], y[known], 3), np.random.default_rng(0))
    for name, query in small_text_queries(pool, y, 5).items():
        assert set(STRATEGIES[name](pool, 5).tolist()) == set(np.asarray(query()).tolist()), name
