"""The README's pictures: each page as a visitor sees it first, from a real run of Voila.

python -m benchmarks.pictures
"""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WIDTH, HEIGHT = 1180, 900


def main() -> None:
    """Serve all pages, open each, wait for its chart, and save what stands on the first screen."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "helpers.app.voila", "--port", str(port), "--no-browser"])
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        with sync_playwright() as playwright:
            chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome")
                            if (path := shutil.which(name)))
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
                page.goto(f"http://127.0.0.1:{port}/voila/render/{notebook.name}")
                page.wait_for_selector(".vega-embed canvas, .vega-embed svg", timeout=60_000)
                page.wait_for_timeout(1_000)  # fonts and layout settle
                target = NOTEBOOKS / "pictures" / f"{notebook.stem}.png"
                target.parent.mkdir(exist_ok=True)
                page.screenshot(path=target)
                print(target.relative_to(NOTEBOOKS.parent))
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url)
            return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {seconds:.0f} s")


if __name__ == "__main__":
    main()
