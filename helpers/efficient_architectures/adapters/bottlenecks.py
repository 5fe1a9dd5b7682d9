"""Houlsby's adapters: small layers between the layers of a frozen encoder."""

from torch import Tensor, nn

from helpers.lab.errors import InputError

SITES = ("attention.output.dense", "output.dense")  # where each half of a BERT layer returns to the residual stream


class Bottleneck(nn.Module):
    """x + up(gelu(down(x))), with `rank` numbers in the middle; at the start exactly x.

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
        return states + self.up(nn.functional.gelu(self.down(states)))


class Adapted(nn.Module):
    """A linear layer of the encoder with a bottleneck behind it."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.adapter = Bottleneck(base.out_features, rank)

    def forward(self, states: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.adapter(self.base(states))


def add_bottlenecks(encoder: nn.Module, rank: int) -> None:
    """Put two bottlenecks into every layer of a BERT-like encoder, in place.

    Raises:
        InputError: a rank below 1, or an encoder without BERT's layers.
    """
    if rank < 1:
        raise InputError(f"A bottleneck has at least one number in the middle, not {rank}.")
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if layers is None:
        raise InputError(f"Bottlenecks go into encoders with BERT's layers; {type(encoder).__name__} has none.")
    for layer in layers:
        for site in SITES:
            base = layer.get_submodule(site)
            layer.set_submodule(site, Adapted(base, rank).to(base.weight.device))


def bottleneck_parameters(width: int, rank: int, layers: int) -> int:
    """Numbers in the bottlenecks of an encoder, on paper: two a layer, each 2 * width * rank + width + rank."""
    return layers * 2 * (2 * width * rank + width + rank)


def norms(encoder: nn.Module) -> list[nn.Parameter]:
    """The layer norms' parameters, which the paper trains as well."""
    return [parameter for layer in encoder.modules() if isinstance(layer, nn.LayerNorm)
            for parameter in layer.parameters()]
