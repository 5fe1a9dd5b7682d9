"""What the tests of runtimes share."""

import functools

import pytest

from helpers.hardware_codesign import make


@pytest.fixture(scope="module")
def texts(tiny_task) -> list[str]:
    return tiny_task.test["text"][:24]


@pytest.fixture(scope="module")
def made(tiny_model):
    """made(candidate): its model, made once for all tests here."""
    return functools.cache(lambda candidate: make(tiny_model, candidate))
