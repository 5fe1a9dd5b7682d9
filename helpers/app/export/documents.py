"""The frame of what is sent on: one HTML file that loads nothing and runs nothing, on a screen and on paper."""

import datetime
import html
from collections.abc import Iterable, Mapping
from typing import Any

from helpers.app.text.words import style

# A report may come from anywhere: what opens it shall neither run nor fetch anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
body {max-width: 1100px; margin: 0 auto; padding: 16px; font: 16px/24px system-ui, sans-serif; color: #1a1a1a;
  background: #fff}
h2 {font-size: 20px; margin: 32px 0 8px} figure {margin: 16px 0} figure svg {max-width: 100%; height: auto}
dl {display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 4px 16px}
dt {color: #555} dd {margin: 0; overflow-wrap: anywhere}
@page {margin: 16mm}
@media print {body {max-width: none; padding: 0} h2 {break-after: avoid} figure, tr, li, dd {break-inside: avoid}}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document around `body`."""
    return (f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
            f"<meta http-equiv='Content-Security-Policy' content=\"{_POLICY}\">"
            "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='color-scheme' "
            f"content='light'><title>{html.escape(title)}</title>{style()}<style>{_STYLE}</style></head>"
            f"<body><main>{''.join(body)}<p><small>Written {now()} by Compute smarter, not harder.</small></p>"
            "</main></body></html>\n")


def settings_html(settings: Mapping[str, Any]) -> str:
    """The controls as they stand, under a heading; nothing where there are none."""
    return f"<h2>Settings of the page</h2>{pairs_html(settings)}" if settings else ""


def pairs_html(facts: Mapping[str, Any]) -> str:
    """Names and their values, one pair a line."""
    rows = "".join(f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(str(value))}</dd>"
                   for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def now() -> str:
    """This minute, as files say when they were written."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
