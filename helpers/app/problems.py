"""An error as one sentence for the reader; its traceback goes to a log under the same id."""

import functools
import logging
import logging.handlers
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from helpers.lab.errors import InputError
from helpers.lab.paths import own_folder


def log_folder() -> Path:
    """Where tracebacks are logged; beside the ledger when `HELPERS_HOME` names its place."""
    folder = own_folder(platformdirs.user_log_path, "logs")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def logger() -> logging.Logger:
    """The log of this layer: a file of at most 2 MB, or the server's own log where there can be no file."""
    log = logging.getLogger("helpers.app")
    handler: logging.Handler
    try:
        handler = logging.handlers.RotatingFileHandler(log_folder() / "app.log", maxBytes=1_000_000, backupCount=1,
                                                       encoding="utf-8")
    except (InputError, OSError):  # the reader gets the sentence all the same
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    return log


def sentence(error: BaseException) -> str:
    """The sentence for the reader. An InputError speaks for itself; any other error is logged under an id."""
    if isinstance(error, InputError):
        return str(error)
    trace = "".join(traceback.format_exception(error))
    return logged("Something went wrong here, and it is not your fault.", trace)


def logged(what: str, trace: str) -> str:
    """The sentence `what`, with the id under which `trace` now stands in the log."""
    number = uuid.uuid4().hex[:8]
    logger().error("[%s] %s\n%s", number, what, trace)
    return f"{what} The details are in the log under {number}."


def guarded(tell: Callable[[str], None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator for callbacks: an error becomes one sentence given to `tell`, and nothing is raised."""
    def decorate(callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback)
        def guarding(*args: Any, **kwargs: Any) -> Any:
            try:
                return callback(*args, **kwargs)
            except Exception as error:
                tell(sentence(error))
                return None
        return guarding
    return decorate
