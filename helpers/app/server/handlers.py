"""Voila with what it lacks: scripts in two files, no delay, header links on error pages, our 404, the doctor's page."""

import asyncio
import gzip
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from jupyter_server.utils import url_path_join
from voila.app import Voila
from voila.handler import BaseVoilaHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler

from helpers.app.server.chunks import SCRIPTS, Script
from helpers.app.server.pages import Page

REMEMBERED_S = 60  # the doctor's answer; looking takes seconds of a processor
DOCTOR = (sys.executable, "-m", "helpers.doctor", "--json")


class NotebookPage(TornadoVoilaHandler):
    """A page that brings the cookie without which leaving it would not end its kernel."""

    async def get(self, path: str | None = None) -> None:
        """Voila's page, and the cookie that it needs to end its kernel."""
        self.xsrf_token  # noqa: B018 - asking for it sets the cookie
        await super().get(path)


class PageSocket(VoilaKernelWebsocketHandler):
    """The line between page and kernel, which sends each message at once.

    By default the system holds a small one back until the one before is acknowledged (Nagle, RFC 896): with the
    browser's delayed acknowledgement that is 40 ms between a control and its chart.
    """

    async def open(self, kernel_id: str) -> None:
        """Connect as Voila does."""
        self.set_nodelay(True)
        await super().open(kernel_id)


class NotFound(BaseVoilaHandler):
    """What answers an address that nothing is served at; Tornado's own page is bare."""

    def initialize(self, **_kwargs: Any) -> None:
        """Take Voila's settings from the server."""
        super().initialize(voila_configuration=self.settings["voila"].voila_configuration)

    def get(self) -> None:
        """Our page for unknown addresses."""
        self.send_error(404)


class Doctor(BaseVoilaHandler):
    """Runs `helpers.doctor` in a process of its own, for all readers together, and shows what it found."""

    _lock = asyncio.Lock()
    _found: tuple[float, list[dict[str, Any]]] = (-REMEMBERED_S, [])

    def initialize(self, **_kwargs: Any) -> None:
        """Take Voila's settings from the server."""
        super().initialize(voila_configuration=self.settings["voila"].voila_configuration)

    async def get(self) -> None:
        """What the doctor found."""
        self.write(self.render_template("doctor.html", checks=await self._checks()))

    @classmethod
    async def _checks(cls) -> list[dict[str, Any]]:
        async with cls._lock:
            if time.monotonic() - cls._found[0] > REMEMBERED_S:
                process = await asyncio.create_subprocess_exec(*DOCTOR, stdout=asyncio.subprocess.PIPE)
                said, _ = await process.communicate()
                cls._found = time.monotonic(), json.loads(said)
            return cls._found[1]


class PackedScript(BaseVoilaHandler):
    """A script that every page needs; its address changes with its content, so that browsers may keep it."""

    def initialize(self, script: Script) -> None:
        """Keep what is served."""
        super().initialize(voila_configuration=self.settings["voila"].voila_configuration)
        self._script = script

    def get(self) -> None:
        """The script, packed where the browser can unpack it."""
        packed = "gzip" in self.request.headers.get("Accept-Encoding", "")
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        self.set_header("Vary", "Accept-Encoding")
        if packed:
            self.set_header("Content-Encoding", "gzip")
        self.finish(self._script.packed if packed else gzip.decompress(self._script.packed))


class PageServer(Voila):
    """Voila; `pages` are known to every template."""

    pages: Sequence[Page] = ()

    def init_settings(self) -> dict[str, Any]:
        """Voila's settings."""
        settings = super().init_settings()
        settings["voila_jinja2_env"].globals["pages"] = [vars(page) for page in self.pages]
        return {**settings, "default_handler_class": NotFound}

    def init_handlers(self) -> list[Any]:
        """Voila's handlers and ours."""
        ours = {TornadoVoilaHandler: NotebookPage, VoilaKernelWebsocketHandler: PageSocket}
        theirs = [(path, ours.get(handler, handler), *rest) for path, handler, *rest in super().init_handlers()]
        scripts = [(url_path_join(self.base_url, script.address), PackedScript, {"script": script})
                   for script in SCRIPTS.values()]
        return [(url_path_join(self.base_url, "doctor"), Doctor), *scripts, *theirs]
