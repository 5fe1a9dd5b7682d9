"""Layers that read, for each row of a batch, the numbers of that row's tenant."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LORA_SCALE = 2.0  # alpha over rank, as in freeze_all_but


class Who:
    """Whose each row of the batch under way is: `rows` (n,) int64."""

    rows: Tensor


class TenantLora(nn.Module):
    """base(x) + 2 * up(down(x)), with `down` (N, rank, in) and `up` (N, out, rank) of each row's tenant.

    Gathering the small matrices and multiplying them in one batch is how S-LoRA serves many adapters
    (Sheng et al., arXiv 2311.03285).
    """

    def __init__(self, base: nn.Linear, down: Tensor, up: Tensor, who: Who) -> None:
        super().__init__()
        self.base, self._who = base, who
        self.register_buffer("down", down)
        self.register_buffer("up", up)

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, in) to (n, length, out)."""
        rows = self._who.rows
        inner = torch.bmm(states, self.down[rows].transpose(1, 2))
        return self.base(states) + LORA_SCALE * torch.bmm(inner, self.up[rows].transpose(1, 2))


class TenantBottleneck(nn.Module):
    """The base layer, then each row's own bottleneck: (N, rank, width), (N, rank), (N, width, rank) and (N, width)."""

    def __init__(self, base: nn.Linear, weights: Sequence[Tensor], who: Who) -> None:
        super().__init__()
        self.base, self._who = base, who
        for name, tensor in zip(("down", "down_bias", "up", "up_bias"), weights, strict=True):
            self.register_buffer(name, tensor)

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, in) to (n, length, width)."""
        rows, states = self._who.rows, self.base(states)
        inner = torch.baddbmm(self.down_bias[rows, None], states, self.down[rows].transpose(1, 2))
        changed = torch.baddbmm(self.up_bias[rows, None], nn.functional.gelu(inner), self.up[rows].transpose(1, 2))
        return states + changed


class TenantNorm(nn.Module):
    """A layer norm whose scale and shift, (N, width) each, are those of each row's tenant."""

    def __init__(self, base: nn.LayerNorm, scale: Tensor, shift: Tensor, who: Who) -> None:
        super().__init__()
        self.shape, self.eps, self._who = base.normalized_shape, base.eps, who
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, width) to the same."""
        rows = self._who.rows
        plain = nn.functional.layer_norm(states, self.shape, eps=self.eps)
        return plain * self.scale[rows, None] + self.shift[rows, None]


def put_in(module: nn.Module, deltas: Sequence[dict[str, Tensor]], who: Who) -> nn.Module:
    """Replace every adapted layer of the plain module, in place, by one that holds all tenants' numbers."""
    target = next(module.parameters()).device

    def stack(name: str) -> Tensor:
        return torch.stack([delta[name] for delta in deltas]).to(target)

    for name in _sites(deltas[0], ".lora_A.default.weight"):
        weights = [stack(f"{name}.lora_{side}.default.weight") for side in "AB"]
        module.set_submodule(name, TenantLora(module.get_submodule(name), *weights, who))
    for name in _sites(deltas[0], ".adapter.down.weight"):
        weights = [stack(f"{name}.adapter.{part}") for part in ("down.weight", "down.bias", "up.weight", "up.bias")]
        module.set_submodule(name, TenantBottleneck(module.get_submodule(name), weights, who))
    for name in _sites(deltas[0], "LayerNorm.weight"):
        site = f"{name}LayerNorm"
        module.set_submodule(site, TenantNorm(module.get_submodule(site), stack(f"{site}.weight"),
                                              stack(f"{site}.bias"), who))
    module.classifier = nn.Identity()  # the heads are the tenants' own
    return module.eval()


def _sites(delta: dict[str, Tensor], ending: str) -> list[str]:
    return [name.removesuffix(ending) for name in delta if name.endswith(ending)]
