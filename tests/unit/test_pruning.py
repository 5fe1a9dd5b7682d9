"""Pruning: what is removed equals what is masked, what is kept is the best, and what is saved loads again."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_tiny_model
from torch import nn
from torch.nn import functional

from helpers.lab import Cancelled, InputError, compare, export, load, tfidf_baseline
from helpers.lab.models.model import folder_bytes
from helpers.lab.models.torch import OwnHeadClassifier, TorchTextModel, count_macs, count_parameters
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune
from helpers.lab.training.tokenizer import pad
from helpers.model_optimization import METHODS, compressed_bytes, prune, quantize
from helpers.model_optimization.pruning.budget import Part, best, keep_within, parts_of
from helpers.model_optimization.pruning.encoder_parts import anatomy, layer_weights
from helpers.model_optimization.pruning.importance import magnitude, taylor
from helpers.model_optimization.pruning.structured import keep_columns, keep_heads, keep_layers, keep_width
from helpers.model_optimization.pruning.unstructured import cubic, magnitude_masks, pattern_masks

HEAD = 16  # numbers in a head of the tiny model: 2 layers, 4 heads, 128 columns, width 64
STRUCTURED = ["structured", "heads", "columns", "layers", "width"]


@pytest.fixture(scope="module")
def made(tiny_model, tiny_task):
    """Each method at its default; the original must stay as it was."""
    state = copy.deepcopy(tiny_model.module.state_dict())
    found = {method: prune(tiny_model, tiny_task, method) for method in METHODS}
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny_model.module.state_dict().items())
    return found


@pytest.fixture(scope="module")
def trained(tiny_model, tiny_task):
    module = copy.deepcopy(tiny_model.module)
    fine_tune(module, *rows_and_labels(tiny_model, tiny_task), epochs=6, learning_rate=3e-3)
    return TorchTextModel(dataclasses.replace(tiny_model.card, name="trained"), tiny_model.encoder, module)


def rows_and_labels(model, task):
    return model.encoder.encode(task.train["text"][:]), task.train["label"][:]


def texts_of(task):
    return task.test["text"][:]


@torch.inference_mode()
def logits_of(module, model, task) -> np.ndarray:
    ids, mask = (torch.from_numpy(array) for array in pad(model.encoder.encode(texts_of(task))))
    return module(ids, mask).numpy()


@torch.inference_mode()
def training_loss(model, task) -> float:
    rows, labels = rows_and_labels(model, task)
    ids, mask = (torch.from_numpy(array) for array in pad(rows))
    return float(functional.cross_entropy(model.module(ids, mask), torch.tensor(labels)))


# Removed is masked

def test_heads_removed_answer_as_heads_silenced(tiny_model, tiny_task):
    silenced = copy.deepcopy(tiny_model.module)
    with torch.no_grad():
        for index, gone in ((0, [1, 2]), (1, [0])):
            out = silenced.encoder.encoder.layer[index].attention.output.dense
            for head in gone:
                out.weight[:, head * HEAD:(head + 1) * HEAD] = 0
    removed = keep_heads(tiny_model.module, {0: [0, 3], 1: [1, 2, 3]})
    assert anatomy(removed).heads == [2, 3]
    expected = logits_of(silenced, tiny_model, tiny_task)
    np.testing.assert_allclose(logits_of(removed, tiny_model, tiny_task), expected, atol=1e-4)
    assert np.abs(expected - tiny_model.predict(texts_of(tiny_task))).max() > 0.1  # they did say something


def test_columns_removed_answer_as_columns_zeroed(tiny_model, tiny_task):
    kept = {0: list(range(0, 128, 3)), 1: list(range(5, 70))}
    zeroed = copy.deepcopy(tiny_model.module)
    with torch.no_grad():
        for index, columns in kept.items():
            gone = [column for column in range(128) if column not in columns]
            into = zeroed.encoder.encoder.layer[index].intermediate.dense
            into.weight[gone], into.bias[gone] = 0, 0
    removed = keep_columns(tiny_model.module, kept)
    assert anatomy(removed).columns == [43, 65]
    np.testing.assert_allclose(logits_of(removed, tiny_model, tiny_task), logits_of(zeroed, tiny_model, tiny_task),
                               atol=1e-4)


def test_a_layer_removed_answers_as_a_layer_skipped(tiny_model, tiny_task):
    class Skip(nn.Module):
        def forward(self, states, *_, **__):
            return states

    skipped = copy.deepcopy(tiny_model.module)
    skipped.encoder.encoder.layer[0] = Skip()
    removed = keep_layers(tiny_model.module, [1])
    np.testing.assert_array_equal(logits_of(removed, tiny_model, tiny_task), logits_of(skipped, tiny_model, tiny_task))
    assert removed.config.num_hidden_layers == 1
    assert tiny_model.module.config.num_hidden_layers == 2


def test_the_width_is_cut_wherever_the_stream_is_read_or_written(tiny_model):
    """Every stored matrix has the kept rows and columns of the original one, found by its name."""
    kept = [*range(3, 19), *range(40, 56)]
    cut, whole = keep_width(tiny_model.module, kept).state_dict(), tiny_model.module.state_dict()
    for name, tensor in whole.items():
        rows = columns = None
        if "LayerNorm" in name or name.endswith("output.dense.bias"):
            rows = kept
        if name.endswith("output.dense.weight"):
            rows = kept
        if "embeddings.weight" in name or name.endswith(("query.weight", "key.weight", "value.weight", "pooler.dense."
                                                         "weight", "intermediate.dense.weight", "classifier.weight")):
            columns = kept
        expected = tensor if rows is None else tensor[rows]
        expected = expected if columns is None else expected[:, columns]
        torch.testing.assert_close(cut[name], expected, rtol=0, atol=0, msg=name)


def test_torch_pruning_finds_the_same_parameters_to_go_together(tiny_model):
    """Its dependency graph, traced from the running model, knows nothing of BERT."""
    import torch_pruning

    module = copy.deepcopy(tiny_model.module)
    module.encoder.set_attn_implementation("eager")
    inputs = (torch.ones(1, 6, dtype=torch.int64), torch.ones(1, 6, dtype=torch.int64))
    graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=inputs)
    gone, kept = [0, 5, 77], [column for column in range(128) if column not in (0, 5, 77)]
    into = module.encoder.encoder.layer[1].intermediate.dense
    graph.get_pruning_group(into, torch_pruning.prune_linear_out_channels, idxs=gone).prune()
    ours = keep_columns(tiny_model.module, {1: kept}).state_dict()
    theirs = module.state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


# Importance

def gated_losses(module, model, task, scale_heads: dict, rows) -> np.ndarray:
    """The loss of each row with single heads or columns scaled by a factor."""
    module, labels = copy.deepcopy(module).double(), torch.tensor(task.train["label"][:rows])
    for (kind, layer, index), factor in scale_heads.items():
        parts = anatomy(module).layers[layer]
        dense = parts.attention.output.dense if kind == "heads" else parts.output.dense
        with torch.no_grad():
            dense.weight[:, index * HEAD:(index + 1) * HEAD] *= factor if kind == "heads" else 1
            dense.weight[:, index] *= factor if kind == "columns" else 1
    found = []
    for row, label in zip(model.encoder.encode(task.train["text"][:rows]), labels, strict=True):
        ids, mask = (torch.from_numpy(array) for array in pad([row]))
        with torch.inference_mode():
            found.append(float(functional.cross_entropy(module(ids, mask), label[None])))
    return np.array(found)


@pytest.mark.parametrize("part", [("heads", 0, 2), ("heads", 1, 0), ("columns", 0, 100), ("columns", 1, 7)])
def test_taylor_importance_is_the_squared_finite_difference_of_each_rows_loss(tiny_model, tiny_task, part):
    rows, step = 12, 1e-4
    up, down = (gated_losses(tiny_model.module, tiny_model, tiny_task, {part: 1 + sign * step}, rows)
                for sign in (1, -1))
    expected = np.square((up - down) / (2 * step)).mean()
    ids, labels = rows_and_labels(tiny_model, tiny_task)
    found = taylor(tiny_model.module, ids[:rows], labels[:rows], batch=5)
    kind, layer, index = part
    assert getattr(found, kind)[layer][index] == pytest.approx(expected, rel=1e-3)


def test_a_part_that_does_nothing_has_no_importance(tiny_model, tiny_task):
    module = copy.deepcopy(tiny_model.module)
    layer = module.encoder.encoder.layer[0]
    with torch.no_grad():
        layer.attention.output.dense.weight[:, :HEAD] = 0
        layer.output.dense.weight[:, 9] = 0
    found = taylor(module, *(part[:20] for part in rows_and_labels(tiny_model, tiny_task)))
    assert found.heads[0][0] == 0
    assert found.columns[0][9] == 0
    assert sorted(found.columns[0])[1] > 0


def test_magnitude_is_the_sum_of_squares_of_what_would_go(tiny_model):
    found = magnitude(tiny_model.module)
    total = sum(p.numel() and float(p.detach().square().sum()) for p in tiny_model.module.parameters())
    for index in (0, 1):
        without = keep_heads(tiny_model.module, {index: [0, 1, 3]})
        biases = sum(float(getattr(tiny_model.module.encoder.encoder.layer[index].attention.self, name).bias[
            2 * HEAD:3 * HEAD].square().sum()) for name in ("query", "key", "value"))
        left = sum(float(p.detach().square().sum()) for p in without.parameters())
        assert found.heads[index][2] == pytest.approx(total - left - biases, rel=1e-3)
    assert found.layers.shape == (2,)
    assert found.width.shape == (64,)


# The budget

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 10), st.integers(1, 3)), min_size=3, max_size=9),
       st.floats(0, 0.9))
def test_the_cheapest_parts_go_first_and_the_budget_is_kept(drawn, share):
    parts = [Part("heads", layer, (number,), score, 10 * cost) for number, (layer, score, cost) in enumerate(drawn)]
    total = sum(part.macs for part in parts)
    layers = {part.layer for part in parts}
    least = sum(max((p for p in parts if p.layer == layer), key=lambda p: p.price).macs for layer in layers)
    budget = (1 - share) * total
    if least > budget:
        with pytest.raises(InputError, match="At most"):
            keep_within(parts, budget)
        return
    kept = keep_within(parts, budget)["heads"]
    staying = {number for numbers in kept.values() for number in numbers}
    assert all(kept[layer] for layer in layers)
    assert sum(part.macs for number, part in enumerate(parts) if number in staying) <= budget
    gone = [part for number, part in enumerate(parts) if number not in staying]
    free = [part for number, part in enumerate(parts) if number in staying and len(kept[part.layer]) > 1]
    for part, other in itertools.product(gone, free):
        assert part.price <= other.price  # what stays is worth more a MAC, whatever its layer


def test_one_budget_takes_from_the_layer_that_matters_least(tiny_model, tiny_task):
    module = copy.deepcopy(tiny_model.module)
    with torch.no_grad():
        module.encoder.encoder.layer[1].output.dense.weight.mul_(1e-3)
    model = TorchTextModel(tiny_model.card, tiny_model.encoder, module)
    assert prune(model, tiny_task, "columns", 0.5).card.settings["sizes"]["columns"] == [120, 8]


def test_columns_go_in_blocks_of_eight(tiny_model, tiny_task):
    found = magnitude(tiny_model.module)
    structure = anatomy(tiny_model.module)
    parts = [part for part in parts_of(structure, found, 10, ["columns"]) if part.layer == 0]
    assert [len(part.members) for part in parts] == [8] * 16
    assert sorted(parts[0].members) == best(found.columns[0], 8)


# prune

def test_macs_of_the_layers_are_those_counted_while_it_runs(tiny_model):
    structure, tokens = anatomy(tiny_model.module), 9
    others = 64 * 64 + 64 * 3  # pooler and head
    assert structure.macs(tokens) + others == count_macs(tiny_model.module, tokens)
    cut = keep_heads(keep_columns(tiny_model.module, {0: range(24)}), {1: [2]})
    assert anatomy(cut).macs(tokens) + others == count_macs(cut, tokens)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_structured_pruning_keeps_the_budget(tiny_model, tiny_task, share):
    model = prune(tiny_model, tiny_task, "structured", share)
    tokens = round(np.mean([len(row) for row in tiny_model.encoder.encode(texts_of(tiny_task))]))
    left = anatomy(model.module).macs(tokens) / anatomy(tiny_model.module).macs(tokens)
    assert 1 - share - 0.08 < left <= 1 - share
    assert model.card.macs == count_macs(model.module, tokens)
    assert model.card.parameters == count_parameters(model.module) < tiny_model.card.parameters


def test_each_method_removes_its_share(made):
    sizes = {method: model.card.settings["sizes"] for method, model in made.items()}
    whole = {"layers": 2, "heads": [4, 4], "columns": [128, 128], "width": 64}
    assert sizes["magnitude"] == sizes["2:4"] == whole
    assert sum(sizes["heads"]["heads"]) == 4
    assert sum(sizes["columns"]["columns"]) == 128
    assert sizes["layers"]["layers"] == 1
    assert sizes["width"]["width"] == 32


@pytest.mark.parametrize("method", list(METHODS))
def test_a_pruned_model_answers_the_same_after_a_reload(made, tiny_task, tmp_path, method):
    made[method].save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.predict(texts_of(tiny_task)), made[method].predict(texts_of(tiny_task)))
    assert again.card == made[method].card


@pytest.mark.parametrize("method", STRUCTURED)
def test_what_is_removed_is_not_saved(made, tiny_model, tmp_path, method):
    made[method].save(tmp_path / "pruned")
    tiny_model.save(tmp_path / "whole")
    gone = tiny_model.card.parameters - made[method].card.parameters
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("whole", "pruned")]
    assert sizes[0] - sizes[1] == pytest.approx(4 * gone, abs=5000)  # names and shapes in the header


def test_a_model_cut_in_every_way_goes_to_the_other_runtimes(made, tiny_task):
    cut = prune(made["width"], tiny_task, "structured", 0.4)
    expected = cut.predict(texts_of(tiny_task))
    for runtime in ("onnxruntime", "openvino"):
        np.testing.assert_allclose(export(cut, runtime).predict(texts_of(tiny_task)), expected, atol=1e-4)
    int8 = quantize(cut, tiny_task, "dynamic-int8")
    assert 0 < np.abs(int8.predict(texts_of(tiny_task)) - expected).max() < expected.std()
    assert int8.card.settings["method"] == "structured"
    assert int8.card.parameters == cut.card.parameters


def test_pruned_models_stand_in_one_table(made, tiny_model, tiny_task):
    frame = compare([tiny_model, *made.values()], tiny_task, rows=4, rounds=2, energy=False, memory=False).frame()
    assert frame["model"].is_unique
    assert set(frame["strategy"][1:]) == {"model optimization"}
    dense = frame["artefact_mb"][0]
    assert frame["artefact_mb"][1] == pytest.approx(dense, rel=1e-3)  # zeros are stored like any other number


def test_a_classifier_with_its_own_head_is_cut_too(tiny_model, tiny_task, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
                        intermediate_size=128, initializer_range=0.15, num_labels=3)
    module = OwnHeadClassifier(BertForSequenceClassification(config))
    model = TorchTextModel(tiny_model.card, tiny_model.encoder, module)
    cut = prune(prune(model, tiny_task, "layers", 0.33), tiny_task, "structured", 0.5)
    assert cut.card.settings["sizes"]["layers"] == 2
    cut.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts_of(tiny_task)), cut.predict(texts_of(tiny_task)))
    with pytest.raises(InputError, match="The hidden width is cut only in models of baseline"):
        prune(model, tiny_task, "width")


# Zeros

@given(sparsity=st.floats(0, 0.99), scope=st.sampled_from(["global", "layer"]), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_magnitude_zeros_the_smallest_and_as_many_as_asked(sparsity, scope, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {"a": torch.randn(4, 6, generator=generator), "b": 3 * torch.randn(5, 5, generator=generator)}
    masks = magnitude_masks(weights, sparsity, scope)
    pools = [["a", "b"]] if scope == "global" else [["a"], ["b"]]
    for pool in pools:
        values, kept = (torch.cat([part[name].flatten() for name in pool]) for part in (weights, masks))
        assert int((~kept).sum()) == round(sparsity * len(values))
        if kept.any() and (~kept).any():
            assert values[~kept].abs().max() <= values[kept].abs().min()


@pytest.mark.parametrize(("kept", "group"), [(2, 4), (1, 4), (4, 8)])
def test_a_pattern_keeps_the_largest_of_each_group(kept, group):
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    mask = pattern_masks({"a": weight}, kept, group)["a"]
    for row, kept_row in zip(weight.abs().tolist(), mask.tolist(), strict=True):
        for start in range(0, 16, group):
            order = sorted(range(start, start + group), key=lambda place: -row[place])
            assert [place for place in range(start, start + group) if kept_row[place]] == sorted(order[:kept])


def test_a_pruned_model_has_the_zeros_that_its_card_says(made):
    for method in ("magnitude", "2:4"):
        weights = layer_weights(made[method].module)
        zeros = sum(int((layer.weight == 0).sum()) for layer in weights.values())
        assert zeros == sum(layer.weight.numel() for layer in weights.values()) / 2
        assert made[method].card.settings["zeros"] == 0.5
    groups = torch.cat([layer.weight.reshape(-1, 4) for layer in layer_weights(made["2:4"].module).values()])
    assert ((groups != 0).sum(1) == 2).all()


def test_the_cubic_schedule_is_zhu_and_guptas():
    assert [cubic(0.8, step, 4) for step in (0, 4)] == [0, pytest.approx(0.8)]
    assert cubic(0.8, 1, 4) == pytest.approx(0.8 + (0 - 0.8) * (1 - 1 / 4) ** 3)
    gains = np.diff([cubic(0.8, step, 10) for step in range(11)])
    assert (np.diff(gains) < 0).all()


def test_zeros_pay_in_a_compressed_artefact_only(tiny_model, tiny_task, tmp_path):
    """A mask costs at least its entropy, and the random digits of what stays cannot be compressed."""
    sizes = {}
    for share in (0.0, 0.5, 0.9):
        model = prune(tiny_model, tiny_task, "magnitude", share)
        model.save(tmp_path / str(share))
        packed = [compressed_bytes(model, codec) for codec in ("zlib", "zstd")]
        sizes[share] = [folder_bytes(tmp_path / str(share)), *packed]
    weights = sum(layer.weight.numel() for layer in layer_weights(tiny_model.module).values())
    assert sizes[0.9][0] == pytest.approx(sizes[0.0][0], rel=1e-3)
    for codec in (1, 2):
        saved = sizes[0.0][codec] - sizes[0.9][codec]
        most = 4 * 0.9 * weights  # every zero's four bytes gone for nothing
        assert 0.6 * most < saved < most
        assert sizes[0.9][codec] < sizes[0.5][codec] < sizes[0.0][codec]


# Recovery

@pytest.mark.parametrize("method", ["magnitude", "structured"])
def test_training_recovers_what_pruning_lost(trained, tiny_task, method):
    blind = dataclasses.replace(tiny_task, validation=None)
    cut = prune(trained, blind, method, 0.8)
    recovered = prune(trained, blind, method, 0.8, epochs=4, learning_rate=2e-3)
    assert training_loss(trained, tiny_task) < 0.5 * training_loss(cut, tiny_task)
    assert training_loss(recovered, tiny_task) < 0.7 * training_loss(cut, tiny_task)
    assert recovered.card.settings["zeros"] >= (0.8 if method == "magnitude" else 0)


def test_gradual_zeros_end_at_the_same_share(trained, tiny_task):
    model = prune(trained, tiny_task, "magnitude", 0.75, steps=3, epochs=3, learning_rate=1e-3)
    assert model.card.settings["zeros"] == 0.75
    assert model.card.name == "75% of weights zeroed, in 3 steps, recovered, PyTorch"


def test_a_teacher_pulls_the_answers_towards_its_own(trained, tiny_task):
    """The teacher here swaps two labels: who learns from it alone answers as it does, not as the labels say."""
    module = copy.deepcopy(trained.module)
    with torch.no_grad():
        module.classifier.weight[[0, 1]] = module.classifier.weight[[1, 0]]
        module.classifier.bias[[0, 1]] = module.classifier.bias[[1, 0]]
    wrong = TorchTextModel(dataclasses.replace(trained.card, name="wrong"), trained.encoder, module)
    own, taught = (prune(trained, tiny_task, "columns", 0.5, epochs=10, learning_rate=3e-3, teacher=teacher)
                   for teacher in (None, wrong))
    texts = tiny_task.train["text"][:]
    agreement = [(model.predict(texts).argmax(1) == wrong.predict(texts).argmax(1)).mean() for model in (own, taught)]
    assert agreement[0] < 0.5 < 0.8 < agreement[1]
    assert taught.card.settings["teacher"] == "wrong"
    assert taught.card.name == "50% of columns cut, by taylor, recovered with its teacher, PyTorch"


def test_pruning_tells_its_progress_and_can_be_cancelled(tiny_model, tiny_task):
    told = []
    prune(tiny_model, tiny_task, "columns", 0.2, steps=2, epochs=1,
          progress=Progress(lambda fraction, message: told.append(fraction)))
    assert told == sorted(told)
    assert 0.9 < told[-1] <= 1
    with pytest.raises(Cancelled):
        prune(tiny_model, tiny_task, progress=Progress(cancelled=lambda: True))


# What there is not

@pytest.mark.parametrize(("options", "sentence"), [
    ({"method": "lottery"}, r"no pruning method 'lottery'. Known: magnitude, 2:4, structured, .*width, and other N:M"),
    ({"method": "4:4"}, r"The pattern 4:4 must keep at least one weight and fewer than all, such as 2:4\."),
    ({"method": "2:5"}, r"have 64 weights: no multiple of 5\."),
    ({"method": "2:4", "sparsity": 0.7}, r"The pattern 2:4 makes 0\.5 of the weights zero, at once"),
    ({"sparsity": 1.0}, r"lies between 0 and 1, 1 left out; it was 1\.0\."),
    ({"sparsity": 0.99}, r"At most \d\d% can be cut: one head and 8 columns a layer stay\."),
    ({"importance": "luck"}, r"There is no importance 'luck'. Known: taylor, magnitude\."),
    ({"scope": "row"}, r"There is no scope 'row'. Known: global, layer\."),
    ({"steps": 0}, r"at least one step"),
    ({"calibration_rows": 0}, r"Calibration needs at least one row, not 0\."),
])
def test_what_cannot_be_pruned_is_refused_in_a_sentence(tiny_model, tiny_task, options, sentence):
    with pytest.raises(InputError, match=sentence):
        prune(tiny_model, tiny_task, **options)


@pytest.mark.parametrize(("cut", "sentence"), [
    (lambda module: keep_heads(module, {0: []}), r"At least one of the 4 heads of layer 0 must be kept"),
    (lambda module: keep_columns(module, {1: [128]}), r"128 columns of layer 1 must be kept, numbered 0 to 127"),
    (lambda module: keep_layers(module, [2]), r"At least one of the 2 layers"),
    (lambda module: keep_width(module, range(20)), r"multiple of the head size 16, not 20\."),
])
def test_a_cut_that_leaves_nothing_is_refused(tiny_model, cut, sentence):
    with pytest.raises(InputError, match=sentence):
        cut(tiny_model.module)


def test_only_a_pytorch_model_is_pruned(tiny_task):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be pruned; .* runs in scikit-learn"):
        prune(tfidf_baseline(tiny_task), tiny_task)


def test_an_encoder_of_another_kind_is_refused(tiny_task):
    from transformers import DistilBertConfig, DistilBertModel

    from helpers.lab.models.torch import MeanPoolClassifier

    config = DistilBertConfig(vocab_size=30522, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    other = make_tiny_model(tiny_task)
    module = MeanPoolClassifier(DistilBertModel(config), 3)
    with pytest.raises(InputError, match=r"Only encoders built like BERT can be cut here, not 'distilbert'\."):
        prune(TorchTextModel(other.card, other.encoder, module), tiny_task)


def test_an_unknown_codec_is_named(tiny_model):
    with pytest.raises(InputError, match=r"no codec 'rar'. Known: zlib, zstd\."):
        compressed_bytes(tiny_model, "rar")
