"""All notebooks as pages: `python -m helpers.app.voila`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.lab.errors import InputError

from .pages import Page, derive

ROOT = Path(__file__).parents[2]
TEMPLATES = Path(__file__).parent / "template"
EXTENSIONS = ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget"]
CELL_FAILED = "This part of the page could not be computed. Reload the page; the server's log has the details."


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    options = _options(arguments)
    try:
        build, pages = derive(options.notebooks)
    except InputError as error:
        sys.exit(str(error))
    prepare_environment()
    server = make_server(build, pages, port=options.port, base_url=options.base_url, pool=options.pool,
                         browser=not options.no_browser and has_display())
    server.start()


def prepare_environment() -> None:
    """Let Voila find the template, and its kernels this package, installed or not."""
    for variable, path in (("JUPYTER_PATH", TEMPLATES), ("PYTHONPATH", ROOT)):
        os.environ[variable] = os.pathsep.join(filter(None, [str(path), os.environ.get(variable)]))


def make_server(build: Path, pages: Sequence[Page], *, port: int = 8866, base_url: str = "/", pool: int = 1,
                browser: bool = False) -> Any:
    """Voila with this project's settings; `start()` serves. Call `prepare_environment` before."""
    from traitlets.config import Config
    from voila.app import Voila
    from voila.configuration import VoilaConfiguration

    config = Config()
    config.VoilaConfiguration = Config({
        "template": "brand", "theme": "light", "classic_tree": True, "strip_sources": True, "show_tracebacks": False,
        "allow_template_override": "NO",  # an unknown ?template= never answers
        "allow_theme_override": "NOTEBOOK",  # ?theme= would go into the page unescaped
        "extension_allowlist": EXTENSIONS,  # the others fail in the console and cost load time
        "file_allowlist": [r".*\.(png|jpg|gif|svg)"],
        "preheat_kernel": pool > 0, "default_pool_size": pool,
        "multi_kernel_manager_class": "helpers.app.kernels.GraceKernelManager",
        "page_config_hook": _with_pages(pages),
    })
    config.VoilaExecutor.cell_error_instruction = CELL_FAILED
    config.MappingKernelManager.cull_idle_timeout = 600  # a browser that vanishes leaves its kernel
    config.MappingKernelManager.cull_interval = 60
    config.Voila = Config({"ip": "127.0.0.1", "port": port, "base_url": base_url, "open_browser": browser,
                           "root_dir": str(build)})
    Voila.classes = [*Voila.classes, VoilaConfiguration]
    server = Voila.instance(config=config)  # the instance, so that errors of cells reach its log
    server.initialize([])
    server.tornado_settings = {"default_handler_class": _not_found(server.voila_configuration)}
    return server


def has_display() -> bool:
    """Whether a browser could open a window here."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _with_pages(pages: Sequence[Page]) -> Any:
    told = [vars(page) for page in pages]

    def hook(page_config: dict[str, Any], **_about: Any) -> dict[str, Any]:
        page_config["pages"] = told  # the landing page reads the dictionary, the pages what is returned
        return page_config

    return hook


def _not_found(configuration: Any) -> type:
    """What answers an address that nothing is served at; Tornado's own page is bare."""
    from voila.handler import BaseVoilaHandler

    class NotFound(BaseVoilaHandler):
        def initialize(self, **_kwargs: Any) -> None:
            super().initialize(voila_configuration=configuration)

        def get(self) -> None:
            self.send_error(404)

    return NotFound


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m helpers.app.voila", description=__doc__)
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--base_url", default="/", help="path before all addresses, behind a reverse proxy")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the notebooks")
    parser.add_argument("--pool", type=int, default=1, help="kernels kept ready for each page; 0 starts each on demand")
    options = parser.parse_args(arguments)
    options.base_url = f"/{options.base_url.strip('/')}/" if options.base_url.strip("/") else "/"
    return options


if __name__ == "__main__":
    main()
