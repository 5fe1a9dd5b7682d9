"""Tasks are split the same way each time, and the built-in ones are what they say."""

import dataclasses
import importlib.resources
import json
import os
import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from tiny_tables import ROWS, all_rows, refusal, write_csv

from helpers.lab import load_task, tfidf_baseline


def test_splits_share_no_row_and_lose_none(tiny_task):
    assert len(tiny_task.train) + len(tiny_task.validation) + len(tiny_task.test) == 120
    assert (len(tiny_task.test), len(tiny_task.validation)) == (30, 9)


def test_each_split_has_the_labels_in_the_same_shares(tiny_task):
    for split in (tiny_task.train, tiny_task.validation, tiny_task.test):
        counts = np.bincount(split["label"][:], minlength=3)
        assert counts.max() - counts.min() == 0


def test_the_same_file_is_split_the_same_way(tmp_path):
    path = write_csv(tmp_path / "a.csv", ROWS)
    assert all_rows(load_task(path)) == all_rows(load_task(path))
    assert all_rows(load_task(path, seed=1)) != all_rows(load_task(path))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(3, 12), min_size=2, max_size=12))
@example([3] * 49)
@example([3] * 40 + [200])
def test_three_rows_a_label_always_suffice(tmp_path_factory, counts):
    rows = [(f"text {label} {n}", f"label {label}") for label, count in enumerate(counts) for n in range(count)]
    task = load_task(write_csv(tmp_path_factory.mktemp("counts") / "a.csv", rows))
    assert sorted(all_rows(task)) == sorted(rows)
    assert set(task.train["label"]) == set(range(len(counts)))


def test_a_file_of_test_rows_is_the_test_split_as_it_stands(tmp_path):
    test = [("pear number 1", "fruit"), ("saw number 1", "tool"), ("pear number 2", "fruit")]
    task = load_task(write_csv(tmp_path / "a.csv", ROWS), test=write_csv(tmp_path / "b.csv", test))
    assert list(task.test["text"]) == [text for text, _ in test]
    assert [task.labels[label] for label in task.test["label"]] == [label for _, label in test]


def test_equal_data_has_an_equal_digest_under_any_file_name(tmp_path):
    first, second = (load_task(write_csv(tmp_path / name, ROWS)) for name in ("a.csv", "b.csv"))
    assert first.digest == second.digest


def test_the_digest_changes_with_one_letter(tmp_path):
    changed = [("Apple number 0", "fruit"), *ROWS[1:]]
    first, second = (load_task(write_csv(tmp_path / "a.csv", rows)) for rows in (ROWS, changed))
    assert first.digest != second.digest


def test_the_digest_changes_when_a_row_changes_sides(tiny_task):
    moved = dataclasses.replace(
        tiny_task, train=tiny_task.train.select(range(len(tiny_task.train) - 1)),
        validation=datasets.concatenate_datasets([tiny_task.train.select([len(tiny_task.train) - 1]),
                                                  tiny_task.validation]))
    assert moved.digest != tiny_task.digest


def test_taking_fewer_rows_leaves_the_other_splits_alone(tiny_task):
    fewer = tiny_task.take(train=10)
    assert len(fewer.train) == 10
    assert set(fewer.train["text"]) <= set(tiny_task.train["text"])
    assert list(fewer.test["text"]) == list(tiny_task.test["text"])


def test_a_test_label_that_training_never_shows_is_named(tmp_path):
    train = write_csv(tmp_path / "train.csv", ROWS)
    test = write_csv(tmp_path / "test.csv", [*ROWS[:2], ("a lion", "animal")])
    message = refusal(train, test=test)
    assert message == "test.csv has 1 labels that train.csv has not, such as 'animal'."


def run_offline(code, tmp_path):
    """In a new process, since the Hub's client reads its settings when it is imported."""
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HELPERS_HOME": str(tmp_path / "home")}
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=os.environ | settings, check=True,
                          capture_output=True, text=True).stdout


def test_a_hub_name_without_a_network_gives_one_clear_sentence(tmp_path):
    code = ("from helpers.lab import load_task, InputError\n"
            "try: load_task('hub:someone/tickets')\nexcept InputError as error: print(error)")
    message = run_offline(code, tmp_path)
    assert "The data set 'someone/tickets' could not be loaded" in message
    assert "Check the name and the network, or give a local file" in message
    assert "Traceback" not in message


def test_a_data_set_in_the_hubs_form_needs_a_train_split_and_known_labels(tmp_path):
    """`datasets` reads a local folder just as it reads a repository of the Hub."""
    for name, rows in {"good": ROWS, "strange": [*ROWS, ("a lion", "animal")]}.items():
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "train.csv", ROWS)
        write_csv(tmp_path / name / "test.csv", rows)
    (tmp_path / "only").mkdir()
    write_csv(tmp_path / "only" / "test.csv", ROWS)
    code = (f"import os; os.chdir({str(tmp_path)!r})\nfrom helpers.lab import load_task, InputError\n"
            "print(len(load_task('hub:./good').test))\n"
            "for name, options in [('only', {}), ('strange', {}), ('good', {'label': 'kind'})]:\n"
            "    try: load_task(f'hub:./{name}', **options)\n    except InputError as error: print(error)")
    rows, only, strange, column = run_offline(code, tmp_path).strip().split("\n")
    assert rows == "12"
    assert "./only has no split 'train'. Its splits: test." in only
    assert "1 labels" in strange
    assert "'animal'" in strange
    assert "./good has no column 'kind'. Its columns: text, label." in column


def splits(task):
    return {"train": task.train, "validation": task.validation, "test": task.test}


@pytest.fixture(scope="module", params=["tickets", "tickets-balanced"])
def messages(request):
    return load_task(request.param)


def test_balanced_tickets_are_2400_messages_in_24_intents_of_100():
    task = load_task("tickets-balanced")
    labels = np.concatenate([split["label"][:] for split in splits(task).values()])
    assert len(task.labels) == 24
    assert np.bincount(labels).tolist() == [100] * 24


def test_tickets_are_as_unequal_as_in_life():
    """6,000 messages, half of them to test on; 1 to 20 between the intents, and a tenth that is none of them."""
    task = load_task("tickets")
    parts = splits(task)
    assert sum(map(len, parts.values())) >= 6000
    assert len(task.test) >= 3000
    counts = dict(zip(task.labels, np.bincount(np.concatenate([part["label"][:] for part in parts.values()])),
                      strict=True))
    outside = counts.pop("out_of_scope")
    assert 0.08 <= outside / (outside + sum(counts.values())) <= 0.12
    assert max(counts.values()) >= 20 * min(counts.values())
    assert set(counts) == set(load_task("tickets-balanced").labels)


def test_fields_and_second_wishes_are_true_to_their_message():
    """A field is a piece of the text; a second wish is another intent than the first."""
    with (importlib.resources.files("helpers") / "data" / "tickets.csv").open(encoding="utf-8") as file:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    labels = set(rows["label"])
    annotated = [(row.text, json.loads(row.fields)) for row in rows.itertuples() if row.fields]
    assert len(annotated) >= 1200
    assert {field for _, fields in annotated for field in fields} == {"order", "product", "amount", "date"}
    assert [(text, value) for text, fields in annotated for value in fields.values() if value not in text] == []
    wished = rows[rows["second"] != ""]
    assert set(wished["second"]) <= labels - {"out_of_scope"}
    assert (wished["second"] != wished["label"]).all()
    assert len(wished) >= 200


def test_each_split_of_the_tickets_has_every_intent(messages):
    for name, split in splits(messages).items():
        assert set(split["label"]) == set(range(len(messages.labels))), name


def test_no_ticket_is_written_twice(messages):
    texts = [" ".join(text.lower().split()) for split in splits(messages).values() for text in split["text"]]
    assert len(set(texts)) == len(texts)


def test_no_near_duplicate_of_a_ticket_crosses_the_splits(messages):
    """Jaccard similarity of the sets of 5-character pieces, for all pairs."""
    pieces = CountVectorizer(analyzer="char", ngram_range=(5, 5), binary=True, dtype=np.int32)
    texts = {name: split["text"][:] for name, split in splits(messages).items()}
    pieces.fit([text for part in texts.values() for text in part])
    sets = {name: pieces.transform(part) for name, part in texts.items()}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = (sets[one] @ sets[other].T).toarray()
        union = sets[one].sum(axis=1) + sets[other].sum(axis=1).T - shared
        near = np.argwhere(np.asarray(shared / np.maximum(union, 1)) >= 0.7)
        assert [(texts[one][a], texts[other][b]) for a, b in near] == []


def test_counting_words_solves_the_tickets_neither_badly_nor_well(messages):
    answers = tfidf_baseline(messages).predict(messages.test["text"][:]).argmax(axis=1)
    assert 0.70 <= (answers == np.asarray(messages.test["label"][:])).mean() <= 0.90


def test_digits_are_the_1797_images_of_8_by_8_from_scikit_learn():
    digits = load_task("digits")
    assert digits.input == "image"
    assert [len(split) for split in splits(digits).values()] == [1212, 135, 450]  # a quarter, then a tenth
    images = np.concatenate([np.asarray(split["image"][:]) for split in splits(digits).values()])
    labels = np.concatenate([split["label"][:] for split in splits(digits).values()])
    assert images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's counts


def test_a_row_of_a_split_is_found_in_the_file_and_one_of_no_file_is_not(tmp_path):
    lines = ["text,label", *(f"{word} number {n},{word}" for n in range(9) for word in ("fruit", "tool"))]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    task = load_task(tmp_path / "own.csv")
    result = task.lines("test", [2, 0])
    assert [lines[line - 1].split(",")[0] for line in result] == [task.test["text"][2], task.test["text"][0]]
    assert load_task("tickets").lines("train", [0]) is None
