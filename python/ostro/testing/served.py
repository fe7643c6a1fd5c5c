"""A test cloud on a real socket, and a client that sends bytes as it likes.

``serve_cloud`` serves it as ``ostro up`` does. A ``RawClient`` is one TCP connection: what is wrong with a
request, how slowly it comes and where it ends is up to the test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h11
import orjson
import trio
from werkzeug.datastructures import Headers

from ostro.http.app import serve
from ostro.testing.cloud import Answer, TestCloud

RECEIVE_BYTES = 1 << 16
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Served:
    """Where the cloud answers."""

    host: str
    port: int

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RawClient]:
        """A connection, closed at the end of the block."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        try:
            yield RawClient(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async def call(self, method: str, path: str, token: str = "", body: bytes = b"") -> Answer:
        """One ordinary request on a connection of its own."""
        async with self.connect() as client:
            headers = {"X-Auth-Token": token, "Content-Length": str(len(body)), "Connection": "close"}
            await client.send(head(method, path, headers) + body)
            return await client.answer()


@dataclass(frozen=True)
class ServerEvent:
    """A server-sent event. ``name`` is empty for a heartbeat, ``id`` 0 where the event has none."""

    name: str
    data: Any
    id: int


class RawClient:
    """One connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._events = bytearray()
        self._http = h11.Connection(h11.CLIENT)
        # The parser wants to know of a request before it takes an answer; what is really sent is the test's business.
        self._http.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
        self._http.send(h11.EndOfMessage())

    async def send(self, data: bytes) -> None:
        """Send these bytes. Raises trio.BrokenResourceError when the server has closed."""
        await self._stream.send_all(data)

    async def end(self) -> None:
        """Say that nothing more will be sent."""
        await self._stream.send_eof()

    async def drip(self, byte: bytes, every_s: float) -> None:
        """Send a byte again and again, until the server says something or closes."""
        while True:
            with trio.move_on_after(every_s):
                await trio.lowlevel.wait_readable(self._stream.socket)
                return
            try:
                await self._stream.send_all(byte)
            except trio.BrokenResourceError:
                return

    async def answer(self) -> Answer:
        """The answer, read whole; its status is 0 when the server closed without one."""
        status, headers, parts = 0, Headers(), list[bytes]()
        with trio.fail_after(PATIENCE_S):
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._receive())
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    headers.extend((name.decode(), value.decode()) for name, value in event.headers)
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return Answer(status, headers, b"".join(parts))

    async def event(self) -> ServerEvent | None:
        """The next server-sent event of an endless answer, or what its heartbeat says; None when the stream has ended."""
        with trio.fail_after(PATIENCE_S):
            while b"\n\n" not in self._events:
                part = self._http.next_event()
                if part is h11.NEED_DATA:
                    self._http.receive_data(await self._receive())
                elif isinstance(part, h11.Response):
                    assert part.status_code == 200, part
                elif isinstance(part, h11.Data):
                    self._events += part.data
                elif isinstance(part, h11.EndOfMessage | h11.ConnectionClosed):
                    return None
        text, _, rest = bytes(self._events).partition(b"\n\n")
        self._events = bytearray(rest)
        fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if not line.startswith(":"))
        return ServerEvent(
            fields.get("event", ""), orjson.loads(fields.get("data", "null")), int(fields.get("id", "0"))
        )

    async def events(self, count: int) -> list[ServerEvent]:
        """The next so many events, heartbeats left out."""
        found: list[ServerEvent] = []
        while len(found) < count:
            event = await self.event()
            assert event is not None, f"the stream ended after {found}"
            found += [event] if event.name else []
        return found

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except trio.BrokenResourceError:
            return b""

    async def everything(self) -> bytes:
        """All that the server sends until it closes, as it came."""
        parts = []
        with trio.fail_after(PATIENCE_S):
            while part := await self._receive():
                parts.append(part)
        return b"".join(parts)

    async def closed(self) -> bool:
        """Wait until the server has closed; False when it sent something instead."""
        with trio.fail_after(PATIENCE_S):
            return await self._receive() == b""


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """A request's head."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: test",
        *(f"{name}: {value}" for name, value in headers.items() if value),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def serve_cloud(cloud: TestCloud) -> AsyncIterator[Served]:
    """The cloud on a free port of the loopback."""
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, cloud.gate, ["127.0.0.1:0"])
        port = int(url.rpartition(":")[2])
        yield Served("127.0.0.1", port)
        nursery.cancel_scope.cancel()
