"""Voila with what it lacks: a cap on its kernels, scripts in two files, no delay, header links, our 404, the doctor.

Voila's page loads its script in small parts (webpack's chunks), six at a time, each asked for by another one. A part
that is on the page already is not asked for, so these are sent together, before the script itself. The list is in
static/chunks.txt (`python -m recording.chunks` writes it, from what a browser loads); a part that another version of
Voila does not have is left out, and one that is not listed is loaded as ever. Vega comes in a second file, loaded
side by side; where it does not, as in JupyterLab, the charts get it from the kernel.
"""

import asyncio
import contextlib
import functools
import gzip
import hashlib
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_path
from jupyter_core.utils import ensure_async
from jupyter_server.utils import url_path_join
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from voila.app import Voila
from voila.handler import BaseVoilaHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

from helpers.app.charts import VEGA_BUNDLE
from helpers.app.server.hosts import guarded
from helpers.app.server.landing import FILES, BillFile, Landing
from helpers.app.server.pages import Page
from helpers.app.server.visitors import FEWEST_PAGES, RELOAD_S, SEAT, Room, Seat, Wait
from helpers.lab.machine import usable_cores

CHUNKS = Path(__file__).parents[1] / "static" / "chunks.txt"
COOKIE = "visitor"
PATIENCE_S = 30.0  # for other pages that are computed: after that one is computed beside them, in case they hang
MAX_AGE_S = 60  # of the doctor's answer; looking takes seconds of a processor
DOCTOR = (sys.executable, "-m", "helpers.doctor", "--json")


def places(name: str) -> list[Path]:
    """Where the listed part may be, the folders of Jupyter's data in their order."""
    return [path for path in (Path(root) / name for root in jupyter_path()) if path.is_file()]


def chunks() -> bytes:
    """The listed parts in one, gzip."""
    listed = [places(name) for name in CHUNKS.read_text(encoding="utf-8").split()]
    text = b"".join(files[0].read_bytes() + b"\n;\n" for files in listed if files)
    return gzip.compress(text, 6, mtime=0)


class Script:
    """A script that is served under an address that changes with its content; read when first asked for."""

    def __init__(self, name: str, read: Callable[[], bytes]) -> None:
        self._name, self._read = name, read

    @functools.cached_property
    def packed(self) -> bytes:
        """The script, gzip."""
        return self._read()

    @functools.cached_property
    def address(self) -> str:
        """Under the server's base address, such as app/chunks-0123456789abcdef.js."""
        return f"app/{self._name}-{hashlib.sha256(self.packed).hexdigest()[:16]}.js"


SCRIPTS = {"chunks": Script("chunks", chunks), "vega": Script("vega", VEGA_BUNDLE.read_bytes)}


@functools.cache
def _computed_at_once() -> asyncio.Semaphore:
    """As many pages as there are cores: more at a time would all be late, instead of half of them."""
    return asyncio.Semaphore(usable_cores())


@contextlib.asynccontextmanager
async def one_of(places: asyncio.Semaphore, patience_s: float) -> AsyncIterator[None]:
    """Hold one of the places, or none where they are all held for too long."""
    try:
        await asyncio.wait_for(places.acquire(), patience_s)
    except TimeoutError:
        yield
        return
    try:
        yield
    finally:
        places.release()


class NotebookPage(TornadoVoilaHandler):
    """A page, as soon as there is a seat for its visitor; else the place in the line.

    It brings the cookie without which leaving it would not end its kernel, and the one that tells visitors apart.
    """

    _seat: Seat | None = None

    async def get(self, path: str | None = None) -> None:
        """Voila's page, or the waiting page."""
        self.xsrf_token  # noqa: B018 - asking for it sets the cookie
        room = self.kernel_manager.room
        if room is None or not await ensure_async(self.contents_manager.file_exists(path)):
            await super().get(path)
            return
        if "prefetch" in self.request.headers.get("Sec-Purpose", ""):  # a browser's guess at where its reader will go
            self.send_error(503)
            return
        entered = room.enter(*self._visitor())
        if isinstance(entered, Wait):
            self._say_wait(entered)
            return
        self._seat, self._notebook = entered, path
        token = SEAT.set(entered)
        try:
            async with one_of(_computed_at_once(), PATIENCE_S):
                await super().get(path)
        finally:
            SEAT.reset(token)
            room.sent(entered)

    def should_use_rendered_notebook(self, *args: Any, **kwargs: Any) -> bool:
        """As Voila decides it; the very next thing that Voila does is to take the pooled kernel."""
        use = super().should_use_rendered_notebook(*args, **kwargs)
        if use and self._seat is not None:
            self.kernel_manager.hand_out(self._notebook, self._seat)
        return use

    def _visitor(self) -> tuple[str, str, bool]:
        """Who it is, from where, and whether nobody knows yet that the browser keeps cookies."""
        known = self.get_signed_cookie(COOKIE)
        visitor = known.decode() if known else uuid.uuid4().hex
        if not known:
            self.set_signed_cookie(COOKIE, visitor, expires_days=None, path=self.base_url, httponly=True,
                                   samesite="Lax")
        return visitor, self.request.remote_ip or "", not known

    def _say_wait(self, wait: Wait) -> None:
        self.set_status(503)
        self.set_header("Retry-After", str(RELOAD_S))
        self.set_header("Cache-Control", "no-store")
        self.finish(self.render_template("waiting.html", wait=wait, reload_s=RELOAD_S))


class PageSocket(VoilaKernelWebsocketHandler):
    """The line between page and kernel, which sends each message at once.

    By default the system holds a small one back until the one before is acknowledged (Nagle, RFC 896): with the
    browser's delayed acknowledgement that is 40 ms between a control and its chart.
    """

    async def open(self, kernel_id: str) -> None:
        """Connect as Voila does."""
        self.set_nodelay(True)
        await super().open(kernel_id)


class OurHandler(BaseVoilaHandler):
    """Base of the handlers for addresses that Voila does not serve."""

    def initialize(self, **_kwargs: Any) -> None:
        """Take Voila's settings from the server."""
        super().initialize(voila_configuration=self.settings["voila"].voila_configuration)


class NotFound(OurHandler):
    """Page for addresses at which nothing is served; Tornado's is bare."""

    def get(self) -> None:
        """Our page for unknown addresses."""
        self.send_error(404)


class Doctor(OurHandler):
    """Runs `helpers.doctor` in another process, once for all readers, and shows its checks."""

    _lock = asyncio.Lock()
    _latest: tuple[float, list[dict[str, Any]]] = (-MAX_AGE_S, [])

    async def get(self) -> None:
        """The doctor's checks."""
        self.write(self.render_template("doctor.html", checks=await self._checks()))

    @classmethod
    async def _checks(cls) -> list[dict[str, Any]]:
        async with cls._lock:
            if time.monotonic() - cls._latest[0] > MAX_AGE_S:
                process = await asyncio.create_subprocess_exec(*DOCTOR, stdout=asyncio.subprocess.PIPE)
                output, _ = await process.communicate()
                cls._latest = time.monotonic(), json.loads(output)
            return cls._latest[1]


class Robots(OurHandler):
    """Asks search engines and their like not to open pages, each of which starts a program here."""

    def get(self) -> None:
        """The rules for robots."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"User-agent: *\nDisallow: {self.base_url}voila/\nDisallow: {self.base_url}doctor\n")


class PackedScript(OurHandler):
    """A script that every page needs; its address changes with its content, so that browsers may keep it."""

    def initialize(self, script: Script) -> None:
        """Keep what is served."""
        super().initialize()
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
    """Voila; `pages` are known to every template, `seats` of them may be open at a time.

    A proxy may come by `proxy_socket` as well as by the port.
    """

    pages: Sequence[Page] = ()
    seats = FEWEST_PAGES
    proxy_socket: Path | None = None

    def init_settings(self) -> dict[str, Any]:
        """Voila's settings."""
        settings = super().init_settings()
        self.kernel_manager.room = Room(self.seats)
        settings["voila_jinja2_env"].globals["pages"] = [vars(page) for page in self.pages]
        return {**settings, "default_handler_class": guarded(NotFound)}

    def init_handlers(self) -> list[Any]:
        """Voila's handlers and ours."""
        ours = {TornadoVoilaHandler: NotebookPage, VoilaKernelWebsocketHandler: PageSocket,
                TornadoVoilaTreeHandler: Landing}
        theirs = [(path, ours.get(handler, handler), *rest) for path, handler, *rest in super().init_handlers()]
        scripts = [(url_path_join(self.base_url, script.address), PackedScript, {"script": script})
                   for script in SCRIPTS.values()]
        files = [(url_path_join(self.base_url, f"bill.{ending}"), BillFile, {"ending": ending}) for ending in FILES]
        plain = [(url_path_join(self.base_url, name), handler) for name, handler in
                 (("doctor", Doctor), ("robots.txt", Robots))]
        return [(path, guarded(handler), *rest) for path, handler, *rest in (*plain, *files, *scripts, *theirs)]

    def listen(self) -> None:
        """Listen on the port, and on the socket where one is named: its owner and group may connect."""
        if self.proxy_socket:
            try:
                listening = bind_unix_socket(str(self.proxy_socket), mode=0o660)
            except (OSError, ValueError) as error:
                self.log.critical("No socket can be made at %s (%s). Name another place with --socket.",
                                  self.proxy_socket, error)
                self.exit(1)
            HTTPServer(self.app, xheaders=True).add_socket(listening)  # only a proxy can say who asks
        super().listen()
