"""Other projects' ways to a cheaper classifier, with the settings that their own documents give."""

import contextlib
import copy
import dataclasses
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.recipes import Recipe, module_files
from helpers.lab.data.task import Task
from helpers.lab.exporting.graph import onnx_graph
from helpers.lab.machine import instruction_sets
from helpers.lab.models.model import Card, saving
from helpers.lab.models.onnx import OnnxTextModel
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization import anatomy
from helpers.model_optimization.distillation.training import make_transfer_set, teacher_logits, train_student
from helpers.model_optimization.distillation.word_students import principal_components, token_vectors

TAYLOR_BATCHES, TAYLOR_BATCH = 10, 64  # as Torch-Pruning's scripts for transformers set them


def sentence_transformers_recipe(model: TorchTextModel) -> Recipe:
    """sbert.net, 'Speeding up Inference': dynamic int8 in the configuration of this machine's instruction set.

    Its own function needs optimum-onnx, which pins an older transformers; what its AutoQuantizationConfig says is
    said here: all products per channel, those of attention too, unsigned weights on AVX2.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    unsigned = "AVX2" in instruction_sets() and not any(name.startswith("AVX-512") for name in instruction_sets())
    with tempfile.TemporaryDirectory() as folder:
        plain, target = (Path(folder) / f"{name}.onnx" for name in ("plain", "int8"))
        plain.write_bytes(onnx_graph(model))
        quantize_dynamic(plain, target, per_channel=True,
                         weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                         op_types_to_quantize=["MatMul", "Add"],
                         extra_options={"WeightSymmetric": True, "ActivationSymmetric": False, "EnableSubgraph": False,
                                        "MatMulConstBOnly": False})
        return Recipe.of("sentence-transformers' recipe", model, "onnxruntime", {"model.onnx": target.read_bytes()})


def default_optimizers(model: OnnxTextModel) -> Recipe:
    """The same graph with all that ONNX Runtime fuses by itself; ours leaves out what is slow on a CPU."""
    step = model.card.settings.get("micro_batch", model.micro_batch)
    return Recipe.of(f"{model.card.name}, ONNX Runtime's own fusions", model, "onnxruntime in streams",
                     {"model.onnx": model.graph.read_bytes()}, micro_batch=step)


def torch_pruning_recipes(model: TorchTextModel, task: Task, *, epochs: float, augmented: int,
                          learning_rate: float) -> list[Recipe]:
    """Torch-Pruning's BERT example, and what its README advises for transformers, fine-tuned with our budget.

    The example (examples/transformers/prune_hf_bert.py) removes half of all widths, the residual stream's too, and
    half of the heads, in one step, by mean L2 norms compared over the whole model. The README advises first-order
    importance from 10 batches of 64 rows; with that, the widths inside of the layers alone are halved, each layer's
    by half ('bottleneck', 'uniform'). The project has no fine-tuning for BERT: both get the training rows, altered
    copies, teacher, epochs and learning rate that `prune` gets.
    """
    from torch_pruning.pruner.importance import GroupTaylorImportance, MagnitudeImportance

    transfer_set = make_transfer_set(task, (), augmented, seed=0)
    logits = teacher_logits(model, transfer_set.texts)
    ways = (("Torch-Pruning's BERT example", MagnitudeImportance(p=2, group_reduction="mean"), True),
            ("Torch-Pruning, as its README advises", GroupTaylorImportance(), False))
    peers = []
    for name, importance, whole in ways:
        began = time.perf_counter()
        module = copy.deepcopy(model.module).cpu()
        _halve(module, importance, whole, _gradients(model, task))
        train_student(module, model.encoder.encode, transfer_set, logits, epochs=epochs, learning_rate=learning_rate)
        peer = Recipe.of(name, model, "pytorch", module_files(module), epochs=epochs, augmented=augmented,
                         teacher=model.card.name, learning_rate=learning_rate)
        peer.card = dataclasses.replace(peer.card, made_in_s=model.card.made_in_s + time.perf_counter() - began,
                                        parameters=count_parameters(module),
                                        macs=count_macs(module, mean_tokens(task, model.encoder)))
        peers.append(peer)
    return peers


def _halve(module: nn.Module, importance: Callable, whole: bool, gradients: Callable[[nn.Module], None]) -> None:
    """Half of the heads and widths, in place; `whole`: of the residual stream too, and compared over all layers."""
    import torch_pruning

    module.encoder.set_attn_implementation("eager")
    parts = anatomy(module)
    heads = {linear: count for layer, count in zip(parts.layers, parts.heads, strict=True)
             for linear in parts.reads(layer)}
    keep = [module.classifier, *([module.encoder.pooler] if module.encoder.pooler else []),
            *([] if whole else [parts.ffn_out(layer) for layer in parts.layers])]
    pruner = torch_pruning.pruner.MetaPruner(
        module, tuple(torch.ones(1, 8, dtype=torch.int64) for _ in range(2)), importance=importance,
        global_pruning=whole, iterative_steps=1, pruning_ratio=0.5, num_heads=heads, prune_num_heads=True,
        prune_head_dims=False, head_pruning_ratio=0.5, ignored_layers=keep, forward_fn=_all_outputs)
    if not whole:
        gradients(module)
    for group in pruner.step(interactive=True):
        group.prune()
    module.zero_grad()
    for layer in parts.layers:
        attention = layer.attention.self
        attention.num_attention_heads = pruner.num_heads[attention.query]
        attention.all_head_size = attention.query.out_features
    module.encoder.set_attn_implementation("sdpa")


def _all_outputs(module: nn.Module, inputs: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    """The logits, and the pooler's output, which nobody reads, but whose input has to be as narrow as the rest."""
    states = module.encoder(input_ids=inputs[0], attention_mask=inputs[1])
    pooled = [states.pooler_output] if module.encoder.pooler else []
    return [module.classifier(states.last_hidden_state.mean(1)), *pooled]


def _gradients(model: TorchTextModel, task: Task) -> Callable[[nn.Module], None]:
    """Adds the gradients of the labels' cross-entropy on TAYLOR_BATCHES batches of training rows to a module."""
    drawn = task.train.shuffle(seed=0).select(range(min(TAYLOR_BATCHES * TAYLOR_BATCH, len(task.train))))
    rows, labels = model.encoder.encode(drawn["text"][:]), torch.tensor(drawn["label"][:])

    def accumulate(module: nn.Module) -> None:
        for start in range(0, len(rows), TAYLOR_BATCH):
            part = slice(start, start + TAYLOR_BATCH)
            ids, mask = map(torch.from_numpy, model.encoder.pad(rows[part]))
            functional.cross_entropy(module(ids, mask), labels[part]).backward()

    return accumulate


class Model2VecPeer:
    """model2vec's static classifier as a Model."""

    runtime = "model2vec"

    def __init__(self, card: Card, classifier: object) -> None:
        self.card, self._classifier = card, classifier

    def predict(self, inputs: list[str]) -> np.ndarray:
        """(n, classes) float32 log-probabilities."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        order = np.argsort(self._classifier.classes_.astype(int))
        return np.log(self._classifier.predict_proba(list(inputs))[:, order] + 1e-12).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write what its own project writes, and the card."""
        with saving(path, self.runtime, self.card) as folder:
            self._classifier.save_pretrained(str(folder / "classifier"))

    @classmethod
    def load(cls, path: Path, card: Card, _: int | None) -> Self:
        """Read what `save` wrote."""
        from model2vec.inference import StaticModelPipeline

        return cls(card, StaticModelPipeline.from_pretrained(str(path / "classifier")))


def model2vec_recipes(model: TorchTextModel, task: Task, augmented: int) -> list[Model2VecPeer]:
    """Its documents' way, on the labels, and on the altered copies that our students get, labelled by the teacher.

    Token vectors, 256 principal components, SIF weights by rank, a classifier fitted on top until the accuracy on the
    validation rows no longer rises. Its `distill` needs an older transformers; the vectors are those of the same
    teacher, computed as it computes them, and its own classes train and answer.
    """
    from model2vec import StaticModel
    from model2vec.train import StaticModelForClassification
    from tokenizers import Tokenizer

    vectors = principal_components(token_vectors(model), min(256, model.module.config.hidden_size))
    frequency = 1 / np.arange(2, len(vectors) + 2)  # by rank, after Zipf
    vectors = vectors * (1e-4 / (1e-4 + frequency / frequency.sum()))[:, None]
    with tempfile.TemporaryDirectory() as folder:
        model.encoder.save(Path(folder) / "tokenizer.json")
        tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    held_out = {"X_val": task.validation["text"][:], "y_val": [str(label) for label in task.validation["label"][:]]}
    peers = []
    for name, copies in (("model2vec's recipe", 0), ("model2vec's recipe, with the teacher's answers", augmented)):
        began = time.perf_counter()
        transfer_set = make_transfer_set(task, (), copies, seed=0)
        answers = teacher_logits(model, transfer_set.texts).argmax(axis=1)
        labels = [str(answer if label < 0 else label)
                  for label, answer in zip(transfer_set.labels, answers, strict=True)]
        classifier = StaticModelForClassification.from_static_model(
            model=StaticModel(vectors.astype(np.float32), tokenizer))
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            classifier.fit(list(transfer_set.texts), labels, **held_out)
        card = Card(name, len(task.labels), "peer", {"runtime": "pytorch", "augmented": copies},
                    made_in_s=time.perf_counter() - began)
        peers.append(Model2VecPeer(card, classifier.to_pipeline()))
    return peers
