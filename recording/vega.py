"""Build the charts' script with Vega inside: python -m recording.vega, once for each version of Altair."""

import gzip
from pathlib import Path

import altair as alt
import vl_convert

from helpers.app.charts import VEGA_BUNDLE
from helpers.app.charts.vega import minor_version
from helpers.lab.paths import write_atomically

_MARK = "// Vega-Lite "


def build(path: Path = VEGA_BUNDLE) -> None:
    """Write vega-embed with the Vega-Lite of Altair's version, with nothing to load from elsewhere."""
    code = vl_convert.javascript_bundle("export const embed = vegaEmbed;", vl_version=minor_version())
    write_atomically(path, gzip.compress(f"{_MARK}{alt.SCHEMA_VERSION}\n{code}".encode(), 9, mtime=0))


def built_version(path: Path = VEGA_BUNDLE) -> str:
    """The Vega-Lite version that the built file was made for."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.readline().removeprefix(_MARK).strip()


if __name__ == "__main__":
    build()
    print(f"{VEGA_BUNDLE}: Vega-Lite {built_version()}, {VEGA_BUNDLE.stat().st_size / 1e6:.2f} MB")
