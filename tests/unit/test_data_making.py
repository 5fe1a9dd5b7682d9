"""Copies and new texts keep their labels; what generators give away is counted; changes are saved and replay."""

import csv
import json
import math
import random

import numpy as np
import pandas as pd
import pytest

from helpers.data_efficiency import (
    Review,
    clean_file,
    clean_large,
    doubtful_rows,
    extraction_test,
    gains_over,
    nearest_real,
    replay,
    synthesize,
)
from helpers.data_efficiency.generation.augmentation import mixed
from helpers.data_efficiency.generation.synthesis import filtered, recombined
from helpers.data_efficiency.generation.word_model import SHORTER, WordModel
from helpers.data_efficiency.linear import Linear
from helpers.lab.errors import InputError

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]
LABELS = [0, 0, 1, 1]


def test_mixed_rows_lie_between_their_parents_and_so_do_their_labels():
    x, targets = np.eye(3, dtype=np.float32), np.eye(3)
    rows, labels = mixed(x, targets, copies=20, seed=0)
    np.testing.assert_allclose(rows, labels, atol=1e-6)
    np.testing.assert_allclose(labels.sum(1), 1)
    assert ((labels > 0.01).sum(1) == 2).any()


def test_gains_are_paired_with_the_reference():
    runs = pd.DataFrame({"method": ["none", "edits"] * 2, "labels": 10, "seed": [0, 0, 1, 1],
                         "accuracy": [0.5, 0.6, 0.7, 0.9]})
    row = gains_over(runs, "none").set_index("method").loc["edits"]
    assert row["gain"] == pytest.approx(0.15)
    half = 12.7062 * np.std([0.1, 0.2], ddof=1) / math.sqrt(2)  # Student's t with one degree of freedom
    assert row["gain_high"] - row["gain"] == pytest.approx(half, rel=1e-4)


def test_probabilities_of_the_word_model_are_those_worked_out_by_hand():
    model = WordModel(["a b", "a c"], [0, 0])
    never = SHORTER / (5 + 1)  # of a, b, c and the two marks, and one for words never seen

    def mixed_with(long: float, short: float, alone: float) -> float:
        return (1 - SHORTER) * long + SHORTER * ((1 - SHORTER) * short + SHORTER * ((1 - SHORTER) * alone + never))

    # The first word is 'a' in both rows, whatever the context; 'b' follows in one of two.
    first, second, end = mixed_with(1, 1, 2 / 6), mixed_with(1 / 2, 1 / 2, 1 / 6), mixed_with(1, 1, 2 / 6)
    assert model.log_probability("a b", 0) == pytest.approx(math.log(first) + math.log(second) + math.log(end))


def test_the_word_model_writes_rows_of_the_class_that_was_asked_for():
    model = WordModel(TEXTS, LABELS)
    rng = random.Random(0)
    written = {model.write(1, rng) for _ in range(50)}
    assert set(" ".join(written).split()) <= set(" ".join(TEXTS[2:]).split())
    assert written - set(TEXTS), "something new among them"
    with pytest.raises(InputError, match="no row of class 7"):
        model.write(7, rng)


def test_recombined_rows_begin_like_one_and_end_like_the_other():
    assert recombined("one two three four", "five six seven eight") == "one two seven eight"
    assert recombined("Hello there. Where is it?", "Hi. I am lost.") == "Hello there. I am lost."


@pytest.mark.parametrize("method", ["words", "recombine"])
def test_as_many_texts_as_asked_for_each_with_a_label_of_the_rows(method):
    made, labels = synthesize(TEXTS, LABELS, 40, method, seed=2)
    assert len(made) == len(labels) == 40
    assert set(labels.tolist()) == {0, 1}
    assert all(set(text.split()) <= set(" ".join(TEXTS[2 * label:2 * label + 2]).split())
               for text, label in zip(made, labels, strict=True))


def test_a_causal_model_of_a_folder_writes_rows_too(tmp_path):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<end>", "?", "-", *sorted(set(" ".join(TEXTS).split()))])}
    plain = Tokenizer(models.WordLevel(words, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", unk_token="?").save_pretrained(tmp_path)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_positions=640, n_embd=16, n_layer=1, n_head=2,
                               bos_token_id=0, eos_token_id=0)).save_pretrained(tmp_path)
    made, labels = synthesize(TEXTS, LABELS, 3, str(tmp_path))
    assert len(made) == len(labels) == 3
    assert set(" ".join(made).split()) <= set(words)


def test_filters_keep_confident_rows_that_are_no_copies():
    judge = Linear(np.array([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0]]))
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    keep, shares = filtered(vectors, np.array([0, 0, 0]), judge, np.array([[1, 0]], np.float32))
    assert keep.tolist() == [False, False, True]  # a copy, another class, neither
    assert shares["confident"] == pytest.approx(2 / 3)
    np.testing.assert_allclose(nearest_real(vectors, np.array([[1, 0]], np.float32)), [1, 0, 0.8], rtol=1e-6)


def test_planted_secrets_come_out_of_copies_and_not_of_thin_air():
    texts, labels = TEXTS * 5, LABELS * 5
    found = extraction_test(texts, labels, "words", copies=(1, 8), secrets=4, samples=400).set_index("copies")
    assert found.loc[8, "extracted"] == 1
    assert found.loc[8, "exposure"] == pytest.approx(math.log2(1001), abs=0.01)
    assert np.isnan(extraction_test(texts, labels, "recombine", copies=(1,), secrets=2, samples=20)["exposure"][0])


@pytest.fixture
def review(tmp_path):
    return Review(TEXTS, ["a", "a", "b", "b"], tmp_path / "log.jsonl")


def test_decisions_are_on_the_disk_at_once_and_stand_after_a_restart(review):
    review.decide(0, "drop")
    review.decide(1, "relabel", "b")
    review.decide(2, "keep")
    again = Review(TEXTS, ["a", "a", "b", "b"], review.path)
    assert {row: entry["action"] for row, entry in again.decisions.items()} == {0: "drop", 1: "relabel", 2: "keep"}
    assert again.cleaned()["label"].tolist() == ["b", "b", "b"]
    assert again.cleaned()["row"].tolist() == [1, 2, 3]


def test_undo_takes_back_one_decision_after_the_other(review):
    review.decide(0, "drop")
    review.decide(0, "relabel", "b")
    assert review.undo() == 0
    assert review.decisions[0]["action"] == "drop"
    assert Review(TEXTS, ["a", "a", "b", "b"], review.path).decisions[0]["action"] == "drop"
    assert review.undo() == 0
    assert review.undo() is None
    assert review.cleaned()["text"].tolist() == TEXTS


def test_a_line_that_was_cut_off_is_dropped_and_the_next_one_stands_alone(review):
    review.decide(0, "drop")
    with review.path.open("a") as file:
        file.write('{"row": 1, "act')
    again = Review(TEXTS, ["a", "a", "b", "b"], review.path)
    again.decide(3, "keep")
    assert set(Review(TEXTS, ["a", "a", "b", "b"], review.path).decisions) == {0, 3}


def test_a_log_of_other_rows_and_wrong_decisions_are_refused(review):
    review.decide(0, "drop")
    with pytest.raises(InputError, match="belongs to other rows"):
        Review(["other", *TEXTS[1:]], ["a", "a", "b", "b"], review.path)
    for row, action, label in ((9, "keep", None), (0, "burn", None), (0, "relabel", None), (0, "keep", "b")):
        with pytest.raises(InputError, match=r"\."):
            review.decide(row, action, label)


@pytest.fixture
def own_file(tmp_path):
    """90 rows: copies that agree, one pair that does not, damage, and one label that is plainly wrong."""
    rows = [(f"the refund of {n} euros for order {n * 7} never came to {name}", "money")
            for n, name in enumerate(["anna", "bert", "carl", "dora"] * 10)]
    rows += [(f"my parcel number {n * 13} is late and still not in {place}", "parcel")
             for n, place in enumerate(["paris", "rome", "oslo", "bern"] * 10)]
    rows += [("caf\u00c3\u00a9 parcel is late", "parcel"), rows[3], rows[50], (rows[7][0], "parcel"),
             ("the refund of euros for order never came, refund refund", "parcel")]
    path = tmp_path / "own.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("body", "kind"), *rows])
    return path


def test_a_file_comes_out_clean_and_the_log_replays_it(own_file, tmp_path):
    before = own_file.read_bytes()
    clean, log, again = tmp_path / "clean.csv", tmp_path / "log.jsonl", tmp_path / "again.csv"
    doubtful = clean_file(own_file, clean, log, text="body", label="kind", duplicates="exact", kind="hashed")
    rows = pd.read_csv(clean)
    assert own_file.read_bytes() == before
    assert list(rows.columns) == ["body", "kind"]
    assert len(rows) == 83
    assert "caf\u00e9 parcel is late" in set(rows["body"])
    assert (rows["body"] == pd.read_csv(own_file)["body"][7]).sum() == 2, "copies that disagree wait for a person"
    assert 83 in set(doubtful["row"]), "the copy with the other label"
    replay(own_file, log, again, text="body", label="kind")
    assert again.read_bytes() == clean.read_bytes()
    actions = [json.loads(line)["action"] for line in log.read_text().splitlines()]
    assert actions == ["repair", "drop", "drop"]


def test_sure_labels_are_changed_only_on_request_and_are_in_the_log(own_file, tmp_path):
    log = tmp_path / "log.jsonl"
    clean_file(own_file, tmp_path / "c.csv", log, text="body", label="kind", kind="hashed", relabel_above=0.1)
    changed = [json.loads(line) for line in log.read_text().splitlines() if '"relabel"' in line]
    assert {"row": 83, "was": "parcel", "label": "money"}.items() <= changed[0].items()
    replay(own_file, log, tmp_path / "again.csv", text="body", label="kind")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()


def test_a_log_does_not_fit_another_file(own_file, tmp_path):
    clean_file(own_file, tmp_path / "c.csv", tmp_path / "log.jsonl", text="body", label="kind", kind="hashed")
    other = tmp_path / "other.csv"
    other.write_text("body,kind\n" + "some text,a\n" * 100)
    with pytest.raises(InputError, match="does not fit"):
        replay(other, tmp_path / "log.jsonl", tmp_path / "x.csv", text="body", label="kind")


ODD_FILES = {  # name -> (bytes, what the sentence names)
    "empty.csv": (b"", "empty"),
    "one_class.csv": (b"text,label\n" + b"some words,a\n" * 9, "one label only"),
    "no_column.csv": (b"body,label\nx,a\n", "no column 'text'"),
    "once.csv": (b"text,label\n" + b"x y,a\n" * 5 + b"z w,b\n", "only once"),
    "classes.csv": (b"text,label\n" + b"".join(b"w,l%d\n" % n for n in range(100_000)), "different labels"),
    "nul.csv": (b"text,label\nx\0y,a\n", "NUL"),
    "latin.csv": ("text,label\ncaf\u00e9,a\n".encode("latin-1"), "UTF-8"),
    "headless.tsv": (b"where is my order now\tparcel\n" * 6, "header"),
    "ids.csv": (b"id,text,label\n" + b"1,x,a\n2,y,b\n" * 4, "repeats the id"),
    "missing.csv": (b"text,label\n,a\nx,b\n", "nothing in column"),
}


@pytest.mark.parametrize("name", sorted(ODD_FILES))
def test_every_odd_file_is_refused_in_one_sentence_and_nothing_is_written(name, tmp_path):
    content, said = ODD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    for work in (lambda: doubtful_rows(path, kind="hashed"),
                 lambda: clean_file(path, tmp_path / "c.csv", tmp_path / "l.jsonl", kind="hashed"),
                 lambda: replay(path, tmp_path / "none.jsonl", tmp_path / "c.csv") if name not in (
                     "one_class.csv", "once.csv", "classes.csv") else doubtful_rows(path, kind="hashed")):
        with pytest.raises(InputError, match=said):
            work()
    assert not (tmp_path / "c.csv").exists()


def test_a_megabyte_of_text_goes_through(tmp_path):
    path = tmp_path / "long.csv"
    rows = "".join(f"refund {n} please,money\nparcel {n} is late,parcel\n" for n in range(10))
    path.write_text(f"text,label\n{rows}{'very long ' * 100_000},money\n")
    assert len(doubtful_rows(path, kind="hashed")["texts"]) == 21


@pytest.mark.parametrize("make", [
    lambda: synthesize(TEXTS, LABELS, 0), lambda: synthesize(TEXTS, LABELS, 3, "magic"),
    lambda: synthesize(TEXTS, LABELS, 3, "nobody/such-a-model"), lambda: extraction_test(TEXTS, LABELS, samples=0),
    lambda: WordModel([], []), lambda: nearest_real(np.eye(2), np.empty((0, 2))), lambda: Review(["a"], []),
])
def test_what_cannot_be_made_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()


def test_the_source_is_never_overwritten(own_file, tmp_path):
    with pytest.raises(InputError, match="never overwritten"):
        clean_file(own_file, own_file, tmp_path / "log.jsonl", text="body", label="kind")
    with pytest.raises(InputError, match="no vectors"):
        clean_file(own_file, tmp_path / "c.csv", tmp_path / "log.jsonl", text="body", label="kind", kind="words")


def test_a_large_file_goes_through_in_chunks(tmp_path, monkeypatch):
    from helpers.data_efficiency.cleaning import large_files as large

    monkeypatch.setattr(large, "CHUNK", 64)
    rng = random.Random(0)
    words = {"money": "refund amount euro bank account charge invoice", "parcel": "parcel late courier street box door"}
    common = ["the", "a", "with", "of", "number", "please", "today", "order"]
    rows = [(" ".join(rng.sample(own.split() + common, 9)) + f" {n}", name)
            for n in range(200) for name, own in words.items()]
    rows[10] = ("caf\u00c3\u00a9 " + rows[10][0], rows[10][1])
    copies = [(text.upper(), name) for text, name in rows[20:40]]
    wrong = [(" ".join(rng.sample(words["money"].split(), 6) + rng.sample(common, 3)) + f" {n}", "parcel")
             for n in range(10)]
    with (tmp_path / "large.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows, *copies, *wrong])
    found = clean_large(tmp_path / "large.csv", tmp_path / "left.csv", select=15, threshold=0.9)
    left = pd.read_csv(tmp_path / "left.csv")
    assert found.rows == 430
    assert found.repaired.tolist() == [10]
    assert set(range(400, 420)) <= set(found.duplicates)
    assert len(left) == 430 - len(found.duplicates)
    assert not set(left["row"]) & set(found.duplicates)
    assert len(set(found.flags["row"]) & set(range(420, 430))) >= 7
    assert len(found.selected) == 15
    assert not set(found.selected) & (set(found.duplicates) | set(found.flags["row"]))


@pytest.mark.parametrize(("content", "said"), [
    (b"a,b\n1,2\n", "no column"), (b"text,label\nx,a\n,b\n", "row 2"), (b"text,label\nx,a\ny,a\n", "one label only"),
    (b"text,label\n\xff,a\n", "UTF-8"), (b"text,label\n", "no rows"),
    (b"text,label\nx,a\nyes, it is,b\n", "more values than columns in row 2")])
def test_a_large_file_that_cannot_be_used_is_refused(content, said, tmp_path):
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        clean_large(tmp_path / "odd.csv", tmp_path / "x.csv")
