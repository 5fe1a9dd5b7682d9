"""What a hosted language model would cost for the same texts: its price a token, never an invented quality."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import wilson
from helpers.lab.money.costs import api_price, api_prices
from helpers.lab.training.weights import find_weights

PROMPT = "Classify the message. Answer with one of these labels and nothing else: {labels}.\n\nMessage: {text}\nLabel:"


def hosted_llm(task: Task, names: Sequence[str] | None = None, *, answers: Sequence[str] | None = None,
               prompt: str = PROMPT) -> pd.DataFrame:
    """Dollars per million messages of hosted models, from the tokens of the task's test texts.

    Args:
        names: 'VENDOR MODEL' as in `api_prices`; by default all of them.
        answers: labels that such a model gave for the test rows, in their order, if there are any. Capitals, blanks
            for underscores, as the prompt has them, and a full stop make none wrong.
        prompt: with the places {labels} and {text}.

    Returns:
        One row a model: model, input_tokens, output_tokens (means a message, of MiniLM's tokenizer: other tokenizers
        differ by some tenths), usd_per_million, accuracy with accuracy_low and accuracy_high (NaN without answers: then
        nobody measured it), as_of, source_url.

    Raises:
        InputError: an unknown name, a prompt without {text}, or answers of another number than the rows.

    >>> from helpers.efficient_architectures import hosted_llm
    >>> from helpers.lab import load_task
    >>> hosted_llm(load_task("tickets"), ["OpenAI gpt-4o-mini"])[["model", "accuracy"]].values.tolist()
    [['OpenAI gpt-4o-mini', nan]]
    """
    prices = {name: api_price(name) for name in names or api_prices()}
    if "{text}" not in prompt:
        raise InputError("The prompt has no place {text} for the message; put one in.")
    tokenizer = TextEncoder.load(find_weights() / "tokenizer.json", max_tokens=100_000)
    labels = ", ".join(_shown(label) for label in task.labels)
    tokens_in = _mean_tokens(tokenizer, [prompt.replace("{labels}", labels).replace("{text}", text)
                                         for text in task.test["text"][:]])
    tokens_out = _mean_tokens(tokenizer, [_shown(task.labels[label]) for label in task.test["label"][:]])
    accuracy, low, high = _quality(task, answers)
    return pd.DataFrame([{
        "model": name, "input_tokens": tokens_in, "output_tokens": tokens_out,
        "usd_per_million": 1e6 * price.usd(tokens_in, tokens_out), "accuracy": accuracy, "accuracy_low": low,
        "accuracy_high": high, "as_of": price.as_of, "source_url": price.source_url}
        for name, price in prices.items()])


def _shown(label: str) -> str:
    """The label as the prompt has it."""
    return label.replace("_", " ")


def _mean_tokens(tokenizer: TextEncoder, texts: Sequence[str]) -> float:
    """Without the two marks that MiniLM's tokenizer adds."""
    return float(np.mean([len(row) - 2 for row in tokenizer.encode(texts)]))


def _quality(task: Task, answers: Sequence[str] | None) -> tuple[float, float, float]:
    if answers is None:
        return (float("nan"),) * 3
    if len(answers) != len(task.test):
        raise InputError(f"There are {len(answers)} answers for {len(task.test)} test rows; give one for each, "
                         "in their order.")
    truth = [task.labels[label] for label in task.test["label"][:]]
    right = sum(_plain(answer) == _plain(label) for answer, label in zip(answers, truth, strict=True))
    return right / len(truth), *wilson(right, len(truth))


def _plain(label: str) -> str:
    return _shown(label).strip().rstrip(".").casefold()
