"""Where an architecture keeps its parts: attention's projections, the feed-forward matrices, the residual stream."""

import dataclasses

from torch import nn
from transformers.pytorch_utils import Conv1D

from helpers.lab.models.modules.classifiers import MeanPoolClassifier, OwnHeadClassifier


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names below one layer of an encoder or decoder.

    reads: what reads the residual stream for the attention: query, key and value, or one matrix that holds all three
        one after another; attention_out and ffn_out: what returns to the stream; ffn_in: what reads it for the
        feed-forward part (a gated one's two halves may stand in one matrix);
    attention: what knows the heads' size; writes: whose outputs are the stream, "" being the layer itself;
    start: below the whole body, whose output is the stream's beginning: the first of them that there is.
    """

    reads: tuple[str, ...]
    attention_out: str
    ffn_in: tuple[str, ...]
    ffn_out: str
    attention: str = ""
    writes: tuple[str, ...] = ()
    start: tuple[str, ...] = ()

    @property
    def fused(self) -> bool:
        """Whether one matrix holds query, key and value."""
        return len(self.reads) == 1


BERT = Layout(("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense",
              ("intermediate.dense",), "output.dense", "attention.self",
              ("attention.output.LayerNorm", "output.LayerNorm"), ("embeddings_project", "embeddings.LayerNorm"))
DISTILBERT = Layout(("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin", ("ffn.lin1",),
                    "ffn.lin2", "attention", ("sa_layer_norm", "output_layer_norm"), ("embeddings.LayerNorm",))
MPNET = Layout(("attention.attn.q", "attention.attn.k", "attention.attn.v"), "attention.attn.o",
               ("intermediate.dense",), "output.dense", "attention.attn",
               ("attention.LayerNorm", "output.LayerNorm"), ("embeddings.LayerNorm",))
MODERNBERT = Layout(("attn.Wqkv",), "attn.Wo", ("mlp.Wi",), "mlp.Wo", "attn", ("",), ("embeddings.norm",))

# model type -> layout, of those whose parts can be removed. Others may look alike, but add to a part what a cut would
# have to know: shared layers, positions inside the attention, convolutions, norms in another place.
CUTTABLE = {**dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "data2vec-text", "ernie", "electra"), BERT),
            "distilbert": DISTILBERT, "mpnet": MPNET, "modernbert": MODERNBERT}

# What layers look like that adapters go into, whatever the model is called
_LAYOUTS = (
    BERT, DISTILBERT, MPNET, MODERNBERT,
    Layout(("attn.c_attn",), "attn.c_proj", ("mlp.c_fc",), "mlp.c_proj"),  # GPT-2
    Layout(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.o_proj",
           ("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),  # Llama, Qwen, Mistral, Gemma
    Layout(("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
           "attention.output.dense", ("intermediate.dense",), "output.dense"),  # DeBERTa-v2 and v3
    Layout(("attention.self.in_proj",), "attention.output.dense", ("intermediate.dense",), "output.dense"),  # DeBERTa
    Layout(("attention.query", "attention.key", "attention.value"), "attention.dense",
           ("ffn",), "ffn_output"),  # ALBERT
)


def body_of(module: nn.Module) -> nn.Module:
    """Return the body under the head of a classifier, or of one of transformers' models: the encoder or decoder."""
    if isinstance(module, MeanPoolClassifier):
        return module.encoder
    return (module.classifier if isinstance(module, OwnHeadClassifier) else module).base_model


def head_of(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a classifier above its body; none of a module that is no such classifier."""
    if not isinstance(module, MeanPoolClassifier | OwnHeadClassifier):
        return []
    below = {id(parameter) for parameter in body_of(module).parameters()}
    return [parameter for parameter in module.parameters() if id(parameter) not in below]


def architecture_of(module: nn.Module) -> str:
    """Return the architecture's name in its configuration: 'modernbert', for one."""
    return module.config.model_type


def is_linear(layer: nn.Module) -> bool:
    """Whether it is a matrix product: a linear layer, or GPT-2's, which keeps its weight transposed."""
    return isinstance(layer, nn.Linear | Conv1D)


def stacked_linear(body: nn.Module) -> dict[str, nn.Module]:
    """Name -> linear layer, of all in the body's stacks of layers: embeddings, poolers and heads are none of them."""
    inside = {id(part) for stack in body.modules() if isinstance(stack, nn.ModuleList) for part in stack.modules()}
    return {name: part for name, part in body.named_modules() if is_linear(part) and id(part) in inside}


def layers_of(body: nn.Module, layout: Layout) -> dict[str, nn.Module]:
    """Name -> layer, of all parts of the body that are laid out so."""
    wanted = (*layout.reads, layout.attention_out, *layout.ffn_in, layout.ffn_out)
    linear = {name for name, part in body.named_modules() if is_linear(part)}
    return {name: part for name, part in body.named_modules() if name and all(f"{name}.{one}" in linear
                                                                             for one in wanted)}


def layout_of(body: nn.Module) -> Layout | None:
    """How the layers of a body are laid out, by what they hold; None if in no known way."""
    return next((layout for layout in _LAYOUTS if layers_of(body, layout)), None)
