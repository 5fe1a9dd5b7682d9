"""Twelve architectures, and eleven more: each tool works on them, or refuses them by name in a sentence."""

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from architectures import ALIKE, ARCHITECTURES, FURTHER, build
from transformers import AutoModel, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from helpers.efficient_architectures import merge, tune
from helpers.hardware_codesign import make, option
from helpers.lab import InputError, export, load, load_pretrained
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.models.modules.classifiers import MeanPoolClassifier, OwnHeadClassifier
from helpers.lab.models.torch import TorchTextModel, linear_layers
from helpers.lab.training.architectures import CUTTABLE, body_of
from helpers.lab.training.baselines import card_of
from helpers.lab.training.heads import pretrained
from helpers.model_optimization import anatomy, distill, prune, quantization_aware, quantize, sensitivity
from helpers.model_optimization.encoder.parts import layer_weights
from helpers.model_optimization.encoder.structured import keep_heads, keep_layers, keep_neurons, keep_width

CUT = [name for name in ARCHITECTURES if name in CUTTABLE]
READ_PADDING = {"convbert", "fnet", "nystromformer", "yoso"}
WHOLE = [name for name in ARCHITECTURES if name not in CUTTABLE]


@pytest.fixture(scope="module")
def models(tiny_task, tmp_path_factory):
    """Name -> (the loaded classifier with random weights, what transformers answers); each built when first asked."""
    made = {}

    def model(name: str) -> tuple[TorchTextModel, Callable]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            answer = build(name, folder, tiny_task.train["text"][:], tiny_task.labels)
            made[name] = load_pretrained(folder, tiny_task), answer
        return made[name]

    return model


@pytest.fixture(scope="module")
def texts(tiny_task):
    return tiny_task.test["text"][:24]


def is_refused(name: str, call: Callable) -> bool:
    """Whether the call is refused in a sentence that names the architecture; any other error is raised."""
    refused = ""
    try:
        call()
    except InputError as error:
        refused = str(error)
    assert not refused or (f"'{name}'" in refused and refused.endswith(".") and "\n" not in refused), refused
    return bool(refused)


def answers(module, model, texts) -> np.ndarray:
    return TorchTextModel(model.card, model.encoder, module).predict(texts)


def same_after_a_reload(model, texts, folder) -> bool:
    model.save(folder)
    return np.array_equal(load(folder).predict(texts), model.predict(texts))


# Runtimes and fewer bits

@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_export_answers_as_transformers_alone_and_in_a_batch(models, texts, name, runtime):
    model, answer = models(name)
    exported = export(model, runtime)
    alone = np.concatenate([answer([text]) for text in texts])
    np.testing.assert_allclose(exported.predict(texts), alone, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([exported.predict([text]) for text in texts[:4]]), alone[:4], atol=1e-4)


# Mean difference of a logit, as a share of the float logits' standard deviation
@pytest.mark.parametrize(("scheme", "runtime", "most"), [
    ("fp16", "pytorch", 0.005), ("bf16", "pytorch", 0.05), ("weight-only", "pytorch", 0.1),
    ("dynamic-int8", "onnxruntime", 0.2), ("static-int8", "onnxruntime", 0.4)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fewer_bits_answer_nearly_as_float_does(models, tiny_task, texts, tmp_path, name, scheme, runtime, most):
    model, _ = models(name)
    rows = {"calibration_rows": 16} if scheme == "static-int8" else {}
    quantized, expected = quantize(model, tiny_task, scheme, runtime, **rows), model.predict(texts)
    assert 0 < np.abs(quantized.predict(texts) - expected).mean() < most * expected.std()
    assert same_after_a_reload(quantized, texts, tmp_path)


@pytest.mark.parametrize("name", ["modernbert", "gpt2"])
def test_static_int8_in_openvino_answers_nearly_as_float_does(models, tiny_task, texts, name):
    model, _ = models(name)
    quantized, expected = quantize(model, tiny_task, "static-int8", "openvino"), model.predict(texts)
    assert 0 < np.abs(quantized.predict(texts) - expected).mean() < 0.6 * expected.std()


def test_transposed_layers_are_stored_in_fewer_bits_as_the_linear_layers_that_they_are(models, tiny_task):
    """Half a step at most, with one scale for 32 weights of one output: of a column, in GPT-2's layers."""
    model, _ = models("gpt2")
    packed = quantize(model, tiny_task, "weight-only", bits=4, group_size=32)
    transposed = {name: layer for name, layer in model.module.named_modules() if isinstance(layer, Conv1D)}
    assert len(transposed) == 8
    for name, layer in transposed.items():
        stored = packed.packed[name]
        step = stored.scale.float().repeat_interleave(32, dim=1).T
        error = (packed.module.get_submodule(name).weight - layer.weight).abs()
        assert stored.codes.shape == layer.weight.T.shape
        assert (error <= step * (0.5 + 2.0 ** -8) * 1.001).all()
        assert error.max() > 0
    kept = quantize(model, tiny_task, "weight-only", bits=2, keep_float=list(transposed))
    assert all(torch.equal(kept.module.get_submodule(name).weight, layer.weight) for name, layer in transposed.items())


def test_transposed_layers_are_trained_at_few_bits_and_ranked(models, tiny_task, texts, tmp_path):
    model, _ = models("gpt2")
    trained = quantization_aware(model, tiny_task, bits=4, epochs=0.3)
    assert {name for name, layer in trained.module.named_modules() if isinstance(layer, Conv1D)} <= set(trained.packed)
    assert same_after_a_reload(trained, texts, tmp_path)
    ranked = sensitivity(model, tiny_task, bits=2, rows=8)
    assert set(ranked["layer"]) == set(linear_layers(model.module))
    assert (ranked["divergence"] > 0).all()


def test_pytorchs_dynamic_int8_takes_transposed_layers(models, texts):
    model, _ = models("gpt2")
    int8, expected = make(model, option("pytorch", "int8")), model.predict(texts)
    assert not any(isinstance(part, Conv1D) for part in int8.module.modules())
    assert 0 < np.abs(int8.predict(texts) - expected).mean() < 0.2 * expected.std()


# Zeros

@pytest.mark.parametrize("method", ["magnitude", "2:4"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_zeros_are_written_into_every_architecture(models, tiny_task, texts, tmp_path, name, method):
    model, _ = models(name)
    pruned = prune(model, tiny_task, method, epochs=0.3)
    weights = {layer: part.weight.T if isinstance(part, Conv1D) else part.weight
               for layer, part in layer_weights(pruned.module).items()}
    assert len(weights) >= (6 if name == "albert" else 8)
    for layer, weight in weights.items():  # of a row's four neighbours, the inputs of one output, two stay
        assert method == "magnitude" or ((weight.reshape(len(weight), -1, 4) != 0).sum(2) <= 2).all(), layer
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    assert zeros / sum(weight.numel() for weight in weights.values()) == pytest.approx(0.5, abs=1e-4)
    assert same_after_a_reload(pruned, texts, tmp_path)


# Parts removed for good

@pytest.mark.parametrize("name", [*CUT, *ALIKE])
def test_heads_and_neurons_removed_answer_as_silenced(models, texts, tmp_path, name):
    model, _ = models(name)
    heads, neurons = {0: [0, 3], 1: [2]}, {0: list(range(0, 64, 3)), 1: list(range(5, 40))}
    silenced = copy.deepcopy(model.module)
    parts = anatomy(silenced)
    with torch.no_grad():
        for index, layer in enumerate(parts.layers):
            gone = [head for head in range(4) if head not in heads[index]]
            parts.attention_out(layer).weight.unflatten(1, (4, parts.head_size))[:, gone] = 0
            parts.ffn_out(layer).weight[:, [one for one in range(64) if one not in neurons[index]]] = 0
    removed = keep_neurons(keep_heads(keep_heads(model.module, {0: [0, 2, 3]}), {0: [0, 2], 1: [2]}), neurons)
    assert (anatomy(removed).heads, anatomy(removed).neurons) == ([2, 1], [22, 35])
    expected = answers(silenced, model, texts)
    np.testing.assert_allclose(answers(removed, model, texts), expected, atol=1e-4)
    assert np.abs(expected - model.predict(texts)).max() > 0.05  # they did say something
    assert same_after_a_reload(TorchTextModel(model.card, model.encoder, removed), texts, tmp_path)


@pytest.mark.parametrize("name", CUT)
def test_a_layer_removed_answers_as_a_layer_skipped(models, texts, tmp_path, name):
    model, _ = models(name)
    skipped = copy.deepcopy(model.module)
    anatomy(skipped).layers[1].register_forward_hook(
        lambda _, inputs, output: (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0])
    removed = keep_layers(keep_heads(model.module, {1: [0]}), [0])
    np.testing.assert_allclose(answers(removed, model, texts), answers(skipped, model, texts), atol=1e-5)
    assert same_after_a_reload(TorchTextModel(model.card, model.encoder, removed), texts, tmp_path)


@pytest.mark.parametrize("name", CUT)
def test_the_width_is_cut_wherever_the_stream_is_read_or_written(models, texts, tmp_path, name):
    model, _ = models(name)
    torch.manual_seed(0)
    body = AutoModel.from_config(copy.deepcopy(model.module.config))
    body.load_state_dict(body_of(model.module).state_dict(), strict=False)
    module = MeanPoolClassifier(body, 3).eval()
    np.testing.assert_array_equal(answers(keep_width(module, range(32)), model, texts), answers(module, model, texts))
    cut = keep_width(keep_neurons(module, {0: range(24)}), [*range(8), *range(16, 32)])
    assert anatomy(cut).width == 24
    assert anatomy(cut).heads == [4, 4]
    assert same_after_a_reload(TorchTextModel(model.card, model.encoder, cut), texts, tmp_path)


@pytest.mark.parametrize("method", ["structured", "layers"])
@pytest.mark.parametrize("name", CUT)
def test_pruning_by_importance_keeps_its_budget(models, tiny_task, texts, tmp_path, name, method):
    model, _ = models(name)
    pruned = prune(model, tiny_task, method, 0.4, steps=2, epochs=0.3)
    before, after = anatomy(model.module), anatomy(pruned.module)
    assert after.macs(9) <= 0.6 * before.macs(9) or (method == "layers" and len(after.layers) == 1)
    assert same_after_a_reload(pruned, texts, tmp_path)


def test_electras_width_is_not_cut_to_that_of_its_token_vectors(models):
    """A configuration with equal sizes has no projection between them."""
    model, _ = models("electra")
    module = MeanPoolClassifier(body_of(copy.deepcopy(model.module)), 3)
    with pytest.raises(InputError, match=r"The hidden width cannot be 16, that of the token vectors: .*\.$"):
        keep_width(module, range(16))


def test_modernberts_first_layer_stays(models, tiny_task):
    """It alone has no norm before its attention: another one in its place could not be described."""
    model, _ = models("modernbert")
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        anatomy(module).ffn_out(anatomy(module).layers[0]).weight.mul_(1e-3)
        anatomy(module).attention_out(anatomy(module).layers[0]).weight.mul_(1e-3)
    idle = TorchTextModel(model.card, model.encoder, module)
    pruned = prune(idle, tiny_task, "layers", 0.5)
    assert torch.equal(pruned.module.state_dict()["classifier.model.layers.0.mlp.Wo.weight"],
                       module.state_dict()["classifier.model.layers.0.mlp.Wo.weight"])
    with pytest.raises(InputError, match=r"Layer 0 of 'modernbert' stays: .*\.$"):
        distill(model, tiny_task, layers=[1])


# Students

@pytest.mark.parametrize("name", CUT)
def test_a_student_learns_from_the_inside_of_its_teacher(models, tiny_task, texts, tmp_path, name):
    model, _ = models(name)
    student = distill(model, tiny_task, layers=1, heads=2, neurons=16, hidden=1.0, relation=1.0, augmented=0, epochs=1)
    assert anatomy(student.module).sizes() == {"layers": 1, "heads": [2], "neurons": [16], "width": 32}
    assert same_after_a_reload(student, texts, tmp_path)


@pytest.mark.parametrize("name", CUT)
def test_a_student_as_large_as_its_teacher_has_no_inner_loss_at_the_start(models, tiny_task, name):
    from helpers.model_optimization.distillation.training import TransferSet, _Pair

    model, _ = models(name)
    ids, mask = (torch.from_numpy(array) for array in model.encoder.pad(model.encoder.encode(
        tiny_task.train["text"][:5])))
    transfer_set = TransferSet(["a"], [0], hidden=1.0, relation=1.0)
    other = copy.deepcopy(model.module)
    with torch.no_grad():
        anatomy(other).reads(anatomy(other).layers[-1])[-1].weight[-8:] *= -2  # of a value
    losses = []
    for student in (copy.deepcopy(model.module), other):
        with _Pair(student.eval(), model, transfer_set) as pair, torch.no_grad():
            losses.append(float(pair.eval()(ids, mask)[1]))
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[1] > 1e-3


@pytest.mark.parametrize("name", WHOLE)
def test_other_architectures_are_refused_by_name_before_any_work(models, tiny_task, name):
    model, _ = models(name)
    blind = TorchTextModel(model.card, None, model.module)  # nothing can be read with it
    for method in ("heads", "neurons", "layers", "width", "structured"):
        assert is_refused(name, lambda method=method: prune(model, tiny_task, method))
    assert is_refused(name, lambda: distill(blind, tiny_task))


# Adapters

@pytest.mark.parametrize("kind", ["lora", "ia3", "bottleneck"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_adapter_goes_into_a_loaded_classifier(models, tiny_task, texts, tmp_path, name, kind):
    model, _ = models(name)
    before = copy.deepcopy(model.module.state_dict())
    tuned = tune(tiny_task, kind, rank=2, encoder=model, epochs=1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.module.state_dict().items())
    kept = {key.replace(".base_layer.", ".").replace(".base.", "."): tensor
            for key, tensor in tuned.model.module.state_dict().items() if key not in tuned.delta}
    assert all(torch.equal(kept[key], before[key]) for key in kept.keys() & before.keys())
    assert len(kept.keys() & before.keys()) > 8
    assert 0 < tuned.trainable < 0.2 * model.card.parameters
    assert same_after_a_reload(tuned.model, texts, tmp_path)
    assert np.abs(tuned.model.predict(texts) - model.predict(texts)).max() > 1e-3
    if kind != "bottleneck":
        merged = merge(tuned, tiny_task)
        np.testing.assert_allclose(merged.predict(texts), tuned.model.predict(texts), atol=1e-4)
        assert {name: tensor.shape for name, tensor in merged.module.state_dict().items()} == {
            name: tensor.shape for name, tensor in before.items()}


@pytest.mark.parametrize("name", ["distilbert", "gpt2", "llama"])
def test_an_adapter_goes_into_an_encoder_of_a_folder(models, tiny_task, texts, tmp_path, name):
    folder = tmp_path / "encoder"
    build(name, folder, tiny_task.train["text"][:], tiny_task.labels)
    tuned = tune(tiny_task, "lora", rank=2, encoder=folder, epochs=1)
    assert isinstance(tuned.model.module, MeanPoolClassifier)
    assert tuned.model.card.name == "encoder, lora rank 2"
    assert same_after_a_reload(tuned.model, texts, tmp_path / "tuned")


def test_an_adapter_goes_into_a_pruned_model(models, tiny_task, texts, tmp_path):
    pruned = prune(models("mpnet")[0], tiny_task, "structured", 0.4)
    assert same_after_a_reload(tune(tiny_task, "lora", rank=2, encoder=pruned, epochs=1).model, texts, tmp_path)


# Further ones: ended in errors of libraries

@pytest.mark.parametrize("name", sorted(READ_PADDING))
def test_models_that_read_padding_are_refused_when_they_are_loaded(tiny_task, tmp_path, name):
    """Their own answers show it: transformers' for one text, alone and beside a longer one under its mask."""
    answer = build(name, tmp_path / name, tiny_task.train["text"][:], tiny_task.labels)
    text = tiny_task.test["text"][0]
    assert np.abs(answer([text]) - answer([text, " ".join([text] * 4)])[:1]).max() > 0.01
    for load_it in (lambda: load_pretrained(tmp_path / name, tiny_task), lambda: pretrained(tmp_path / name, 3)):
        with pytest.raises(InputError, match=rf"'{name}' .* answers a text otherwise alone and padded .*\.$"):
            load_it()


@pytest.mark.parametrize("name", sorted(FURTHER.keys() - READ_PADDING))
def test_no_tool_ends_in_a_raw_error(models, tiny_task, texts, tmp_path, name):
    model, _ = models(name)
    assert is_refused(name, lambda: prune(model, tiny_task))
    assert is_refused(name, lambda: distill(model, tiny_task))
    for tool in (lambda: prune(model, tiny_task, "magnitude"), lambda: prune(model, tiny_task, "2:4"),
                 lambda: quantize(model, tiny_task, "fp16"), lambda: quantize(model, tiny_task, "bf16"),
                 lambda: quantize(model, tiny_task, "weight-only", bits=4),
                 *[lambda kind=kind: tune(tiny_task, kind, rank=2, encoder=model, epochs=0.5).model
                   for kind in ("lora", "ia3", "bottleneck")]):
        made = []
        if not is_refused(name, lambda tool=tool, made=made: made.append(tool())):
            assert np.isfinite(made[0].predict(texts)).all()


def test_a_graph_that_answers_otherwise_is_refused(tiny_task, tmp_path):
    """OpenVINO's Fourier transform of FNet's gives other numbers than PyTorch's, and says nothing."""
    folder = tmp_path / "fnet"
    build("fnet", folder, tiny_task.train["text"][:], tiny_task.labels)
    module = OwnHeadClassifier(AutoModelForSequenceClassification.from_pretrained(folder))
    encoder = TextEncoder.of_checkpoint(folder, 64)
    card = dataclasses.replace(card_of("fnet fp32, PyTorch", tiny_task, encoder, module), checkpoint="fnet")
    model = TorchTextModel(card, encoder, module)  # by hand: `load_pretrained` refuses it before
    assert np.isfinite(export(model, "onnxruntime").predict(["a cat"])).all()
    for call in (lambda: export(model, "openvino"), lambda: quantize(model, tiny_task, "static-int8", "openvino"),
                 lambda: make(model, option("openvino"))):
        with pytest.raises(InputError, match=r"'fnet' cannot be run in OpenVINO: its graph answers otherwise there"):
            call()
