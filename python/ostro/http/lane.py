"""The express lane: plain HTTP/1.1 requests, from the socket to the gate and back with nothing between.

Hypercorn and Quart answer everything HTTP has, at the price of a task, two channels, a pure-Python parser and several sends for each request:
more time than the request's own work. Nearly all requests need none of it. Here one task serves a connection; llhttp (`httptools`) parses
the head; the body is read from the socket when the handler asks for it, so that a slow handler slows its client by TCP; an answer
that is in memory goes out in one write.

A request that is not plain (chunked, expecting ``100 Continue``, HTTP/1.0 or 2, an upgrade, malformed) hands its connection over to
Hypercorn, with what was read of it, for good. What a client sees is the same either way: ``tests/api/test_lane.py``.

How it behaves with bad clients: a head must come whole within the keep-alive time, idleness included; a body that nobody wants is
thrown away within the bounds of ``connection.py`` so that its sender sees the answer; an answer that nobody reads is given up; a handler that waits on purpose is cancelled when its
client goes away, and others end soon by themselves.
"""

from __future__ import annotations

import contextlib
import http
import math
import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import suppress
from email.utils import formatdate
from typing import Any, overload
from urllib.parse import parse_qsl, unquote

import httptools
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from quart_trio import QuartTrio
from werkzeug.datastructures import MultiDict

from ostro.http import connection as bounds
from ostro.http.exchange import Outgoing, Peer
from ostro.http.gate import Gate
from ostro.http.tls import Tls, handshake, peer_of
from ostro.model.errors import Bug, Invalid

log = structlog.get_logger()

PART_BYTES = 1 << 18
BODY_PART_BYTES = 1 << 19
"""Large bodies are taken in such parts: each costs a round of the scheduler, whatever its size."""
FILL_MOST_S = 0.25
"""How long a part may take to come whole. A client slower than that has its bytes taken as they come."""
PIECE_BYTES = 1 << 16
PIECE_MOST_S = 60.0
"""How long a client may take for a piece of its answer."""
NOT_PLAIN = frozenset(("transfer-encoding", "upgrade", "expect", "http2-settings"))
END = b"\r\n\r\n"


class ClientGone(Invalid):
    """The client went away before its request's body had come whole."""


class Line(ABC):
    """A client's connection. ``buffer`` holds what was read of it and is not used yet; ``address`` is whence it comes, and
    ``peer`` who has shown a certificate."""

    scheme = "http"
    peer: Peer | None = None

    def __init__(self, address: str) -> None:
        self.buffer = bytearray()
        self.address = address

    @abstractmethod
    async def receive(self, most_bytes: int) -> bytes:
        """What has come; empty when nothing more will."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send all of it. Raises trio.BrokenResourceError when the client is gone."""

    @abstractmethod
    async def closed(self) -> bool:
        """Wait for something to come; whether it is the end."""

    async def until_gone(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when the client closes; return when it sends something instead."""
        if await self.closed():
            scope.cancel()

    async def gone(self) -> None:
        """Return when the client closes. One that sends its next request meanwhile is taken to be there."""
        if not await self.closed():
            await trio.sleep_forever()

    @abstractmethod
    async def end(self) -> None:
        """Say that no more will be sent, where the connection can."""

    @abstractmethod
    def replay(self) -> Replay:
        """The connection as Hypercorn wants it, with what is in the buffer."""

    async def take(self, most_bytes: int) -> bytes:
        """The next bytes of a body: all that are asked for from a client that is quick, else what has come. Raises ClientGone."""
        if self.buffer:
            with memoryview(self.buffer) as view:
                data = bytes(view[:most_bytes])
            del self.buffer[:most_bytes]
            return data
        await self.fill(most_bytes)
        data = await self.receive(most_bytes)
        if not data:
            raise ClientGone("The request's body did not arrive whole.")
        return data

    async def fill(self, most_bytes: int) -> None:
        """Wait a little for so much of a body to come, where that can be done."""
        await trio.lowlevel.checkpoint()

    @abstractmethod
    def end_body(self) -> None:
        """What comes next is a head."""


class Wire(Line):
    """A connected TCP socket. What is ready is read and written at once; only waiting goes through trio."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(address_of(stream))
        self._stream = stream
        self._fd = stream.socket.fileno()
        self._low_water_bytes = 1

    async def fill(self, most_bytes: int) -> None:
        if most_bytes < PART_BYTES:
            self._wake_at(1)
            return
        self._wake_at(most_bytes)
        with trio.move_on_after(FILL_MOST_S) as scope:
            await trio.lowlevel.wait_readable(self._fd)
        if scope.cancelled_caught:
            self._wake_at(1)

    def end_body(self) -> None:
        self._wake_at(1)

    def _wake_at(self, low_water_bytes: int) -> None:
        """Have the socket count as readable when so much has come, or the end."""
        if low_water_bytes != self._low_water_bytes:
            with contextlib.suppress(OSError):  # Then it is gone, which reading tells.
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water_bytes)
            self._low_water_bytes = low_water_bytes

    async def receive(self, most_bytes: int) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return os.read(self._fd, most_bytes)
            except BlockingIOError:
                continue
            except ConnectionError:
                return b""

    async def send(self, data: bytes) -> None:
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except ConnectionError as error:
            raise trio.BrokenResourceError from error
        if sent < len(data):
            await self._send_slowly(memoryview(data)[sent:])

    async def _send_slowly(self, data: memoryview) -> None:
        await send_slowly(self._stream, data)

    async def end(self) -> None:
        await self._stream.send_eof()

    def replay(self) -> Replay:
        return Replay(self._stream, bytes(self.buffer))

    async def closed(self) -> bool:
        await trio.lowlevel.wait_readable(self._fd)
        try:
            return not await self._stream.socket.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True


def address_of(stream: trio.SocketStream) -> str:
    """The address of who is at the other end; empty when it has none any more."""
    try:
        name = stream.socket.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


class TlsWire(Line):
    """A TLS connection whose handshake is done."""

    scheme = "https"

    def __init__(self, stream: Tls) -> None:
        super().__init__(address_of(stream.transport_stream))
        self._stream = stream
        self._listening = trio.Lock()
        self.peer = peer_of(stream)

    async def receive(self, most_bytes: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(most_bytes))
        except trio.BrokenResourceError:
            return b""

    async def send(self, data: bytes) -> None:
        await send_slowly(self._stream, memoryview(data))

    async def closed(self) -> bool:
        # Several may want to know, and only one can read.
        async with self._listening:
            data = await self.receive(PIECE_BYTES)
            self.buffer += data
            return not data

    def end_body(self) -> None:
        pass  # Nothing was asked of the socket.

    async def end(self) -> None:
        # One direction of TLS can't be ended alone; the client sees the end when the connection is closed.
        await trio.lowlevel.checkpoint()

    def replay(self) -> Replay:
        return TlsReplay(self._stream, bytes(self.buffer))


async def open_tls(stream: trio.SocketStream, context: ssl.SSLContext) -> TlsWire:
    """Shake hands with a client. Raises trio.BrokenResourceError, trio.TooSlowError."""
    return TlsWire(await handshake(stream, context))


async def send_slowly(stream: trio.abc.SendStream, data: memoryview) -> None:
    """Send piece by piece, as fast as the client reads; one that takes no piece for a while is gone for us."""
    for start in range(0, len(data), PIECE_BYTES):
        with trio.move_on_after(PIECE_MOST_S) as scope:
            await stream.send_all(data[start : start + PIECE_BYTES])
        if scope.cancelled_caught:
            raise trio.BrokenResourceError


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

    __slots__ = ("left", "wire")

    def __init__(self, wire: Line, length: int) -> None:
        self.wire = wire
        self.left = length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        data = await self.wire.take(min(self.left, BODY_PART_BYTES))
        self.left -= len(data)
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

    async def gone(self) -> None:
        """Return when the client closes its connection."""
        await self.body.wire.gone()

    @property
    def host(self) -> str:
        return self.headers["host"]

    @property
    def args(self) -> MultiDict[str, str]:
        return MultiDict(parse_qsl(self.query_string.decode(), keep_blank_values=True, errors="replace"))

    @property
    def mimetype(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Replay:
    """A connection from whose beginning something has been read already, as Hypercorn wants a stream."""

    def __init__(self, stream: trio.SocketStream | Tls, held: bytes) -> None:
        self._stream = stream
        self._held = held
        self.socket = (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._held:
            data, self._held = self._held, b""
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        if isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class TlsReplay(Replay):
    """The same of a TLS connection whose handshake is done."""

    @property
    def transport_stream(self) -> TlsReplay:
        """What has the ``socket``."""
        return self

    async def do_handshake(self) -> None:
        """It is done."""
        await trio.lowlevel.checkpoint()

    def selected_alpn_protocol(self) -> str:
        """Hypercorn speaks what the client has begun to speak."""
        return "http/1.1"


class Lane:
    """Serves connections. ``app`` is the same gate behind Quart, for what is not plain. With ``tls`` that is what clients must speak."""

    def __init__(self, gate: Gate, app: QuartTrio, config: Config, tls: ssl.SSLContext | None = None) -> None:
        self._gate = gate
        self._tls = tls
        self._app = ASGIWrapper(app)
        self._config = config
        self._context = WorkerContext(None)
        self._date = (0, "")

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end. Nothing that happens on it concerns others."""
        try:
            wire = Wire(stream) if self._tls is None else await open_tls(stream, self._tls)
            with trio.CancelScope() as scope:
                while (request := await self._next(wire, scope)) is not None:
                    if not await self._exchange(wire, request):
                        return
                if wire.buffer and not scope.cancel_called:
                    await self._hand_over(wire)
        except (trio.BrokenResourceError, trio.TooSlowError, ClientGone):
            pass  # The client is gone, and whatever it asked for has been tidied up where it was handled.
        except Exception:
            log.exception("a connection broke")
        finally:
            await trio.aclose_forcefully(stream)

    async def _next(self, wire: Line, scope: trio.CancelScope) -> PlainRequest | None:
        """The next plain request. None when there is none: what has come of it is in the buffer, which is empty at the end."""
        scope.deadline = trio.current_time() + self._config.keep_alive_timeout
        buffer = wire.buffer
        if buffer:
            await trio.lowlevel.checkpoint()  # Pipelined requests must not keep others waiting.
        most_bytes = self._config.h11_max_incomplete_size
        # The head's end is looked for before its length is judged: a large body may have come with it.
        while (end := buffer.find(END, 0, most_bytes)) < 0:
            data = await wire.receive(PART_BYTES) if len(buffer) < most_bytes else b""
            if not data:
                scope.deadline = math.inf
                return None
            buffer += data
        scope.deadline = math.inf
        end += len(END)
        request = PlainRequest.parse(bytes(buffer[:end]))
        if request is not None:
            del buffer[:end]
            request.remote_addr = wire.address
            request.body = Body(wire, request.content_length or 0)
            request.scheme, request.peer = wire.scheme, wire.peer
        return request

    async def _exchange(self, wire: Line, request: PlainRequest) -> bool:
        """Answer a request. Whether the connection may go on."""
        found = self._gate.find(request.path)
        if found is not None and found[0].waits(request.method):
            answer = await self._answer_while_there(wire, request, found)
        else:
            answer = await self._gate.answer(request, found)
        if answer is None:
            return False
        body = request.body
        if body.left:
            await body.discard()
        goes_on = request.keep_alive and not body.left
        await self._send(wire, request, answer, goes_on)
        if body.left:
            await _linger(wire)
        return goes_on

    async def _answer_while_there(self, wire: Line, request: PlainRequest, found: Any) -> Outgoing | None:
        """The answer of a handler that may wait; None if the client went away meanwhile."""
        answer: Outgoing | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.until_gone, nursery.cancel_scope)
            answer = await self._gate.answer(request, found)
            nursery.cancel_scope.cancel()
        return answer

    async def _send(self, wire: Line, request: PlainRequest, answer: Outgoing, goes_on: bool) -> None:
        headers = answer.headers
        known = {name.lower() for name, _ in headers}
        whole = isinstance(answer.body, bytes)
        chunked = False
        if "content-length" not in known:
            chunked = not whole
            headers.append(
                ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(answer.body)))  # type: ignore[arg-type]
            )
        headers.append(("Date", self._now()))
        if not goes_on:
            headers.append(("Connection", "close"))
        head = make_head(answer.status, headers)
        if isinstance(answer.body, bytes):
            await wire.send(head if request.method == "HEAD" else head + answer.body)
            return
        await wire.send(head)
        silent = request.method == "HEAD"
        if not answer.live:
            await _send_stream(wire, answer.body, chunked, silent=silent)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.until_gone, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                await _send_stream(wire, answer.body, chunked, silent=silent)
            nursery.cancel_scope.cancel()

    async def _hand_over(self, wire: Line) -> None:
        """Let Hypercorn have the connection."""
        await TCPServer(self._app, self._config, self._context, ConnectionState({}), wire.replay()).run()  # type: ignore[arg-type]

    def _now(self) -> str:
        """The date as HTTP writes it."""
        second = self._gate.world.now_us() // 1_000_000
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in http.HTTPStatus}


def make_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """An answer's head. Raises Bug when a header's value would end its line: someone's input was not checked."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise Bug("A header of the answer has a line break in it.")
    first = _STATUS_LINES.get(status, f"HTTP/1.1 {status} \r\n")
    return f"{first}{lines}\r\n".encode()


async def _send_stream(wire: Line, body: AsyncIterable[bytes], chunked: bool, *, silent: bool) -> None:
    """Send a stream, and end its generator whatever happens. A stream that breaks off ends the connection unfinished."""
    parts = aiter(body)
    try:
        if silent:
            return
        async for part in parts:
            if part:
                await wire.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                await trio.lowlevel.checkpoint()
        if chunked:
            await wire.send(b"0\r\n\r\n")
    finally:
        if hasattr(parts, "aclose"):
            with trio.CancelScope(shield=True):
                await parts.aclose()


async def _linger(wire: Line) -> None:
    """The client is still sending what nobody wants: say that no more will be answered, and wait until it has gone."""
    await wire.end()
    with trio.move_on_after(bounds.CLOSE_MOST_S):
        while await wire.receive(PART_BYTES):
            pass
