"""Charts that draw with no network."""

from pathlib import Path

# Vega, as `python -m recording.vega` builds it. It stands here since the server sends it without importing Altair.
VEGA_BUNDLE = Path(__file__).parents[1] / "static" / "vega-bundle.js.gz"
