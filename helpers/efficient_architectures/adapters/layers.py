"""The layers that adapters put into an encoder: Houlsby's bottlenecks, and layers that serve many tenants at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from helpers.lab.errors import InputError
from helpers.lab.training.architectures import Layout, layers_of, layout_of, stacked_linear

LORA_SCALE = 2.0  # alpha over rank: the step's size does not change with the rank


class Bottleneck(nn.Module):
    """x + up(gelu(down(x))), `rank` wide in the middle; at the start exactly x.

    Houlsby et al., arXiv 1902.00751, figure 2: inside each layer, after both projections back to the
    model's width, before the residual is added. `up` starts at zero, so training starts from the
    encoder as it is.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(..., width) in, (..., width) out."""
        return states + self.up(functional.gelu(self.down(states)))


class LinearWithBottleneck(nn.Module):
    """A linear layer of the encoder with a bottleneck behind it."""

    def __init__(self, base: nn.Linear | Conv1D, rank: int) -> None:
        super().__init__()
        self.base = base
        self.adapter = Bottleneck(base.nf if isinstance(base, Conv1D) else base.out_features, rank)

    def forward(self, states: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.adapter(self.base(states))


def add_bottlenecks(encoder: PreTrainedModel, rank: int) -> None:
    """Put two bottlenecks into every layer, in place: where each half returns to the residual stream.

    Raises:
        InputError: an architecture whose layers are laid out in no known way.
    """
    layout = known_layout(encoder, "bottleneck")
    for layer in layers_of(encoder, layout).values():
        for site in (layout.attention_out, layout.ffn_out):
            base = layer.get_submodule(site)
            layer.set_submodule(site, LinearWithBottleneck(base, rank).to(base.weight.device))


def known_layout(encoder: PreTrainedModel, kind: str) -> Layout:
    """How the encoder's layers are laid out.

    Raises:
        InputError: in no known way, so that the adapter cannot be put in.
    """
    layout = layout_of(encoder)
    if layout is None:
        others = ["probe", "bitfit", *["lora"] * bool(stacked_linear(encoder)), "full"]
        raise InputError(f"'{kind}' has no known place in the layers of '{encoder.config.model_type}'. Choose one of: "
                         f"{', '.join(others)}.")
    return layout


class RowOwners:
    """Whose each row of the current batch is: `rows` (n,) int64, numbers of tenants."""

    rows: Tensor


class TenantLora(nn.Module):
    """base(x) + 2 * up(down(x)), with `down` (N, rank, in) and `up` (N, out, rank) of each row's tenant.

    Gathering the small matrices and multiplying them in one batch is how S-LoRA serves many adapters
    (Sheng et al., arXiv 2311.03285).
    """

    def __init__(self, base: nn.Linear, down: Tensor, up: Tensor, owners: RowOwners) -> None:
        super().__init__()
        self.base, self._owners = base, owners
        self.register_buffer("down", down)
        self.register_buffer("up", up)

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, in) to (n, length, out)."""
        rows = self._owners.rows
        inner = torch.bmm(states, self.down[rows].transpose(1, 2))  # (n, length, rank)
        return self.base(states) + LORA_SCALE * torch.bmm(inner, self.up[rows].transpose(1, 2))


class TenantBottleneck(nn.Module):
    """The base layer, then the bottleneck of each row's tenant.

    Weights: down (N, rank, width) and its bias (N, rank), up (N, width, rank) and its bias (N, width).
    """

    def __init__(self, base: nn.Linear, weights: Sequence[Tensor], owners: RowOwners) -> None:
        super().__init__()
        self.base, self._owners = base, owners
        for name, tensor in zip(("down", "down_bias", "up", "up_bias"), weights, strict=True):
            self.register_buffer(name, tensor)

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, in) to (n, length, width)."""
        rows, states = self._owners.rows, self.base(states)
        inner = torch.baddbmm(self.down_bias[rows, None], states, self.down[rows].transpose(1, 2))  # (n, length, rank)
        change = torch.baddbmm(self.up_bias[rows, None], functional.gelu(inner), self.up[rows].transpose(1, 2))
        return states + change


class TenantNorm(nn.Module):
    """A layer norm whose scale and shift, (N, width) each, are those of each row's tenant."""

    def __init__(self, base: nn.LayerNorm, scale: Tensor, shift: Tensor | None, owners: RowOwners) -> None:
        super().__init__()
        self.shape, self.eps, self._owners = base.normalized_shape, base.eps, owners
        self.register_buffer("scale", scale)
        self.register_buffer("shift", torch.zeros_like(scale) if shift is None else shift)  # ModernBERT's have none

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, width) to the same."""
        rows = self._owners.rows
        plain = functional.layer_norm(states, self.shape, eps=self.eps)
        return plain * self.scale[rows, None] + self.shift[rows, None]


def add_tenants(module: nn.Module, deltas: Sequence[dict[str, Tensor]], owners: RowOwners) -> nn.Module:
    """Replace every adapted layer of the plain module, in place, by one that holds all tenants' weights."""
    target = next(module.parameters()).device

    def stack(name: str) -> Tensor:
        return torch.stack([delta[name] for delta in deltas]).to(target)

    for name in _sites(deltas[0], ".lora_A.default.weight"):
        weights = [stack(f"{name}.lora_{side}.default.weight") for side in "AB"]
        module.set_submodule(name, TenantLora(module.get_submodule(name), *weights, owners))
    for name in _sites(deltas[0], ".adapter.down.weight"):
        weights = [stack(f"{name}.adapter.{part}") for part in ("down.weight", "down.bias", "up.weight", "up.bias")]
        module.set_submodule(name, TenantBottleneck(module.get_submodule(name), weights, owners))
    for site, norm in [(name, part) for name, part in module.named_modules() if isinstance(part, nn.LayerNorm)]:
        if f"{site}.weight" in deltas[0]:
            shift = None if norm.bias is None else stack(f"{site}.bias")
            module.set_submodule(site, TenantNorm(norm, stack(f"{site}.weight"), shift, owners))
    module.classifier = nn.Identity()  # each tenant has a head
    return module.eval()


def _sites(delta: dict[str, Tensor], ending: str) -> list[str]:
    return [name.removesuffix(ending) for name in delta if name.endswith(ending)]
