"""Build the chart module with Vega inside: `python -m helpers.app.charts.bundle`, once for each Altair version."""

import gzip
import re
from pathlib import Path

FILE = Path(__file__).parents[1] / "static" / "vega-bundle.js.gz"
_MARK = "// Vega-Lite "


def build(path: Path = FILE) -> Path:
    """Write vega-embed with the Vega-Lite of Altair's version, with nothing to load from elsewhere."""
    import altair as alt
    import vl_convert

    minor = re.match(r"v(\d+\.\d+)", alt.SCHEMA_VERSION)[1]
    code = vl_convert.javascript_bundle("export const embed = vegaEmbed;", vl_version=minor)
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
