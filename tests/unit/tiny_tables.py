"""Files of a few rows, and what is read from them."""

import csv

import pytest

from helpers.lab import InputError, load_task

ROWS = [(f"{word} number {number}", label)
        for label, word in (("fruit", "apple"), ("tool", "hammer")) for number in range(6)]


def write_csv(path, rows, header=("text", "label"), delimiter=",", **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, **options).writerows([header, *rows] if header else rows)
    return path


def all_rows(task):
    return [(text, task.labels[label]) for split in (task.train, task.validation, task.test)
            for text, label in zip(split["text"], split["label"], strict=True)]


def refusal(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_task(path, **options)
    return str(caught.value)
