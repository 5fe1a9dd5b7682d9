"""Which names this server answers to: this machine's own, and the names given by `--host`.

A page of a stranger whose name leads to 127.0.0.1 (DNS rebinding) would otherwise read what is served here.
jupyter_server checks the name for its own handlers; static files and Voila's second line ask nobody, and a name that
spells a path (`%2Fetc%2Fpasswd`) is taken for a socket's where that file exists: a stranger could ask for any file.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from tornado.web import RequestHandler

REFUSAL = "This server answers to its own names alone; --host NAME, where it is started, adds one.\n"
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?")


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a request's Host names this machine: by a loopback address, or by one of `names`.

    >>> is_known("127.0.0.1:8866", ["localhost"]), is_known("stranger.example", ["localhost"])
    (True, False)
    """
    match = _HOST.fullmatch(host)
    if not match:
        return False
    name = match[1].strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in (known.lower() for known in names)


def guarded(handler: type[RequestHandler]) -> type[RequestHandler]:
    """A handler that answers as `handler` does, and to a name that is not known with a refusal, which names no page."""
    def prepare(self: RequestHandler) -> Any:
        if is_known(self.request.host, self.settings["local_hostnames"]):
            return handler.prepare(self)
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        return self.finish(REFUSAL)

    own_check = {"check_host": lambda self: True} if issubclass(handler, JupyterHandler) else {}  # it has been asked
    return type(handler.__name__, (handler,), {"prepare": prepare, **own_check})
