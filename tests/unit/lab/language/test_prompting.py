"""Prompts hold the nearest examples and fit; scores are corrected as said; a language model is a Model like others."""

import dataclasses
import json
import re

import numpy as np
import pytest
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from small_llama import smollm2
from tiny_gguf import tiny_gguf

from helpers.lab import Cancelled, InputError, Model, Task, compare, load, load_task
from helpers.lab.language.engines.endpoints import endpoint
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import load_language_model
from helpers.lab.language.prompting import CALIBRATED, MEAN, PromptedModel, label_words, prompted
from helpers.lab.models.cascade import CascadeModel
from helpers.lab.models.model import Card
from helpers.lab.progress import Progress


class Counting(LanguageModel):
    """Counts a token a word; scores a label by its examples in the prompt, and each of its tokens with -1.

    liking: nats more for some labels, whatever the prompt says.
    """

    engine = "counting"

    def __init__(self, context: int = 2000, liking: dict[str, float] | None = None) -> None:
        super().__init__("words", context, 0)
        self.liking, self.read_tokens = liking or {}, 0

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def generate(self, prompts, **options):
        raise NotImplementedError

    def score(self, prompt, answers, *, progress=None):
        self.read_tokens = sum(self.count_tokens([part["content"] for part in prompt]))
        said = [part["content"] for part in prompt if part["role"] == "assistant"]
        return np.array([said.count(answer) - (len(answer.split()) + 1.0) + self.liking.get(answer, 0.0)
                         for answer in answers])

    def _save(self, folder):
        raise NotImplementedError


def task_of(rows: dict[str, list[str]], labels: list[str] | None = None) -> Task:
    """The texts of each label, for training, validation and test alike."""
    names = tuple(labels or rows)
    parts = Dataset.from_dict({"text": [text for texts in rows.values() for text in texts],
                               "label": [names.index(label) for label, texts in rows.items() for _ in texts]})
    return Task("small", parts, parts, parts, names, "a test")


def examples_in(messages: list[dict[str, str]]) -> list[tuple[str, str]]:
    """(text, label) of each example in a prompt."""
    texts = [re.search(r"Text: (.*)\nLabel:$", part["content"], re.DOTALL)[1] for part in messages[0:-1:2]]
    return list(zip(texts, (part["content"] for part in messages[1::2]), strict=True))


# What the model reads

def test_the_nearest_examples_are_those_of_tf_idf_and_the_nearest_comes_last(tiny_task):
    model = prompted(Counting(), tiny_task, shots=5, select="nearest")
    train, labels = tiny_task.train["text"][:], tiny_task.train["label"][:]
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(train)
    for text in tiny_task.test["text"][:10]:
        likeness = cosine_similarity(vectorizer.transform([text]), vectorizer.transform(train))[0]
        shown = examples_in(model.prompt(text))
        result = [likeness[train.index(example)] for example, _ in shown]
        distinct = {(train[row], labels[row]): likeness[row] for row in np.argsort(-likeness)}
        np.testing.assert_allclose(result, sorted(sorted(distinct.values())[-5:]), atol=1e-9)
        assert all(tiny_task.labels[labels[train.index(example)]] == label for example, label in shown)


def test_fixed_examples_are_the_same_for_every_text_and_give_each_class_its_turn(tiny_task):
    model = prompted(Counting(), tiny_task, shots=7, select="fixed")
    [first, second] = (examples_in(model.prompt(text)) for text in ("a dog", "a hammer"))
    assert first == second
    counts = [sum(label == name for _, label in first) for name in tiny_task.labels]
    assert sorted(counts) == [2, 2, 3]
    assert {label for _, label in first[:3]} == set(tiny_task.labels)


def test_without_examples_the_prompt_has_the_instruction_and_all_labels(tiny_task):
    model = prompted(Counting(), tiny_task, select="none")
    [message] = model.prompt("a dog in the rain")
    assert message["role"] == "user"
    assert all(label in message["content"] for label in tiny_task.labels)
    assert message["content"].endswith("Text: a dog in the rain\nLabel:")
    assert model.card.settings["shots"] == 0


def test_a_text_that_no_example_is_like_gets_examples_of_each_class(tiny_task):
    shown = examples_in(prompted(Counting(), tiny_task, shots=3).prompt("?"))
    assert {label for _, label in shown} == set(tiny_task.labels)


@pytest.mark.parametrize("select", ["none", "fixed", "nearest"])
def test_every_prompt_fits_though_texts_and_examples_are_long(select):
    rows = {"short": ["a word or two " * 3, "some words"], "long": ["many words " * 400, "words without end " * 500]}
    llm = Counting(context=400)
    model = prompted(llm, task_of(rows), shots=4, select=select)
    for text in ("words", "words " * 10_000, "", "\0", "x" * 1_000_000):
        assert model.predict([text]).shape == (1, 2)
        assert llm.read_tokens < 400
    if select != "none":  # the long ones are passed over, the short ones stay
        assert len(examples_in(model.prompt("words"))) == 2


def test_labels_that_leave_no_room_are_refused():
    rows = {f"label number {number}": [f"text {number}"] for number in range(100)}
    with pytest.raises(InputError, match=r"The names of 100 labels take \d+ of the 300 tokens"):
        prompted(Counting(context=300), task_of(rows), select="none")


def test_labels_are_read_as_words():
    assert label_words(["refund_status", "RefundRequest", "  other__one "]) == ("refund status", "Refund Request",
                                                                              "other one")
    assert label_words(["a_b", "a b"]) == ("a_b", "a b")  # else nobody could tell them apart
    assert label_words(["_", "x"]) == ("_", "x")


def test_what_cannot_be_prompted_is_refused(tiny_task):
    with pytest.raises(InputError, match=r"Unknown selection 'best'\. Choose one of: none, fixed, nearest"):
        prompted(Counting(), tiny_task, select="best")
    with pytest.raises(InputError, match="at least one, not 0: use select='none'"):
        prompted(Counting(), tiny_task, shots=0)
    with pytest.raises(InputError, match="has images"):
        prompted(Counting(), load_task("digits"), select="none")
    with pytest.raises(InputError, match="No example has a word of two letters"):
        prompted(Counting(), task_of({"a": ["1", "2"], "b": ["3", "4"]}))


# What is made of its scores

def test_scores_are_means_over_tokens_where_that_is_right_as_often():
    rows = {"one": ["good news", "good day"], "two words more": ["bad news", "bad day"]}
    model = prompted(Counting(), task_of(rows), shots=1)
    assert model.card.settings["correction"] == MEAN
    text = "bad news"
    expected = model.llm.score(model.prompt(text), model.words) / np.array([1 + 1, 3 + 1])
    np.testing.assert_allclose(model.predict([text])[0], expected, rtol=1e-6)
    assert model.predict([text]).dtype == np.float32


def test_a_liking_for_one_label_is_taken_out_where_that_helps():
    """Ten nats for "one" hide what the examples say; behind a text without content they are all that is left."""
    rows = {"one": ["good news", "good day"], "two": ["bad news", "bad day"]}
    model = prompted(Counting(liking={"one": 10.0}), task_of(rows), shots=1)
    assert model.card.settings["correction"] == CALIBRATED
    assert model.predict(["bad news", "good day"]).argmax(axis=1).tolist() == [1, 0]
    nothing = prompted(model.llm, task_of(rows), select="none").prompt("N/A")
    expected = model.llm.score(model.prompt("bad news"), model.words) - model.llm.score(nothing, model.words)
    np.testing.assert_allclose(model.predict(["bad news"])[0], expected, rtol=1e-6)


def test_cancel_ends_the_choice(tiny_task):
    heard = []
    with pytest.raises(Cancelled):
        prompted(Counting(), tiny_task, progress=Progress(lambda *said: heard.append(said), lambda: len(heard) > 2))


# Like any other model

def few_rows(task: Task) -> Task:
    return dataclasses.replace(task.take(train=30, test=4), validation=task.validation.select(range(3)))


def test_a_served_model_is_saved_as_its_address(faulty, tmp_path, tiny_task):
    top = [{"token": label, "logprob": -1.0 - place} for place, label in enumerate(tiny_task.labels)]
    choice = {"message": {"content": "x"}, "finish_reason": "length",
              "logprobs": {"content": [{"token": "x", "logprob": 0.0, "top_logprobs": top}]}}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()

    def scored(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(body)

    faulty.script = [scored]
    model = prompted(endpoint(faulty.url, model="small"), tiny_task, shots=2)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(["a dog"]), model.predict(["a dog"]))
    assert load(tmp_path).card == model.card


@pytest.mark.slow
@pytest.mark.parametrize("text", ["hammer " * 5000, "?!" * 20_000, "x" * 100_000, "\u6f22" * 5000])
def test_a_prompt_fits_the_real_models_context_with_its_template_around_it(tiny_task, text):
    llm, settings = smollm2("llama.cpp"), {"select": "nearest", "shots": 8}
    examples = [*zip(tiny_task.train["text"][:], tiny_task.train["label"][:], strict=True), ("hammer saw " * 800, 1)]
    model = PromptedModel(Card("small", 3, settings=settings, labels=tiny_task.labels), llm, examples, None)
    longest = max(len(ids) for ids in llm.encode(model.words)) + 1
    assert len(llm.read(model.prompt(text))) + longest <= llm.context


@pytest.mark.parametrize("engine", ["transformers", "openvino"])
def test_a_reloaded_model_predicts_the_same(engine, tiny_task, tmp_path):
    model = prompted(load_language_model(in_weight_type(tiny_gguf(), "F16"), engine), few_rows(tiny_task), shots=2)
    texts = tiny_task.test["text"][:3]
    model.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.card == model.card
    assert loaded.prompt(texts[0]) == model.prompt(texts[0])
    # OpenVINO reads again what its cache of prefixes holds: the last bits differ from call to call.
    np.testing.assert_allclose(loaded.predict(texts), model.predict(texts), atol=0 if engine == "transformers" else 0.1)


def test_a_language_model_stands_in_a_comparison_and_in_a_cascade(tiny_task, tiny_model):
    task = few_rows(tiny_task)
    model = prompted(load_language_model(in_weight_type(tiny_gguf(), "F16"), "openvino"), task, shots=2)
    assert isinstance(model, Model)
    logits = model.predict(task.test["text"][:])
    assert (logits.shape, logits.dtype) == ((4, 3), np.float32)
    assert model.predict([]).shape == (0, 3)
    frame = compare([tiny_model, model], task, rows=2, rounds=2, energy=False, memory=False).frame()
    assert frame["model"].tolist()[1] == f"{model.llm.name} (openvino), 2 nearest examples"
    assert frame["accuracy"].tolist()[1] == pytest.approx((logits.argmax(axis=1) == task.test["label"][:]).mean())
    assert frame["artefact_mb"].tolist()[1] > model.llm.stored / 1e6  # with its weights
    unsure = CascadeModel(Card("two stages", 3), tiny_model, model, threshold=1.1)  # nobody is as sure as that
    np.testing.assert_array_equal(unsure.predict(task.test["text"][:]).argmax(axis=1), logits.argmax(axis=1))
