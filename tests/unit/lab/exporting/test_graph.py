"""The same weights in another runtime: the same answers, and the original as it was."""

import copy

import numpy as np
import pytest
import torch
from architectures import build

from helpers.lab import InputError, export, load_pretrained
from helpers.lab.models.torch import TorchTextModel


@pytest.fixture(scope="module")
def models(tiny_model):
    return {"pytorch": tiny_model, "onnxruntime": export(tiny_model, "onnxruntime"),
            "openvino": export(tiny_model, "openvino")}


@pytest.fixture(scope="module")
def texts(tiny_task):
    """81 texts of 2 to 13 words, and one of 200."""
    return [*tiny_task.train["text"][:], "hammer and rain " * 70]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_export_answers_as_pytorch_does(models, texts, runtime):
    expected = models["pytorch"].predict(texts)
    assert np.ptp(expected, axis=0).min() > 0.1  # else nothing would be compared
    np.testing.assert_allclose(models[runtime].predict(texts), expected, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_export_has_the_same_parameters_and_says_its_runtime(models, runtime):
    card = models[runtime].card
    assert card.parameters == models["pytorch"].card.parameters
    assert card.settings["runtime"] == runtime
    assert card.made_in_s > models["pytorch"].card.made_in_s


def test_an_export_leaves_a_16_bit_model_as_it_was(tiny_model, texts):
    half = TorchTextModel(tiny_model.card, tiny_model.encoder, copy.deepcopy(tiny_model.module).to(torch.bfloat16))
    before = half.predict(texts[:4])
    export(half, "onnxruntime")
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.bfloat16}
    np.testing.assert_array_equal(half.predict(texts[:4]), before)


def test_an_unknown_runtime_is_answered_with_those_there_are(tiny_model):
    with pytest.raises(InputError, match=r"Unknown runtime 'tvm' to export to\. Choose one of: onnxruntime, openv"):
        export(tiny_model, "tvm")


def test_only_a_pytorch_model_is_exported(models):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be exported; '.*' runs in onnxruntime"):
        export(models["onnxruntime"], "openvino")


@pytest.mark.parametrize("tokens", [3, 4, 9])
def test_a_model_that_reads_few_tokens_is_exported(tiny_task, tmp_path, texts, tokens):
    """A sample text of 16 tokens was more than its graph was said to take."""
    build("bert", tmp_path / "short", tiny_task.train["text"][:], tiny_task.labels)
    model = load_pretrained(tmp_path / "short", tiny_task, max_length=tokens)
    for runtime in ("onnxruntime", "openvino"):
        np.testing.assert_allclose(export(model, runtime).predict(texts), model.predict(texts), atol=1e-4)
