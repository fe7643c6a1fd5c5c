"""A plain HTTP/1.1 request, as llhttp (`httptools`) parses its head, and its body, read from the connection part by part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, overload
from urllib.parse import parse_qsl, unquote

import httptools
import trio
from werkzeug.datastructures import MultiDict

from ostro.http import connection as bounds
from ostro.http.exchange import Peer
from ostro.http.wire import Line

BODY_PART_BYTES = 1 << 20
"""Large bodies are taken in such parts: each costs a round of the scheduler, whatever its size."""
NOT_PLAIN = frozenset(("transfer-encoding", "upgrade", "expect", "http2-settings"))


class Headers:
    """A request's headers: names in any case, and of several values the first."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self._first: dict[str, str] = {}
        for name, value in pairs:
            self._first.setdefault(name, value)

    @overload
    def get(self, key: str) -> str | None: ...
    @overload
    def get(self, key: str, default: str) -> str: ...
    def get(self, key: str, default: str | None = None) -> str | None:
        """The first value of a header."""
        return self._first.get(key.lower(), default)

    def getlist(self, key: str) -> list[str]:
        """Every value of a header."""
        name = key.lower()
        return [value for known, value in self._pairs if known == name]

    def items(self) -> Iterator[tuple[str, str]]:
        """Names in the usual case, and values, in the order of the request."""
        return ((name.title(), value) for name, value in self._pairs)

    def __contains__(self, key: Any) -> bool:
        return isinstance(key, str) and key.lower() in self._first

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower()]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.items()


class Body:
    """A request's body, read from the socket part by part."""

    __slots__ = ("_taken", "left", "wire")

    def __init__(self, wire: Line, length: int) -> None:
        self.wire = wire
        self.left = length
        self._taken = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        # After a first part that came with the head, the others begin where a part would, so that they need not be cut.
        data = await self.wire.take(min(self.left, BODY_PART_BYTES - self._taken % BODY_PART_BYTES))
        self.left -= len(data)
        self._taken += len(data)
        if not self.left:
            self.wire.end_body()
        return data

    async def discard(self) -> None:
        """Throw away what nobody wants, so that its sender comes to read the answer; give up beyond the bounds."""
        most = bounds.LINGER_MOST_BYTES
        with trio.move_on_after(bounds.LINGER_S):
            while self.left and most > 0:
                most -= len(await anext(self))


class PlainRequest:
    """A parsed head; the callbacks are llhttp's."""

    scheme = "http"
    peer: Peer | None = None

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.raw_path = b""
        self.query_string = b""
        self.keep_alive = False
        self.content_length: int | None = None
        self.remote_addr: str | None = None
        self.headers = Headers([])
        self.body: Body
        self._target = b""
        self._pairs: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    @classmethod
    def parse(cls, head: bytes) -> PlainRequest | None:
        """The request of a whole head; None when it is not plain, or no request at all."""
        self = cls()
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        self.headers = headers = Headers(self._pairs)
        target = self._target
        if (
            parser.get_http_version() != "1.1"
            or not target.startswith(b"/")
            or not target.isascii()
            or "host" not in headers
            or any(name in NOT_PLAIN for name, _ in self._pairs)
        ):
            return None
        self.method = parser.get_method().decode()
        self.keep_alive = "close" not in headers.get("connection", "").lower()
        self.raw_path, _, self.query_string = target.partition(b"?")
        self.path = unquote(self.raw_path.decode()) if b"%" in target else self.raw_path.decode()
        if (length := headers.get("content-length")) is not None:
            self.content_length = int(length)
        return self

    def has_gone(self) -> bool:
        """Whether the client has closed its connection, where that can be seen at once."""
        return self.body.wire.has_gone()

    async def gone(self) -> None:
        """Return when the client closes its connection."""
        await self.body.wire.gone()

    @property
    def bodiless(self) -> bool:
        """Whether there is no body: a plain request says how long one is."""
        return not self.content_length

    @property
    def host(self) -> str:
        return self.headers["host"]

    @property
    def args(self) -> MultiDict[str, str]:
        if not self.query_string:
            return MultiDict()
        return MultiDict(parse_qsl(self.query_string.decode(), keep_blank_values=True, errors="replace"))

    @property
    def mimetype(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()
