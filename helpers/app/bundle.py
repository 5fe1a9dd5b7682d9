"""Build the chart module with Vega inside: `python -m helpers.app.bundle`, once for each Altair version."""

import gzip
import re
from pathlib import Path

FILE = Path(__file__).parent / "static" / "vega-bundle.js.gz"
_MARK = "// Vega-Lite "


def build(path: Path = FILE) -> Path:
    """Write Altair's chart module and the Vega-Lite of the same version, with nothing to load from elsewhere."""
    import altair as alt
    import vl_convert
    from altair.jupyter.jupyter_chart import load_js_src

    lines = load_js_src().split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith(("import", "//"))):
        lines.pop(0)  # vl-convert puts its own imports in their place
    version = re.match(r"v(\d+\.\d+)", alt.SCHEMA_VERSION)[1]
    code = vl_convert.javascript_bundle("\n".join(lines), vl_version=version)
    text = f"{_MARK}{alt.SCHEMA_VERSION}\n{code}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return path


def version(path: Path = FILE) -> str:
    """The Vega-Lite version that the built file was made for."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.readline().removeprefix(_MARK).strip()


if __name__ == "__main__":
    print(f"{build()}: Vega-Lite {version()}, {FILE.stat().st_size / 1e6:.2f} MB")
