"""Parts removed for good: what is removed equals what is masked, and the budget takes the cheapest parts."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_texts import texts_of
from torch import nn

from helpers.lab import InputError
from helpers.lab.data.tokenizer import pad
from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization import anatomy, prune
from helpers.model_optimization.encoder.importance import best, magnitude
from helpers.model_optimization.encoder.structured import (
    Part,
    keep_heads,
    keep_layers,
    keep_neurons,
    keep_width,
    keep_within,
    parts_of,
)

HEAD = 16  # numbers in a head of the tiny model: 2 layers, 4 heads, 128 neurons, width 64


@torch.inference_mode()
def logits_of(module, model, task) -> np.ndarray:
    ids, mask = (torch.from_numpy(array) for array in pad(model.encoder.encode(texts_of(task))))
    return module(ids, mask).numpy()


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


def test_neurons_removed_answer_as_neurons_zeroed(tiny_model, tiny_task):
    kept = {0: list(range(0, 128, 3)), 1: list(range(5, 70))}
    zeroed = copy.deepcopy(tiny_model.module)
    with torch.no_grad():
        for index, columns in kept.items():
            gone = [column for column in range(128) if column not in columns]
            into = zeroed.encoder.encoder.layer[index].intermediate.dense
            into.weight[gone], into.bias[gone] = 0, 0
    removed = keep_neurons(tiny_model.module, kept)
    assert anatomy(removed).neurons == [43, 65]
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
    ours = keep_neurons(tiny_model.module, {1: kept}).state_dict()
    theirs = module.state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


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
    assert prune(model, tiny_task, "neurons", 0.5).card.settings["sizes"]["neurons"] == [120, 8]


def test_neurons_go_in_blocks_of_eight(tiny_model, tiny_task):
    result = magnitude(tiny_model.module)
    structure = anatomy(tiny_model.module)
    parts = [part for part in parts_of(structure, result, 10, ["neurons"]) if part.layer == 0]
    assert [len(part.members) for part in parts] == [8] * 16
    assert sorted(parts[0].members) == best(result.neurons[0], 8)


@pytest.mark.parametrize(("cut", "sentence"), [
    (lambda module: keep_heads(module, {0: []}), r"At least one of the 4 heads of layer 0 must be kept"),
    (lambda module: keep_neurons(module, {1: [128]}),
     r"128 intermediate neurons of layer 1 must be kept, numbered 0 to 127"),
    (lambda module: keep_layers(module, [2]), r"At least one of the 2 layers"),
    (lambda module: keep_width(module, range(20)), r"multiple of the head size 16, not 20\."),
])
def test_a_cut_that_leaves_nothing_is_refused(tiny_model, cut, sentence):
    with pytest.raises(InputError, match=sentence):
        cut(tiny_model.module)
