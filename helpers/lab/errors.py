"""Errors whose message is one sentence for the reader: what is wrong and what to do."""

import re


class InputError(ValueError):
    """What the user gave cannot be used; the message says why and names the cure."""


class NotStored(UserWarning):
    """What was computed could not be stored, or what was stored cannot be used; a sentence for the reader."""


class Cancelled(Exception):
    """The user pressed Cancel, or the caller cancelled its `Progress`."""


def reason(error: BaseException) -> str:
    """What a library's error says, on one line that ends without a full stop: for a sentence of our own."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())  # some libraries colour theirs
    return f"{type(error).__name__}: {words[:160].rstrip('.')}"
