"""Read by Voila itself, so that `voila notebooks/…` shows the same pages as `make apps`."""

from helpers.app.server.__main__ import configure_plain

configure_plain(get_config())  # noqa: F821 - Voila provides it
