"""A small HTTP/1.1 client over trio: one connection, kept alive, one exchange at a time.

An agent makes few kinds of requests and many of them, always to the same place, so this is all it needs, and it is cheap: it runs
beside a control plane on the same two cores. A connection that the server closed while it was idle is opened again.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11
import trio

from ostro.model.errors import Unavailable

CONNECT_TIMEOUT_S = 10.0
RECEIVE_BYTES = 1 << 18
ANSWER_MAX_BYTES = 256 << 20
"""More than any answer that is read whole: a full feed of a hundred thousand wishes."""


@dataclass(frozen=True)
class Answer:
    """An answer read whole."""

    status: int
    body: bytes


class _Closed(Exception):
    """The server closed the connection before it answered."""


class HttpClient:
    """Exchanges with one server, one after another. Raises Unavailable when it can't be reached or breaks off.

    An exchange that is cancelled or breaks off closes the connection; the next one opens it again. A request is sent a second
    time when a kept connection turns out to be closed, so every request must bear repeating. ``headers`` is read at each exchange. ``tls`` is
    what to speak TLS with, asked for at each new connection; the server then must have a certificate for ``server_name``.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        server_name: str = "",
    ) -> None:
        url = urlsplit(base_url)
        self._is_tls = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._is_tls else 80)
        self._prefix = url.path.rstrip("/")
        self._netloc = url.netloc
        self._tls = tls
        self._server_name = server_name
        self._headers = headers
        self._stream: trio.abc.Stream | None = None
        self._http = h11.Connection(h11.CLIENT)

    async def close(self) -> None:
        """Close the connection, at once."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def exchange(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and read the whole answer."""
        async with self.stream(method, path, body, headers) as (status, chunks):
            parts: list[bytes] = []
            left_bytes = ANSWER_MAX_BYTES
            async for chunk in chunks:
                parts.append(chunk)
                left_bytes -= len(chunk)
                if left_bytes < 0:
                    raise Unavailable(f"The answer to {method} {path} is larger than {ANSWER_MAX_BYTES} bytes.")
            return Answer(status, b"".join(parts))

    async def send(
        self, method: str, path: str, size_bytes: int, chunks: AsyncIterable[bytes], deadline_s: float
    ) -> Answer:
        """Send a body as it comes, on a connection of its own, and read the whole answer, which may come before the body's end.

        No piece of the body, nor the answer, may take longer than ``deadline_s``.
        """
        headers = {"Host": self._netloc, **self._headers, "Content-Length": str(size_bytes)}
        headers["Content-Type"] = "application/octet-stream"
        request = h11.Request(method=method, target=self._prefix + path, headers=list(headers.items()))
        await self.close()
        try:
            self._stream, self._http = await self._connect(), h11.Connection(h11.CLIENT)
            return await self._send_body(self._stream, request, chunks, deadline_s)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError, _Closed) as error:
            raise Unavailable("The control plane does not answer.", detail=repr(error)) from error
        finally:
            await self.close()

    async def _send_body(
        self, stream: trio.abc.Stream, request: h11.Request, chunks: AsyncIterable[bytes], deadline_s: float
    ) -> Answer:
        late = trio.CancelScope(deadline=trio.current_time() + deadline_s)

        async def write() -> None:
            # Who has answered may read no further; what it says is in the answer.
            with suppress(trio.BrokenResourceError):
                await stream.send_all(self._http.send(request) or b"")
                async for chunk in chunks:
                    await stream.send_all(self._http.send(h11.Data(data=chunk)) or b"")
                    late.deadline = trio.current_time() + deadline_s
                await stream.send_all(self._http.send(h11.EndOfMessage()) or b"")

        with late:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(write)
                    status, body = await self._read_answer()
                    nursery.cancel_scope.cancel()
                    return Answer(status, body)
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
        raise Unavailable(f"The control plane did not take what was sent in {deadline_s:g} s.")

    async def _read_answer(self) -> tuple[int, bytes]:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event.status_code, b"".join([chunk async for chunk in self._chunks()])
            if isinstance(event, h11.ConnectionClosed):
                raise _Closed

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Send a request; yields the status and the answer's bytes as they come."""
        all_headers = {"Host": self._netloc, **self._headers, **(headers or {})}
        if body:
            all_headers |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        request = h11.Request(method=method, target=self._prefix + path, headers=list(all_headers.items()))
        try:
            status = await self._begin(request, body)
            yield status, self._chunks()
            if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                self._http.start_next_cycle()
            else:
                await self.close()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError, _Closed) as error:
            await self.close()
            raise Unavailable("The control plane does not answer.", detail=repr(error)) from error
        except BaseException:
            await self.close()
            raise

    async def _begin(self, request: h11.Request, body: bytes) -> int:
        """Send the request and receive the answer's head, on the kept connection if it is still good."""
        if self._stream is not None:
            try:
                return await self._send(self._stream, request, body)
            except (_Closed, OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
                await self.close()
        self._stream = await self._connect()
        self._http = h11.Connection(h11.CLIENT)
        return await self._send(self._stream, request, body)

    async def _connect(self) -> trio.abc.Stream:
        with trio.move_on_after(CONNECT_TIMEOUT_S):
            stream = await trio.open_tcp_stream(self._host, self._port)
            if not self._is_tls:
                return stream
            try:
                tls = trio.SSLStream(
                    stream, self._tls(), server_hostname=self._server_name or self._host, https_compatible=True
                )
                await tls.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return tls
        raise OSError(f"no connection in {CONNECT_TIMEOUT_S:g} s")

    async def _send(self, stream: trio.abc.Stream, request: h11.Request, body: bytes) -> int:
        events: list[h11.Event] = [request, h11.Data(data=body), h11.EndOfMessage()]
        await stream.send_all(b"".join(self._http.send(event) or b"" for event in events))
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if isinstance(event, h11.ConnectionClosed):
                raise _Closed

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise _Closed

    async def _next_event(self) -> h11.Event:
        assert self._stream is not None, "only called within an exchange"
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))
                continue
            assert isinstance(event, h11.Event), "PAUSED happens only with pipelining"
            return event
