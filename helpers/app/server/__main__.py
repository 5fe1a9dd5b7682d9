"""All notebooks as pages: `python -m helpers.app.server`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.app.server.pages import Page, derive, described, without_lesson
from helpers.app.server.visitors import seats_for_machine
from helpers.lab.errors import InputError
from helpers.lab.machine import share_one_heap

ROOT = Path(__file__).parents[3]
TEMPLATES = Path(__file__).parents[1] / "template"
EXTENSIONS = ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget"]
REFILL_S = 4.0  # until the next kernel is prepared: sooner, it would take the cores from the page that is opening
SOCKET_NAME = 49  # bytes, as in /kernel-01234567-89ab-cdef-0123-456789abcdef-ipc-5
LONGEST_SOCKET = 103  # bytes of a path, macOS's limit; Linux takes 107
LOCAL_NAMES = ("localhost",)  # and all addresses of this machine's own: see --host
# Nothing but what this server serves is loaded or asked. The template, Voila and Vega have scripts within the page and
# compile expressions, which allows WebAssembly, too; widgets and their workers come as modules from memory (blob:).
POLICY = "; ".join((
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:", "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:", "font-src 'self' data:", "connect-src 'self' blob: data:", "worker-src 'self' blob:",
    "object-src 'none'", "base-uri 'self'", "form-action 'self'", "frame-ancestors 'self'"))
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
CELL_FAILED = "This part of the page could not be computed. Reload the page; the server's log has the details."


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    options = _options(arguments)
    share_one_heap()
    try:
        build, pages = derive(options.notebooks)
    except InputError as error:
        sys.exit(str(error))
    prepare_environment()
    server = make_server(build, pages, port=options.port, base_url=options.base_url, pool=options.pool,
                         idle_s=options.idle, seats=options.visitors or seats_for_machine(), hosts=options.host,
                         browser=not options.no_browser and has_display())
    server.proxy_socket = options.socket
    server.start()


def prepare_environment() -> None:
    """Let Voila find the template, and its kernels this package, installed or not."""
    for variable, path in (("JUPYTER_PATH", TEMPLATES), ("PYTHONPATH", ROOT)):
        os.environ[variable] = os.pathsep.join(filter(None, [str(path), os.environ.get(variable)]))
    os.environ.setdefault("JUPYTER_WIDGETS_ECHO", "0")  # tells other readers of a kernel; a page's kernel has one


def configure(config: Any, *, idle_s: int = 600, hosts: Sequence[str] = ()) -> None:
    """Set on a traitlets configuration what all pages need, however Voila is started.

    Args:
        hosts: names under which readers may ask, beside those of this machine: a proxy's. Another name in an address
            that leads here is a stranger's, whose pages could otherwise read these (DNS rebinding).
    """
    config.Voila.kernel_websocket_connection_class = "helpers.app.server.frames.CheckedConnection"
    config.Voila.tornado_settings = {"allow_remote_access": False, "local_hostnames": [*LOCAL_NAMES, *hosts],
                                     "headers": HEADERS}
    config.VoilaConfiguration.update({
        "template": "brand", "theme": "light", "classic_tree": True, "strip_sources": True, "show_tracebacks": False,
        "allow_template_override": "NO",  # an unknown ?template= never answers
        "allow_theme_override": "NOTEBOOK",  # ?theme= would go into the page unescaped
        "extension_allowlist": EXTENSIONS,  # the others fail in the console and cost load time
        "file_allowlist": [r".*\.(png|jpg|gif|svg)"],
        "multi_kernel_manager_class": "helpers.app.server.kernels.manager.GraceKernelManager",
    })
    config.VoilaExecutor.cell_error_instruction = CELL_FAILED
    config.MappingKernelManager.cull_idle_timeout = idle_s  # a browser that vanishes leaves its kernel
    config.MappingKernelManager.cull_interval = min(15, idle_s)
    config.KernelManager.transport = transport()


def transport() -> str:
    """How server and kernels talk: by sockets in the user's own folder, or by ports where there can be none.

    Jupyter chooses free ports, lets them go, and the kernel takes them half a second later. Where another program was
    faster, the page waited for a minute and failed (jupyter_client's issue 276). Ports are also open to all users of
    the machine, though the kernel takes no message without its key.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    fits = len(os.fsencode(jupyter_runtime_dir())) + SOCKET_NAME <= LONGEST_SOCKET
    return "ipc" if fits and sys.platform != "win32" else "tcp"


def configure_plain(config: Any) -> None:
    """For `voila notebooks/…` by hand (etc/voila.py calls it): the lesson's cells are dropped as a page opens."""
    prepare_environment()
    configure(config)
    config.VoilaConfiguration.prelaunch_hook = lambda _request, notebook, cwd: without_lesson(notebook)
    config.VoilaConfiguration.page_config_hook = _with_pages_of_folder


def make_server(build: Path, pages: Sequence[Page], *, port: int, base_url: str, pool: int, idle_s: int, seats: int,
                hosts: Sequence[str], browser: bool) -> Any:
    """Voila with this project's settings; `start()` serves. Call `prepare_environment` before."""
    from traitlets.config import Config
    from voila.configuration import VoilaConfiguration

    from helpers.app.server import templates
    from helpers.app.server.handlers import SCRIPTS, PageServer
    from helpers.app.server.kernels import forking

    scripts = {name: script.address for name, script in SCRIPTS.items()}
    config = Config()
    configure(config, idle_s=idle_s, hosts=hosts)
    forking.prepare(config)
    templates.share()
    config.VoilaConfiguration.update({"preheat_kernel": pool > 0, "default_pool_size": pool,
                                      "page_config_hook": _with_pages(pages, scripts)})
    config.VoilaKernelManager.fill_delay = REFILL_S
    config.Voila.update({"ip": "127.0.0.1", "port": port, "base_url": base_url, "open_browser": browser,
                         "root_dir": str(build), "config_file_paths": []})
    # Its handler shows no less; Jupyter would make 2,000 records of a lower level for each page all the same.
    config.Voila.logging_config = {"loggers": {PageServer.__name__: {"level": "INFO"}}}
    PageServer.classes = [*PageServer.classes, VoilaConfiguration]
    server = PageServer.instance(config=config)  # the instance, so that errors of cells reach its log
    server.pages, server.seats = pages, seats
    server.initialize([])
    return server


def has_display() -> bool:
    """Whether a browser could open a window here."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _with_pages(pages: Sequence[Page], scripts: Mapping[str, str] | None = None) -> Any:
    facts = [vars(page) for page in pages]

    def hook(page_config: dict[str, Any], **_about: Any) -> dict[str, Any]:
        # The landing page reads the dictionary, the pages what is returned.
        page_config.update(pages=facts, scripts=scripts)
        return page_config

    return hook


def _with_pages_of_folder(page_config: dict[str, Any], *, settings: dict[str, Any], **_about: Any) -> dict[str, Any]:
    server = settings["voila"]  # started for one notebook, it serves no others
    pages = [] if server.notebook_path else described(Path(server.root_dir))
    return _with_pages(pages)(page_config)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m helpers.app.server", description=__doc__)
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--base_url", default="/", help="path before all addresses, behind a reverse proxy")
    parser.add_argument("--host", action="append", default=[], help="a name under which readers ask, such as that of "
                        "a reverse proxy; may be given several times (this machine's own are known)")
    parser.add_argument("--socket", type=Path, help="a file where a reverse proxy on this machine connects, besides "
                        "the port; its owner and group may")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the notebooks")
    parser.add_argument("--pool", type=int, default=1, help="kernels held ready for each page; 0 starts each on demand")
    parser.add_argument("--idle", type=int, default=600, help="seconds until a kernel without a reader is ended")
    parser.add_argument("--visitors", type=int, help="pages that may be open at a time, beside the kernels held ready; "
                        "others wait in line (by default as many as the memory and the cores can serve)")
    options = parser.parse_args(arguments)
    options.base_url = f"/{options.base_url.strip('/')}/" if options.base_url.strip("/") else "/"
    return options


if __name__ == "__main__":
    main()
