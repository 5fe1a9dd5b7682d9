"""Training a tagger: values are located in their texts, their tokens tagged, and an encoder fine-tuned on the tags."""

import functools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from helpers.lab.data.extraction import Extraction, extractions, field_names, places_of
from helpers.lab.data.labels import WISH
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.tagging.tagger import OUTSIDE, Span, Tagger
from helpers.lab.extraction.tagging.token_model import TokenClassifier, TokenModel
from helpers.lab.models.model import Card
from helpers.lab.models.torch import count_macs, count_parameters
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import mean_tokens
from helpers.lab.training.fine_tuning import NOT_LEARNED, fine_tune, padded_targets
from helpers.lab.training.heads import pretrained
from helpers.lab.training.weights import MINILM, short_name

NOT_THERE, AMBIGUOUS, CUT_OFF = "not in the text", "ambiguous", "beyond the token limit"


class NothingToLearn(InputError):
    """No extraction has a value that can be tagged in its text."""


def train_tagger(task: Task, extracted: Sequence[Extraction | None] | None = None, *, encoder: str | Path = MINILM,
                 epochs: float = 4.0, seed: int = 0, progress: Progress = silent) -> Tagger:
    """An encoder fine-tuned to tag the fields of a task, its wish by the first token.

    Args:
        extracted: of each training row what it is trained to find: by default what the task says. Another extractor's
            output, `teacher.extract(task.train["text"])`, distils it into the tagger. Rows of None are left out.
        encoder: a folder, or a name on the Hugging Face Hub.

    Returns:
        A tagger in PyTorch. `settings["dropped"]` counts the values that nothing is learned of: values that are not in
        their text, ambiguous ones (digits that stand there several times, or values that overlap another field's), and
        those beyond the encoder's token limit.

    Raises:
        NothingToLearn: no extraction has a value that can be tagged.
        InputError: a task without fields, or not as many extractions as training rows.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.lab import load_task
    >>> from helpers.lab.extraction.tagging.tag_training import train_tagger
    >>> tagger = train_tagger(load_task("tickets-fields")).exported("int8")  # doctest: +SKIP
    >>> tagger.extract(["Where is my doorbell, order HB-52347?"])  # doctest: +SKIP
    [{'wish': 'delivery_late', 'order': 'HB-52347', 'product': 'doorbell'}]
    """
    began = time.perf_counter()
    fields, texts = field_names(task), task.train["text"][:]
    extracted = extractions(task, "train") if extracted is None else extracted
    if len(extracted) != len(texts):
        raise InputError(f"There are {len(extracted):,} extractions for {len(texts):,} training rows: give one a row.")
    torch.manual_seed(seed)
    pooled, tokenizer = pretrained(encoder, _classes(fields, task.labels))
    module = TokenClassifier(pooled.encoder, _classes(fields, task.labels)).to(next(pooled.parameters()).device)
    used = [row for row, one in enumerate(extracted) if one is not None]
    rows, tags, dropped = [], [], Counter({NOT_THERE: 0, AMBIGUOUS: 0, CUT_OFF: 0})
    for row, (ids, spans) in zip(used, tokenizer.encode_with_spans([texts[row] for row in used]), strict=True):
        rows.append(ids)
        tags.append(tag_tokens(texts[row], spans, extracted[row], fields, task.labels, dropped))
    if not any(tag > OUTSIDE for row in tags for tag in row[1:]):
        raise NothingToLearn("None of the extractions has a value that stands in its text, once and within the token "
                             "limit: a tagger learns nothing of them.")
    fine_tune(module, rows, padded_targets(tags), epochs=epochs, learning_rate=1e-4, head_learning_rate=1e-3, seed=seed,
              loss=functools.partial(_loss, 1 + 2 * len(fields)), progress=progress, say="training the tagger")
    name, settings = f"{short_name(encoder)} tagger", {"runtime": "pytorch", "epochs": epochs, "seed": seed}
    card = Card(name, module.classifier.out_features, "model optimization", settings, count_parameters(module),
                count_macs(module, mean_tokens(task, tokenizer)), time.perf_counter() - began)
    return Tagger(name, TokenModel(card, tokenizer, module), fields, task.labels,
                  settings | {"rows": len(rows), "dropped": dict(dropped)})


def _classes(fields: Sequence[str], wishes: Sequence[str]) -> int:
    return 1 + 2 * len(fields) + len(wishes)


def tag_tokens(text: str, spans: Sequence[Span], extracted: Extraction, fields: Sequence[str], wishes: Sequence[str],
               dropped: Counter) -> list[int]:
    """Make a tagger's targets for each token; the first token has the number of the wish.

    A value is tagged where it stands first. Where it stands again, nothing is learned: there it is no error either.

    Args:
        spans: where each token stands in the text; (0, 0) of marks.
        dropped: counts what cannot be tagged, by its reason.
    """
    tags = [OUTSIDE if start < end else NOT_LEARNED for start, end in spans]
    places = {field: places_of(text, extracted[field]) for field in fields if extracted.get(field)}
    for field, these in places.items():
        tokens = [_tokens_of(place, spans) for place in these]
        first = next((one for one in tokens if one and all(tags[token] == OUTSIDE for token in one)), [])
        if not these:
            dropped[NOT_THERE] += 1
        elif not any(tokens):
            dropped[CUT_OFF] += 1
        elif not first or (len(these) > 1 and extracted[field].isdigit()):
            dropped[AMBIGUOUS] += 1
        else:
            begin = 1 + 2 * fields.index(field)
            for token in first:
                tags[token] = begin + (token != first[0])
    for token in {token for these in places.values() for place in these for token in _tokens_of(place, spans)}:
        tags[token] = NOT_LEARNED if tags[token] == OUTSIDE else tags[token]
    wish = extracted.get(WISH)
    return [wishes.index(wish) if wish in wishes else NOT_LEARNED, *tags[1:]]


def _tokens_of(place: Span, spans: Sequence[Span]) -> list[int]:
    """The tokens that share a character with a place in the text."""
    return [token for token, (start, end) in enumerate(spans) if start < end and start < place[1] and place[0] < end]


def _loss(tags: int, logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the tags, over all tokens of a batch, and of the wishes; NOT_LEARNED counts in neither."""
    labels = labels[:, :logits.shape[1]]
    return (_mean_loss(logits[:, 1:, :tags].flatten(0, 1), labels[:, 1:].flatten())
            + _mean_loss(logits[:, 0, tags:], labels[:, 0]))


def _mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy; 0 where all labels are NOT_LEARNED."""
    total = functional.cross_entropy(logits, labels, ignore_index=NOT_LEARNED, reduction="sum")
    return total / (labels != NOT_LEARNED).sum().clamp(min=1)
