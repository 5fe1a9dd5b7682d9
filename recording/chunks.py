"""List the parts of Voila's script that the pages load: python -m recording.chunks, once for each version of Voila."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.page import CHART, chromium, serving
from helpers.app.server.handlers import CHUNKS, places
from helpers.lab.paths import write_atomically

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# Address on the server -> where Jupyter's data folders have it.
FOLDERS = {r"/voila/static/(\d+\.voila\.js)": "voila/templates/base/static/{}",
           r"/voila/labextensions/(.+/static/(?!remoteEntry)[^/]+\.js)": "labextensions/{}"}


def listed(address: str) -> str | None:
    """The name in the list of what was loaded from this address; None for what is no part."""
    for pattern, name in FOLDERS.items():
        if match := re.fullmatch(pattern, urlsplit(address).path):
            names = (name.format(match[1]), f"voila/{name.format(match[1])}")
            return next((name for name in names if places(name)), None)
    return None


def main() -> None:
    """Open each page once, without the list, and write down what came."""
    write_atomically(CHUNKS, "")
    loaded: dict[str, None] = {}
    with serving("helpers.app.server", "--pool=0") as address, chromium() as browser:
        for notebook in NOTEBOOKS:
            page = browser.new_page()
            page.on("request", lambda request: loaded.update({name: None} if (name := listed(request.url)) else {}))
            page.goto(f"{address}voila/render/{notebook.name}")
            page.wait_for_selector(CHART, timeout=120_000)
            page.wait_for_timeout(2_000)
            page.close()
    write_atomically(CHUNKS, "".join(f"{name}\n" for name in loaded))
    print(f"{len(loaded)} parts, {sum(places(name)[0].stat().st_size for name in loaded) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
