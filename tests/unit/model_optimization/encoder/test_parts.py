"""The parts of an encoder, and the multiply-accumulates that they are charged with."""

import dataclasses

import pytest
from architectures import ARCHITECTURES, small_classifier

from helpers.efficient_architectures import tune
from helpers.lab import InputError
from helpers.lab.models.model import Card
from helpers.lab.models.torch import PaddedModel, TorchTextModel, count_macs
from helpers.lab.training.architectures import CUTTABLE
from helpers.model_optimization import anatomy, build, distill, prune, quantize
from helpers.model_optimization.encoder.structured import keep_heads, keep_neurons

CUT = [name for name in ARCHITECTURES if name in CUTTABLE]


def test_macs_of_the_layers_are_those_counted_while_it_runs(tiny_model):
    structure, tokens = anatomy(tiny_model.module), 9
    others = 64 * 64 + 64 * 3  # pooler and head
    assert structure.macs(tokens) + others == count_macs(tiny_model.module, tokens)
    cut = keep_heads(keep_neurons(tiny_model.module, {0: range(24)}), {1: [2]})
    assert anatomy(cut).macs(tokens) + others == count_macs(cut, tokens)


@pytest.mark.parametrize("name", CUT)
def test_macs_that_go_with_a_part_are_those_no_longer_counted(name):
    whole = small_classifier(name)
    cut = keep_heads(keep_neurons(whole, {0: range(24)}), {1: [2]})
    tokens = 9
    gone = anatomy(whole).macs(tokens) - anatomy(cut).macs(tokens)
    assert gone == count_macs(whole, tokens) - count_macs(cut, tokens) > 0


def test_an_architecture_whose_parts_cannot_be_removed_is_refused_before_any_work():
    model = TorchTextModel(Card("a decoder", 3), None, small_classifier("gpt2"))
    for call in (lambda: prune(model, None), lambda: distill(model, None), lambda: build(
            model, None, [{"step": "quantize", "scheme": "fp16"}, {"step": "prune", "method": "heads"}])):
        with pytest.raises(InputError, match=r"cannot be removed from 'gpt2', but only from bert, .*work for it\.$"):
            call()


def test_adapters_and_remade_models_are_refused_by_what_stands_in_the_way(tiny_model, tiny_task, narrow_encoder):
    adapted = tune(tiny_task, "lora", rank=2, encoder=narrow_encoder, epochs=0.1).model
    padded = PaddedModel(dataclasses.replace(tiny_model.card, settings={"padding": 16}), tiny_model)
    for call, verb in ((prune, "pruned"), (distill, "distilled"),
                       (lambda model, task: quantize(model, task, "weight-only"), "quantized")):
        with pytest.raises(InputError, match=rf"holds an adapter's layers and cannot be {verb}: merge them into"):
            call(adapted, tiny_task)
        with pytest.raises(InputError, match=rf"Only a plain PyTorch model can be {verb}; 'tiny' was made from one\."):
            call(padded, tiny_task)
