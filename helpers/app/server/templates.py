"""Voila's templates, compiled once for all pages."""

import jinja2
from jinja2.bccache import Bucket
from voila import notebook_renderer
from voila.exporter import VoilaExporter


class Compiled(jinja2.BytecodeCache):
    """Templates as they were compiled for an earlier page; one whose file has changed since is compiled anew."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a template its code, where there is one."""
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        self._code[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


class Exporter(VoilaExporter):
    """Voila's own, which makes an environment and with it all templates anew for each page."""

    def _create_environment(self) -> jinja2.Environment:
        environment = super()._create_environment()
        environment.bytecode_cache = COMPILED
        return environment


def share() -> None:
    """Let all pages of this process share what was compiled."""
    notebook_renderer.VoilaExporter = Exporter
