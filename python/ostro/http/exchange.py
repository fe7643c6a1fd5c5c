"""One request and its answer as the frame sees them, whichever way they came: through Quart or through the express lane."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

from werkzeug.datastructures import MultiDict


@dataclass(frozen=True, slots=True)
class Peer:
    """The host whose certificate the other end of a TLS connection has shown: its name and the certificate's serial number."""

    name: str
    serial: str


class RequestHeaders(Protocol):
    """The part of werkzeug's Headers that is used: names in any case, and of several values the first."""

    @overload
    def get(self, key: str) -> str | None: ...
    @overload
    def get(self, key: str, default: str) -> str: ...

    def getlist(self, key: str) -> list[str]:
        """Every value of a header."""
        ...

    def items(self) -> Any:
        """Pairs of name and value, in the order of the request."""
        ...

    def __contains__(self, key: Any) -> bool: ...

    def __getitem__(self, key: str) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Incoming(Protocol):
    """A request. ``path`` is decoded, ``raw_path`` as it was sent; ``remote_addr`` is whose
    connection it came over; ``body`` can be iterated once."""

    @property
    def method(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def raw_path(self) -> bytes: ...
    @property
    def query_string(self) -> bytes: ...
    @property
    def args(self) -> MultiDict[str, str]: ...
    @property
    def headers(self) -> RequestHeaders: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def mimetype(self) -> str: ...
    @property
    def remote_addr(self) -> str | None: ...
    @property
    def bodiless(self) -> bool:
        """Whether it is known that there is no body."""
        ...

    @property
    def body(self) -> AsyncIterator[bytes]: ...
    @property
    def peer(self) -> Peer | None: ...
    def has_gone(self) -> bool:
        """Whether the client is known to have gone away."""
        ...

    async def gone(self) -> None:
        """Return when the client has gone away, as far as can be told while it is waiting for its answer."""
        ...


@dataclass(slots=True)
class Outgoing:
    """An answer. A body of bytes gets its length from the server, a stream's may be among the headers."""

    status: int
    body: bytes | AsyncIterable[bytes] = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    live: bool = False
    """A stream that waits for things to happen: it is to end when the client goes away."""

    def add(self, headers: list[tuple[str, str]]) -> None:
        """Replace what there is of these names; among themselves they add up."""
        names = {name.lower() for name, _ in headers}
        self.headers = [pair for pair in self.headers if pair[0].lower() not in names] + headers
