"""The parts of an encoder, and the multiply-accumulates that they are charged with."""

import pytest
from tiny_models import make_tiny_model

from helpers.lab import InputError
from helpers.lab.models.torch import MeanPoolClassifier, TorchTextModel, count_macs
from helpers.model_optimization import anatomy, prune
from helpers.model_optimization.encoder.structured import keep_heads, keep_neurons


def test_macs_of_the_layers_are_those_counted_while_it_runs(tiny_model):
    structure, tokens = anatomy(tiny_model.module), 9
    others = 64 * 64 + 64 * 3  # pooler and head
    assert structure.macs(tokens) + others == count_macs(tiny_model.module, tokens)
    cut = keep_heads(keep_neurons(tiny_model.module, {0: range(24)}), {1: [2]})
    assert anatomy(cut).macs(tokens) + others == count_macs(cut, tokens)


def test_an_encoder_of_another_kind_is_refused(tiny_task):
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(vocab_size=30522, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    other = make_tiny_model(tiny_task)
    module = MeanPoolClassifier(DistilBertModel(config), 3)
    with pytest.raises(InputError, match=r"Only encoders built like BERT can be cut here, not 'distilbert'\."):
        prune(TorchTextModel(other.card, other.encoder, module), tiny_task)
