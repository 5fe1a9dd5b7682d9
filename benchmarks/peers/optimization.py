"""Other projects' ways to a cheaper classifier, with the settings that their own documents give."""

import contextlib
import copy
import dataclasses
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.recipes import Recipe
from helpers.lab.data.task import Task
from helpers.lab.exporting.graph import onnx_graph
from helpers.lab.models.model import Card
from helpers.lab.models.onnx import OnnxTextModel
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.training.baselines import mean_tokens
from helpers.lab.training.fine_tuning import fine_tune
from helpers.model_optimization import anatomy
from helpers.model_optimization.distillation.word_students import principal_components, token_vectors


def sentence_transformers_recipe(model: TorchTextModel) -> Recipe:
    """sbert.net, 'Speeding up Inference': dynamic int8, per channel, as its avx512 configurations set it.

    Its own function needs optimum-onnx, which pins an older transformers; what that calls is called here.
    """
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        plain, target = (Path(folder) / f"{name}.onnx" for name in ("plain", "int8"))
        plain.write_bytes(onnx_graph(model))
        quantize_dynamic(plain, target, per_channel=True, weight_type=QuantType.QInt8,
                         op_types_to_quantize=["MatMul", "Attention", "LSTM", "Gather", "Transpose",
                                               "EmbedLayerNormalization"])
        artefact = target.read_bytes()
    session = onnxruntime.InferenceSession(artefact, providers=["CPUExecutionProvider"])
    return Recipe("sentence-transformers' recipe", model,
                  lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0], artefact)


def default_optimizers(model: OnnxTextModel) -> OnnxTextModel:
    """The same graph with all that ONNX Runtime fuses by itself; ours leaves out what is slow on a CPU."""
    import onnxruntime

    card = dataclasses.replace(model.card, name=f"{model.card.name}, ONNX Runtime's own fusions")
    peer = OnnxTextModel(card, model.encoder, model.graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = peer.threads_per_stream
    peer.session = onnxruntime.InferenceSession(str(peer.graph), options, providers=["CPUExecutionProvider"])
    return peer


def torch_pruning_recipe(model: TorchTextModel, task: Task, epochs: float) -> TorchTextModel:
    """Torch-Pruning's BERT example: L2 group importance, half of the neurons and heads, then fine-tuning."""
    import torch_pruning

    began = time.perf_counter()
    module = copy.deepcopy(model.module).cpu()
    module.encoder.set_attn_implementation("eager")
    structure = anatomy(module)
    heads = {linear: count for layer, count in zip(structure.layers, structure.heads, strict=True)
             for attention in [layer.attention.self] for linear in (attention.query, attention.key, attention.value)}
    inputs = tuple(torch.ones(1, 8, dtype=torch.int64) for _ in range(2))
    keep = [module.classifier, *(part for layer in structure.layers for part in (layer.attention.output.dense,
                                                                                 layer.output.dense))]
    pruner = torch_pruning.pruner.BasePruner(
        module, inputs, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.5,
        num_heads=heads, prune_num_heads=True, prune_head_dims=False, head_pruning_ratio=0.5, ignored_layers=keep)
    pruner.step()
    for layer in structure.layers:
        attention = layer.attention.self
        attention.num_attention_heads = pruner.num_heads[attention.query]
        attention.all_head_size = attention.query.out_features
    module.encoder.set_attn_implementation("sdpa")
    fine_tune(module, model.encoder.encode(task.train["text"][:]), task.train["label"][:], epochs=epochs,
              learning_rate=1e-4)
    card = dataclasses.replace(model.card.derive("Torch-Pruning's recipe", "peer", time.perf_counter() - began),
                               parameters=count_parameters(module),
                               macs=count_macs(module, mean_tokens(task, model.encoder)))
    return TorchTextModel(card, model.encoder, module)


class Model2VecPeer:
    """model2vec's static classifier as a Model."""

    runtime = "peer"

    def __init__(self, card: Card, classifier: object) -> None:
        self.card, self._classifier = card, classifier

    def predict(self, inputs: list[str]) -> np.ndarray:
        """(n, classes) float32 log-probabilities."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        order = np.argsort(self._classifier.classes_.astype(int))
        return np.log(self._classifier.predict_proba(list(inputs))[:, order] + 1e-12).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write what its own project writes."""
        self._classifier.save_pretrained(str(path))


def model2vec_recipe(model: TorchTextModel, task: Task) -> Model2VecPeer:
    """Its documents' way: token vectors, 256 principal components, SIF weights by rank, a classifier fitted on top.

    Its `distill` needs an older transformers; the vectors are those of the same teacher, computed as it
    computes them, and its own classes train and answer.
    """
    from model2vec import StaticModel
    from model2vec.train import StaticModelForClassification
    from tokenizers import Tokenizer

    began = time.perf_counter()
    vectors = principal_components(token_vectors(model), min(256, model.module.config.hidden_size))
    frequency = 1 / np.arange(2, len(vectors) + 2)  # by rank, after Zipf
    vectors = vectors * (1e-4 / (1e-4 + frequency / frequency.sum()))[:, None]
    with tempfile.TemporaryDirectory() as folder:
        model.encoder.save(Path(folder) / "tokenizer.json")
        tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    static = StaticModel(vectors.astype(np.float32), tokenizer)
    classifier = StaticModelForClassification.from_static_model(model=static)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        classifier.fit(task.train["text"][:], [str(label) for label in task.train["label"][:]])
    card = Card("model2vec's recipe", len(task.labels), "peer", {"runtime": "pytorch"},
                made_in_s=time.perf_counter() - began)
    return Model2VecPeer(card, classifier.to_pipeline())
