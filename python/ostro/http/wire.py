"""A client's connection: plain TCP or TLS, as the express lane reads and writes it, and as Hypercorn takes it over.

What is ready is read and written at once; only waiting goes through trio.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from abc import ABC, abstractmethod

import trio

from ostro.http.exchange import Peer
from ostro.http.tls import Tls, handshake, peer_of
from ostro.http.turns import Turns
from ostro.model.errors import Invalid

PART_BYTES = 1 << 18
HEAD_END = b"\r\n\r\n"
HEAD_BYTES = 1 << 13
"""Most heads are shorter. Room for much more would be mapped from the kernel for each read, and given back."""
FILLED_LEAST_BYTES = 1 << 16
BROKE_OFF = "The request's body did not arrive whole."
FILL_MOST_S = 0.25
"""How long a part may take to come whole. A client slower than that has its bytes taken as they come."""
PIECE_BYTES = 1 << 16
PIECE_MOST_S = 60.0
"""How long a client may take for a piece of its answer."""


UNSENT_MOST_BYTES = 1 << 20
"""So much of a large answer the kernel may take before the network does. trio has it take 16 KiB, so that a writer is near to what its client has seen; here
each of those waits costs a round of the scheduler, a dozen for a MiB."""
WIDENED_LEAST_BYTES = 1 << 17


class ClientGone(Invalid):
    """The client went away before its request's body had come whole, or before its turn."""


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
    async def send(self, data: bytes, then: bytes = b"") -> None:
        """Send all of both, one after the other. Raises trio.BrokenResourceError when the client is gone."""

    @abstractmethod
    async def closed(self) -> bool:
        """Wait for something to come; whether it is the end."""

    async def until_gone(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when the client closes; return when it sends something instead."""
        if await self.closed():
            scope.cancel()

    def has_gone(self) -> bool:
        """Whether the client is known to have closed. Not known by TLS, where only reading tells."""
        return False

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

    async def receive_head(self, most_bytes: int) -> bytes:
        """What has come of a head, and maybe of what follows it; empty when nothing more will."""
        return await self.receive(most_bytes)

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
            raise ClientGone(BROKE_OFF)
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
        self._widened = False
        self._took_large = False

    async def receive_head(self, most_bytes: int) -> bytes:
        """After a large body another one is likely: then no more than the head is taken, so that the body can be read in whole parts and needs no copying."""
        if not self._took_large or self.buffer:
            return await self.receive(most_bytes)
        try:
            seen = await self._stream.socket.recv(HEAD_BYTES, socket.MSG_PEEK)
            end = seen.find(HEAD_END)
            return os.read(self._fd, most_bytes if end < 0 else end + len(HEAD_END))
        except ConnectionError:
            return b""

    async def fill(self, most_bytes: int) -> None:
        if most_bytes < FILLED_LEAST_BYTES:
            self._wake_at(1)
            await trio.lowlevel.wait_readable(self._fd)
            return
        self._took_large = True
        self._wake_at(most_bytes)
        with trio.move_on_after(FILL_MOST_S) as scope:
            await trio.lowlevel.wait_readable(self._fd)
        if scope.cancelled_caught:
            self._wake_at(1)

    async def take(self, most_bytes: int) -> bytes:
        if self.buffer:
            return await super().take(most_bytes)
        await self.fill(most_bytes)
        # It has been waited for already, and waiting costs a turn of the scheduler.
        try:
            data = os.read(self._fd, most_bytes)
        except (BlockingIOError, ConnectionError):
            data = await self.receive(most_bytes)
        if not data:
            raise ClientGone(BROKE_OFF)
        return data

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

    async def send(self, data: bytes, then: bytes = b"") -> None:
        if len(then) >= WIDENED_LEAST_BYTES and not self._widened:
            self._widen()
        sent = self._write(data, then) if then else self._write(data) if data else 0
        if sent < len(data):
            await self._send_slowly(memoryview(data)[sent:])
            sent = len(data)
        if (rest := sent - len(data)) < len(then):
            await self._send_slowly(memoryview(then)[rest:])

    def _widen(self) -> None:
        """Have the kernel take more at once."""
        self._widened = True
        with contextlib.suppress(OSError):  # Then it is gone, which writing tells.
            self._stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MOST_BYTES)

    async def _send_slowly(self, data: memoryview) -> None:
        """Send as fast as the client reads; one that takes no ``PIECE_BYTES`` for a while is gone for us."""
        sent = 0
        while sent < len(data):
            goal = min(sent + PIECE_BYTES, len(data))
            with trio.move_on_after(PIECE_MOST_S) as scope:
                while sent < goal:
                    await trio.lowlevel.wait_writable(self._fd)
                    sent += self._write(data[sent:])
            if scope.cancelled_caught:
                raise trio.BrokenResourceError

    def _write(self, *parts: bytes | memoryview) -> int:
        """What the socket takes now; how much that is. Raises trio.BrokenResourceError."""
        try:
            return os.write(self._fd, parts[0]) if len(parts) == 1 else os.writev(self._fd, parts)
        except BlockingIOError:
            return 0
        except ConnectionError as error:
            raise trio.BrokenResourceError from error

    async def end(self) -> None:
        await self._stream.send_eof()

    def replay(self) -> Replay:
        return Replay(self._stream, bytes(self.buffer))

    def has_gone(self) -> bool:
        if self.buffer:
            return False
        ends = select.poll()
        ends.register(self._fd, select.POLLRDHUP)
        return bool(ends.poll(0))

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

    async def send(self, data: bytes, then: bytes = b"") -> None:
        for part in (data, then):
            await send_slowly(self._stream, memoryview(part))

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


async def open_tls(stream: trio.SocketStream, context: ssl.SSLContext, turns: Turns) -> TlsWire:
    """Shake hands with a client in its turn. Raises trio.BrokenResourceError, trio.TooSlowError, TooManyRequests."""
    return TlsWire(await handshake(stream, context, turns, address_of(stream)))


async def send_slowly(stream: trio.abc.SendStream, data: memoryview) -> None:
    """Send piece by piece, as fast as the client reads; one that takes no piece for a while is gone for us."""
    for start in range(0, len(data), PIECE_BYTES):
        with trio.move_on_after(PIECE_MOST_S) as scope:
            await stream.send_all(data[start : start + PIECE_BYTES])
        if scope.cancelled_caught:
            raise trio.BrokenResourceError


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
