"""Small pieces of a page: its settings in the address, downloads, and a word when the session has ended."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from helpers.app.text.problems import guarded

_STATIC = Path(__file__).parents[1] / "static"


def _source(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


class UrlState(anywidget.AnyWidget):
    """`query` is what the address held when the page opened; setting `push` writes those keys into it."""

    _esm = _source("url_state.js")
    query = traitlets.Dict().tag(sync=True)
    push = traitlets.Dict().tag(sync=True)


class Download(anywidget.AnyWidget):
    """One button for each file.

    Args:
        makers: format name -> (file name, mime type, function that gives the text when pressed).
        tell: is given a sentence when making a file fails.
    """

    _esm = _source("download.js")
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, makers: Mapping[str, tuple[str, str, Callable[[], str]]], tell: Callable[[str], None]):
        super().__init__(names=list(makers))
        self._makers = makers
        self._tell = tell
        self.on_msg(self._save)

    def _save(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        """In a thread: the first drawing of a report takes a second, and Cancel must not wait for it."""
        if message.get("make") in self._makers:
            threading.Thread(target=guarded(self._tell)(self._make), args=(message["make"],), daemon=True).start()

    def _make(self, name: str) -> None:
        file, mime, make = self._makers[name]
        self.send({"file": file, "mime": mime}, [make().encode()])


class CopyCode(anywidget.AnyWidget):
    """A button that copies a script and shows it.

    Args:
        make: gives the script when pressed.
        tell: is given a sentence when making it fails.
    """

    _esm = _source("copy_code.js")

    def __init__(self, make: Callable[[], str], tell: Callable[[str], None]):
        super().__init__()
        self._make = make
        self.on_msg(guarded(tell)(self._answer))

    def _answer(self, _widget: Any, _message: Any, _buffers: Any) -> None:
        self.send({"code": self._make()})


class Names(anywidget.AnyWidget):
    """Names the sliders and progress bars of the panel that it stands in; ipywidgets leaves them nameless."""

    _esm = _source("names.js")


class Liveness(anywidget.AnyWidget):
    """A banner 'Session ended' once the page's kernel is gone, and the style sheet of all that we show."""

    _esm = _source("liveness.js")
    _css = _source("app.css")
