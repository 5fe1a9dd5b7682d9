"""Models in ONNX Runtime."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest

from helpers.lab.data.tokenizer import pad
from helpers.lab.models.onnx import session


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="it is fast on a GPU")
def test_the_fused_layer_norm_that_is_slow_on_a_cpu_is_left_out(models, texts, tmp_path):
    ours = session(models["onnxruntime"].graph, 1, tmp_path / "ours")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "default")
    default = onnxruntime.InferenceSession(str(models["onnxruntime"].graph), options)
    feed = dict(zip(("input_ids", "attention_mask"), pad(models["onnxruntime"].encoder.encode(texts[:8])), strict=True))
    answers, operators = [], []
    for one in (ours, default):
        answers.append(one.run(["logits"], feed)[0])
        events = json.loads(Path(one.end_profiling()).read_text(encoding="utf-8"))
        operators.append({event["args"].get("op_name") for event in events if event.get("cat") == "Node"})
    assert "SkipLayerNormalization" not in operators[0]
    assert "SkipLayerNormalization" in operators[1]  # else there is nothing to leave out any more
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_at_rest_a_session_gives_back_what_a_large_batch_took_and_answers_as_before(models, texts):
    model, process = models["onnxruntime"], psutil.Process()
    before = model.predict(texts)
    ids = np.ones((16_384, 32), np.int64)
    model._logits(ids, ids)
    used = process.memory_info().rss
    model.rest()
    assert used - process.memory_info().rss > 50e6
    np.testing.assert_array_equal(model.predict(texts), before)
