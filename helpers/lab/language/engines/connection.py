"""A client's way to a server, and the events that come back on it."""

import functools
import ipaddress
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

_MAX_EVENT = 2**20  # bytes of one event of a stream


def open_client(url: str, timeout_s: float) -> aiohttp.ClientSession:
    """Client for one server, with as many requests at once as one likes; for an `async with` in an event loop.

    timeout_s: for connecting, and for each part of an answer.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=_certificates()), proxy=proxy_for(url),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s))


async def read_events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each server-sent event (html.spec.whatwg.org/multipage/server-sent-events.html).

    Lines end as these servers end them, with a line feed or with both signs, not with a carriage return alone.

    Raises:
        ValueError: it is no such stream, or an event is too large.
    """
    if response.content_type != "text/event-stream":
        raise ValueError(f"a stream of events was asked for, and {response.content_type} came")
    rest, data, size = b"", [], 0
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        size += len(part)
        if size > _MAX_EVENT:
            raise ValueError(f"one event has more than {_MAX_EVENT:,} bytes")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data, size = [], len(rest)
    if data:  # its empty line did not come
        yield b"\n".join(data)


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address.

    aiohttp's own way there would read ~/.netrc too, and refuse a key beside what that says.
    """
    if is_local(url):  # a proxy would see what goes to this machine itself in plain text
        return None
    parts = urlsplit(url)
    proxies = getproxies()
    return None if proxy_bypass(parts.hostname) else proxies.get(parts.scheme) or proxies.get("all")


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
