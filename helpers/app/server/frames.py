"""Frames from a visitor's browser to its kernel: each is checked before anything else reads it.

jupyter_server believes the counts and offsets that a frame names: eight bytes of 0xff ask it to collect 2**64 offsets,
on the one thread that serves everybody. A frame is a header of little-endian 64-bit numbers, their count first, then
offsets; between them lie the channel's name, four JSON objects (header, parent header, metadata, content) and buffers.
"""

import itertools
import json
import struct
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

PROTOCOL = "v1.kernel.websocket.jupyter.org"
CHANNELS = {"shell", "control", "stdin", "iopub"}
OBJECTS = ("header", "parent header", "metadata", "content")
MAX_BUFFERS = 64  # of one message: a widget's state has a few
MAX_JSON = 256 * 1024  # bytes of the four objects together; what is larger, such as a file, comes in buffers
MAX_DEPTH = 32  # of objects and lists: a widget's state has some five
LONGEST_NAME = 256  # of a message's number and type
POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class BadFrame(ValueError):
    """A frame that no page of ours sends."""


def require_frame(frame: bytes | str) -> None:
    """Refuse a frame whose numbers, names or objects are not as the protocol has them; it takes under 0.1 s for any.

    Raises:
        BadFrame: what is wrong with it.

    >>> require_frame(b"\\xff" * 8)
    Traceback (most recent call last):
    helpers.app.server.frames.BadFrame: its count of offsets is 18446744073709551615
    """
    if not isinstance(frame, bytes):
        raise BadFrame("it is text, and the protocol is binary")
    if len(frame) < 8:
        raise BadFrame("it has no count of offsets")
    count = int.from_bytes(frame[:8], "little")
    fewest = len(OBJECTS) + 2  # the channel's start, and the end of each part
    if not fewest <= count <= fewest + MAX_BUFFERS:
        raise BadFrame(f"its count of offsets is {count}")
    if len(frame) < 8 * (1 + count):
        raise BadFrame("it ends within its offsets")
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    if offsets[0] != 8 * (1 + count) or offsets[-1] != len(frame):
        raise BadFrame("its offsets do not span it")
    if any(start > stop for start, stop in itertools.pairwise(offsets)):
        raise BadFrame("its offsets run backwards")
    parts = [frame[start:stop] for start, stop in itertools.pairwise(offsets)]
    if parts[0].decode("ascii", "replace") not in CHANNELS:
        raise BadFrame("it is for no channel")
    objects = parts[1:1 + len(OBJECTS)]
    if sum(map(len, objects)) > MAX_JSON:
        raise BadFrame("its objects are too long")
    header, *_ = (_object(text, name) for text, name in zip(objects, OBJECTS, strict=True))
    for name in ("msg_id", "msg_type"):
        if not isinstance(header.get(name), str) or not 0 < len(header[name]) <= LONGEST_NAME:
            raise BadFrame(f"its {name} is no name")


def _object(text: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"its {name} is no JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise BadFrame(f"its {name} is no object")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
                 if isinstance(inner, dict | list)]
    if level:
        raise BadFrame(f"its {name} is nested too deeply")
    return value


class CheckedConnection(ZMQChannelsWebsocketConnection):
    """The line between a visitor and a kernel, which ends at the first frame that no page sends."""

    def handle_incoming_message(self, incoming_msg: bytes | str) -> None:
        """Pass on what is sound. The protocol without a name is not spoken: every page's script knows this one."""
        try:
            if self.subprotocol != PROTOCOL:
                raise BadFrame(f"the protocol is not {PROTOCOL}")
            require_frame(incoming_msg)
        except BadFrame as error:
            self.log.warning("A visitor's line to kernel %s was cut: %s.", self.kernel_id, error)
            self.websocket_handler.close(POLICY_VIOLATION, str(error))
        else:
            super().handle_incoming_message(incoming_msg)
