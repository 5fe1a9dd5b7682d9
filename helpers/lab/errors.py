"""Errors whose message is one sentence for the reader: what is wrong and what to do."""

import re

# The folders of an absolute path, which in quotes may hold blanks; a URL stays.
_FOLDERS = re.compile(r"""(?<=['"])(?:[A-Za-z]:)?[/\\][^'"]*[/\\](?=[^'"]*['"])"""
                      r"""|(?<![\w:/])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'":]+[/\\])+""")


class InputError(ValueError):
    """Input that cannot be used; the message says why and names the cure."""


class NotStored(UserWarning):
    """A result that could not be stored, or a stored one that cannot be used; the message is for the reader."""


class Cancelled(Exception):
    """The user pressed Cancel, or the caller cancelled its `Progress`."""


def reason(error: BaseException) -> str:
    """Return a library's error message on one line, without a full stop and folders of this machine: for a sentence.

    >>> from helpers.lab.errors import reason
    >>> reason(OSError("Load model from /tmp/tmp6q47/model.xml failed: see https://onnx.ai/docs."))
    'OSError: Load model from model.xml failed: see https://onnx.ai/docs'
    """
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())  # some libraries colour theirs
    words = _FOLDERS.sub("", words)
    return f"{type(error).__name__}: {words[:160].rstrip('.')}"
