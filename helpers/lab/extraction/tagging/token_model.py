"""An encoder that says of each token which field it is of, and by its first token what the message is about."""

import json
from pathlib import Path
from typing import Self

from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModel

from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.models.model import Card
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.packing import require_sizes
from helpers.lab.models.torch import TorchTextModel


class TokenClassifier(MeanPoolClassifier):
    """An encoder and one linear layer over each of its token vectors; without a mean."""

    head = "tokens"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, length, classes) logits."""
        return self.classifier(self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)


class TokenModel(TorchTextModel):
    """A TokenClassifier with its tokenizer, in PyTorch: what is exported to other runtimes."""

    runtime = "tokens"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load what `save(path)` wrote."""
        facts = json.loads((path / "model.json").read_text(encoding="utf-8"))
        facts.pop("runtime")
        return cls.load(path, max_tokens=facts.pop("max_tokens"), card=Card.of_json(facts))

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config.pop("head")
        config = AutoConfig.for_model(config.pop("model_type"), **config)
        weights = load_file(path / "weights.safetensors")

        def build() -> TokenClassifier:
            return TokenClassifier(AutoModel.from_config(config), card.classes)

        require_sizes(config, build, {name: tensor.shape for name, tensor in weights.items()}, at_most=2)
        module = build()
        module.load_state_dict(weights)
        return cls(card, encoder, module)
