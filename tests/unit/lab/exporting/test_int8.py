"""One int8: both strategies' models are the same, and long texts keep their attention."""

import numpy as np
import onnx
import pytest
import torch
from architectures import small_classifier
from tiny_models import make_tiny_model
from tokenizers import Tokenizer, models

from helpers.hardware_codesign import make, option
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.exporting.graph import onnx_graph
from helpers.lab.exporting.int8 import calibration_inputs, float_products
from helpers.lab.models.model import Card
from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization import quantize


@pytest.fixture(scope="module")
def texts(tiny_task):
    """Short ones, and two that fill all tokens."""
    return [*tiny_task.test["text"][:24], "hammer and rain " * 60, "the old cat was seen near a storm " * 30]


@pytest.mark.parametrize(("scheme", "runtime"), [("static-int8", "openvino"), ("dynamic-int8", "onnxruntime")])
def test_int8_is_the_same_model_in_both_strategies(tiny_model, tiny_task, texts, scheme, runtime):
    ours = quantize(tiny_model, tiny_task, scheme, runtime)
    theirs = make(tiny_model, option(runtime, "int8"), tiny_task)
    assert np.abs(ours.predict(texts) - tiny_model.predict(texts)).max() > 0  # it is quantized
    np.testing.assert_array_equal(ours.predict(texts), theirs.predict(texts))


def small_model(name: str) -> TorchTextModel:
    """Of an architecture, without a vocabulary: rows of ids are all that it reads."""
    encoder = TextEncoder(Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")), 64)
    return TorchTextModel(Card(name, 3), encoder, small_classifier(name))


@pytest.fixture(scope="module")
def evenly_attending(tiny_task):
    """A model of 512 places with keys of nothing: each token looks at all tokens of its text alike."""
    model = make_tiny_model(tiny_task, places=512)
    with torch.no_grad():
        for layer in model.module.encoder.encoder.layer:
            layer.attention.self.key.weight.zero_()
            layer.attention.self.key.bias.zero_()
    return model


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_static_int8_keeps_the_attention_of_long_texts(evenly_attending, tiny_task, runtime):
    """The shortest text has 4 tokens, 1/4 for each, so that a step of 8 bits is 1/1020: 1/400 would become 3/1020."""
    model = quantize(evenly_attending, tiny_task, "static-int8", runtime)
    short, long = tiny_task.test["text"][:24], ["the old cat was seen near a storm again " * 50] * 2
    errors = [np.abs(model.predict(texts) - evenly_attending.predict(texts)).max() for texts in (short, long)]
    assert errors[1] < errors[0]


def test_attentions_weighted_sums_and_the_asked_layers_stay_in_float(tiny_model):
    graph = onnx.load_from_string(onnx_graph(tiny_model))
    attention = float_products(graph)
    assert len(attention) == 2  # one a layer
    assert all("scaled_dot_product_attention" in name for name in attention)
    assert len(float_products(graph, ["classifier"])) == 3


def test_calibration_rows_are_training_rows_one_by_one(tiny_model, tiny_task):
    rows = calibration_inputs(tiny_model, tiny_task, 5)
    known = {tuple(ids) for ids in tiny_model.encoder.encode(tiny_task.train["text"][:])}
    assert len(rows) == 5
    assert all(tuple(row["input_ids"][0]) in known and row["attention_mask"].all() for row in rows)


@pytest.mark.parametrize("name", ["mpnet", "deberta-v2", "modernbert", "gpt2"])
def test_every_architectures_weighted_sums_stay_in_float(name):
    """Those that write the attention out by hand, too: whatever the exporter calls a softmax's product."""
    graph = onnx.load_from_string(onnx_graph(small_model(name)))
    attention = set(float_products(graph))
    assert len(attention) == 2  # one a layer
    softmaxes = [node for node in graph.graph.node if node.op_type == "Softmax"]
    for softmax in softmaxes:  # downstream of each, the first product is one of them
        reached, products = {softmax.output[0]}, []
        for node in graph.graph.node:
            if reached & set(node.input) and not products:
                reached.add(node.output[0])
                products += [node.name] if node.op_type in ("MatMul", "Gemm") else []
        assert set(products) <= attention
    assert len(softmaxes) == 2


def test_transposed_layers_stay_in_float_where_asked():
    layer = "classifier.transformer.h.0.mlp.c_fc"
    graph = onnx.load_from_string(onnx_graph(small_model("gpt2")))
    assert len(float_products(graph, [layer])) == 3
