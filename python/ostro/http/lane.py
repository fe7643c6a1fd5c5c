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

import http
import math
import ssl
from collections.abc import AsyncIterable
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from quart_trio import QuartTrio

from ostro.http import connection as bounds
from ostro.http.exchange import Outgoing
from ostro.http.gate import Gate
from ostro.http.plain import Body, PlainRequest
from ostro.http.wire import HEAD_BYTES, HEAD_END, PART_BYTES, ClientGone, Line, Wire, open_tls
from ostro.model.errors import Bug, TooManyRequests

log = structlog.get_logger()


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
            turns = self._gate.shedder.handshakes
            wire = Wire(stream) if self._tls is None else await open_tls(stream, self._tls, turns)
            with trio.CancelScope() as scope:
                while (request := await self._next(wire, scope)) is not None:
                    if not await self._exchange(wire, request):
                        return
                if wire.buffer and not scope.cancel_called:
                    await self._hand_over(wire)
        except TooManyRequests:
            pass  # Too many shake hands; before that is done there is no way to say so.
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
        while (end := buffer.find(HEAD_END, 0, most_bytes)) < 0:
            data = await wire.receive_head(HEAD_BYTES) if len(buffer) < most_bytes else b""
            if not data:
                scope.deadline = math.inf
                return None
            buffer += data
        scope.deadline = math.inf
        end += len(HEAD_END)
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
        silent = request.method == "HEAD"
        if not answer.live:
            await _send_stream(wire, head, answer.body, chunked, silent=silent)
            return
        await wire.send(head)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.until_gone, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                await _send_stream(wire, b"", answer.body, chunked, silent=silent)
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


async def _send_stream(wire: Line, head: bytes, body: AsyncIterable[bytes], chunked: bool, *, silent: bool) -> None:
    """Send a stream, its first part in one write with the head, and end its generator whatever happens.

    A stream that breaks off ends the connection unfinished.
    """
    parts = aiter(body)
    try:
        if silent:
            await wire.send(head)
            return
        async for part in parts:
            if part:
                if not head:
                    await trio.lowlevel.checkpoint()  # Large answers must not keep others waiting.
                await wire.send(head, b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                head = b""
        await wire.send(head, b"0\r\n\r\n" if chunked else b"")
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
