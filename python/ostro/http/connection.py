"""Between Hypercorn and Quart-Trio: request bodies with back-pressure, and answers in as few sends as possible.

Quart gathers a body in memory as fast as the client sends it. Here a body holds at most ``HELD_MOST_BYTES`` that the handler has not
taken yet; beyond that nothing is received, Hypercorn's own queue fills, and TCP slows the client down.

An answer that is ready before the body has ended (refused, in conflict) would be lost if the connection were closed on a client that is
still sending, so the rest of the body is received and thrown away first, within bounds. A client that goes on for longer gets its answer
and the connection is closed; what it sends is thrown away until Hypercorn says that it is gone, because Hypercorn's reader would
otherwise wait for ever on its own full queue.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart import Response
from quart.utils import encode_headers
from quart.wrappers.request import Request
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioBody, TrioRequest
from werkzeug.wrappers import Response as WerkzeugResponse

HELD_MOST_BYTES = 2 << 20
LINGER_S = 2.0
LINGER_MOST_BYTES = 64 << 20
CLOSE_MOST_S = 60.0


class BoundedBody(TrioBody):
    """A request's body: iterate it once, part by part."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._received_bytes = 0
        self._wanted = True
        self._ended = False
        self._came = trio.Event()
        self._taken = trio.Event()

    @property
    def ended(self) -> bool:
        """Whether the last byte has come."""
        return self._ended

    async def __anext__(self) -> bytes:
        if not self._parts and not self._ended:
            self._came = trio.Event()
            await self._came.wait()
        if not self._parts:
            raise StopAsyncIteration
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self.clear()
        self._taken.set()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        return self._read_all().__await__()

    async def _read_all(self) -> bytes:
        return b"".join([part async for part in self])

    def append(self, data: bytes) -> None:
        if data:
            self._received_bytes += len(data)
            if self._wanted:
                self._parts.append(data)
                self._held_bytes += len(data)
            self._came.set()

    async def wait_for_room(self) -> None:
        """Return once the handler has taken enough for more to be received."""
        while self._held_bytes >= HELD_MOST_BYTES:
            self._taken = trio.Event()
            await self._taken.wait()

    async def linger(self) -> None:
        """Nobody wants the rest: throw it away, and give the client a fair chance to finish sending it."""
        self._wanted = False
        self.clear()
        self._taken.set()
        most_bytes = self._received_bytes + LINGER_MOST_BYTES
        with trio.move_on_after(LINGER_S):
            while not self._ended and self._received_bytes < most_bytes:
                self._came = trio.Event()
                await self._came.wait()

    def set_complete(self) -> None:
        self._ended = True
        self._came.set()

    def clear(self) -> None:
        self._parts = []
        self._held_bytes = 0


class BoundedRequest(TrioRequest):
    """Quart's request with a bounded body. It never speaks for a host: agents' requests are plain, and so never come by here."""

    body_class = BoundedBody
    bodiless = False
    peer = None

    @property
    def raw_path(self) -> bytes:
        """The path as it was sent."""
        return self.scope.get("raw_path") or b""

    def has_gone(self) -> bool:
        """Never: the handler is cancelled when the client goes away."""
        return False

    async def gone(self) -> None:
        """Never return: the handler is cancelled when the client goes away."""
        await trio.sleep_forever()


class Connection(TrioASGIHTTPConnection):
    """One request and its answer. The handler is cancelled when the client goes away."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = self._create_request_from_scope(send)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, nursery.cancel_scope, request, receive)
            response = await self.app.handle_request(request)
            body = request.body
            assert isinstance(body, BoundedBody)
            if not body.ended:
                await body.linger()
            await self._answer(partial(_send, send), response)
            # A body that has not ended is still received, until Hypercorn has closed the connection.
            nursery.cancel_scope.deadline = trio.current_time() + (0 if body.ended else CLOSE_MOST_S)

    async def _receive(self, scope: trio.CancelScope, request: Request, receive: ASGIReceiveCallable) -> None:
        body = request.body
        assert isinstance(body, BoundedBody)
        while True:
            message = await receive()
            if message["type"] == "http.request":
                body.append(message["body"])
                if not message.get("more_body", False):
                    body.set_complete()
                await body.wait_for_room()
            elif message["type"] == "http.disconnect":
                scope.cancel()
                return

    async def _answer(self, send: ASGISendCallable, response: Response | WerkzeugResponse) -> None:
        """Send the answer; a body that is in memory goes with its end in one message."""
        if not isinstance(response, Response) or not isinstance(response.response, DataBody):
            await self._send_response(send, response)
            return
        headers = encode_headers(response.headers)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.response.data, "more_body": False})


async def _send(send: ASGISendCallable, message: Any) -> None:
    """Send a part of an answer. Hypercorn closes the stream within sending the last one, and tells us so meanwhile: let it finish."""
    last = message["type"] == "http.response.body" and not message.get("more_body", False)
    with trio.CancelScope(shield=last):
        await send(message)


def install(app: QuartTrio) -> None:
    """Have ``app`` use these."""
    app.asgi_http_class = Connection
    app.request_class = BoundedRequest
