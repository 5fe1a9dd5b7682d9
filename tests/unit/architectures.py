"""Classifiers of twelve architectures, built small from their configurations, each with its own tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from helpers.lab.models.modules.classifiers import OwnHeadClassifier

SPECIALS = ["<unk>", "<s>", "</s>", "<x>", "<y>"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}

# architecture -> (configuration, its sizes, id of the padding token, whether texts are framed by <s> and </s>)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    "bert": ("BertConfig", SIZES | {"max_position_embeddings": 64}, 0, True),
    "roberta": ("RobertaConfig", SIZES | {"max_position_embeddings": 66}, 1, True),
    "distilbert": ("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64,
                                        "max_position_embeddings": 64}, 0, True),
    "albert": ("AlbertConfig", SIZES | {"embedding_size": 16, "max_position_embeddings": 64}, 0, True),
    "mpnet": ("MPNetConfig", SIZES | {"max_position_embeddings": 66}, 1, True),
    "electra": ("ElectraConfig", SIZES | {"embedding_size": 16, "max_position_embeddings": 64}, 0, True),
    "deberta-v2": ("DebertaV2Config", SIZES | {"max_position_embeddings": 64, "relative_attention": True,
                                               "pos_att_type": ["p2c", "c2p"], "position_buckets": 16}, 0, True),
    "modernbert": ("ModernBertConfig", SIZES | {"max_position_embeddings": 64, "global_attn_every_n_layers": 2,
                                                "local_attention": 8}, 4, True),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, 2, False),
    "llama": ("LlamaConfig", SIZES | {"max_position_embeddings": 64, "num_key_value_heads": 2}, 2, False),
    "qwen2": ("Qwen2Config", SIZES | {"max_position_embeddings": 64, "num_key_value_heads": 2}, 3, False),
    "xlm-roberta": ("XLMRobertaConfig", SIZES | {"max_position_embeddings": 66}, 1, True),
}


# Built like BERT or RoBERTa under another name
ALIKE: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    name: (kind, SIZES | {"max_position_embeddings": 66}, 1, True) for name, kind in (
        ("camembert", "CamembertConfig"), ("data2vec-text", "Data2VecTextConfig"), ("ernie", "ErnieConfig"))}

# Others that load, and that each tool here works on or refuses by name: none of them may end in another error
FURTHER: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    "convbert": ("ConvBertConfig", SIZES | {"embedding_size": 32, "max_position_embeddings": 64, "head_ratio": 2,
                                            "conv_kernel_size": 3}, 0, True),
    "roformer": ("RoFormerConfig", SIZES | {"embedding_size": 32, "max_position_embeddings": 64}, 0, True),
    "rembert": ("RemBertConfig", SIZES | {"input_embedding_size": 16, "output_embedding_size": 16,
                                          "max_position_embeddings": 64}, 0, True),
    "mobilebert": ("MobileBertConfig", SIZES | {"embedding_size": 16, "intra_bottleneck_size": 16,
                                                "max_position_embeddings": 64}, 0, True),
    "roberta-prelayernorm": ("RobertaPreLayerNormConfig", SIZES | {"max_position_embeddings": 66}, 1, True),
    "ibert": ("IBertConfig", SIZES | {"max_position_embeddings": 66}, 1, True),
    "fnet": ("FNetConfig", {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64,
                            "max_position_embeddings": 64}, 0, True),
    "big_bird": ("BigBirdConfig", SIZES | {"max_position_embeddings": 64, "attention_type": "original_full"}, 0, True),
    "luke": ("LukeConfig", SIZES | {"max_position_embeddings": 66, "entity_vocab_size": 10, "entity_emb_size": 16},
             1, True),
    "yoso": ("YosoConfig", SIZES | {"max_position_embeddings": 64, "use_expectation": True}, 0, True),
    "nystromformer": ("NystromformerConfig", SIZES | {"max_position_embeddings": 62, "num_landmarks": 64,
                                                      "segment_means_seq_len": 64, "conv_kernel_size": 3}, 0, True),
}


def build(name: str, folder: Path, texts: list[str], labels: tuple[str, ...], seed: int = 0) -> Callable[..., Any]:
    """Save a classifier of the architecture with its tokenizer into `folder`; a function that gives its logits."""
    _, _, pad_id, framed = (ARCHITECTURES | ALIKE | FURTHER)[name]
    tokenizer = make_tokenizer(texts, pad_id, framed)
    model = _classifier(name, seed, vocab_size=len(tokenizer), id2label=dict(enumerate(labels)),
                        label2id={label: n for n, label in enumerate(labels)},
                        bos_token_id=tokenizer.convert_tokens_to_ids("<s>"),
                        eos_token_id=tokenizer.convert_tokens_to_ids("</s>"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def answer(inputs: list[str]) -> Any:
        batch = tokenizer(inputs, padding=True, truncation=True, max_length=64, return_tensors="pt",
                          return_token_type_ids=False)
        return model(**batch).logits.numpy()

    return answer


def _classifier(name: str, seed: int, **facts: Any) -> PreTrainedModel:
    """Random weights, wide apart enough that answers differ."""
    kind, sizes, pad_id, _ = (ARCHITECTURES | ALIKE | FURTHER)[name]
    torch.manual_seed(seed)
    config = getattr(transformers, kind)(**sizes, pad_token_id=pad_id, cls_token_id=1, sep_token_id=2,
                                         initializer_range=0.3, **facts)
    return AutoModelForSequenceClassification.from_config(config).eval()


def small_classifier(name: str, labels: int = 3, seed: int = 0) -> OwnHeadClassifier:
    """A classifier of the architecture as this package holds it, of 50 tokens."""
    return OwnHeadClassifier(_classifier(name, seed, vocab_size=50, num_labels=labels)).eval()


def make_tokenizer(texts: list[str], pad_id: int, framed: bool) -> PreTrainedTokenizerFast:
    """Words as tokens; the padding token stands at `pad_id` among the special ones."""
    raw = Tokenizer(models.WordLevel(unk_token="<unk>"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    raw.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIALS[:1] + SPECIALS[1:]))
    specials = ["<s>", "</s>"]
    if framed:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[
            (token, raw.token_to_id(token)) for token in specials])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
                                   cls_token="<s>", sep_token="</s>", pad_token=raw.id_to_token(pad_id))
