"""Errors whose message is one sentence for the reader: what is wrong and what to do."""

import re


class InputError(ValueError):
    """Input that cannot be used; the message says why and names the cure."""


class NotStored(UserWarning):
    """A result that could not be stored, or a stored one that cannot be used; the message is for the reader."""


class Cancelled(Exception):
    """The user pressed Cancel, or the caller cancelled its `Progress`."""


def reason(error: BaseException) -> str:
    """Return a library's error message on one line, without a full stop: for use in a sentence."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())  # some libraries colour theirs
    return f"{type(error).__name__}: {words[:160].rstrip('.')}"
