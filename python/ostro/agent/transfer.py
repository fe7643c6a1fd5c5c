"""Disks on their way between hosts' agents: what one host offers, another fetches.

The one that offers listens beside its hypervisor, at the port after that one's. Who asks shows a secret that went with the offer through the control
plane, so both are hosts of this cloud. An answer is the file's size, its bytes, and their SHA-256; one that is cut off or wrong is never taken for
the file, and fetching it again starts from the beginning. Nothing on the wire is encrypted, as with migrations without certificates.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import structlog
import trio

from ostro.model.errors import Invalid, Unavailable, Unsupported
from ostro.runtime.world import World

log = structlog.get_logger()

CHUNK_BYTES = 1 << 20
SIZE_BYTES = 8
DIGEST_BYTES = hashlib.sha256().digest_size
QUESTION_MOST_BYTES = 4096
SILENCE_S = 60.0


class Offer(msgspec.Struct, frozen=True):
    """Where a disk can be had. ``secret`` is good for this file alone."""

    address: str
    port: int
    path: str
    secret: str


class DiskServer:
    """Gives offered files to whoever has the secret. ``address`` is empty where other hosts can't reach this one."""

    def __init__(self, world: World, state_dir: Path, address: str, port: int) -> None:
        self._world = world
        self._state_dir = state_dir
        self._address = address
        self._port = port
        self._key = b""

    async def run(self) -> None:
        """Serve for ever, if there is anywhere to."""
        if not self._address:
            return
        listeners = await trio.open_tcp_listeners(self._port, host=self._address)
        await trio.serve_listeners(self._serve, listeners)

    def offer(self, path: str) -> str:
        """Something for the other host's `fetch`. The same for the same file, also after a restart.

        Raises:
            Unsupported: other hosts can't reach this one.
        """
        if not self._address:
            raise Unsupported("Other hosts can't fetch disks from this host: it is not told where to listen for them.")
        return msgspec.json.encode(Offer(self._address, self._port, path, self._secret(path))).decode()

    def _secret(self, path: str) -> str:
        if not self._key:
            file = self._state_dir / "disks.key"
            if not file.exists():
                draft = file.with_suffix(".new")
                draft.touch(mode=0o600)
                draft.write_bytes(os.urandom(32))
                draft.rename(file)
            self._key = file.read_bytes()
        return hmac.new(self._key, path.encode(), "sha256").hexdigest()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                with trio.fail_after(SILENCE_S):
                    question = await _read_line(stream)
                offer = msgspec.json.decode(question, type=Offer)
                if not hmac.compare_digest(offer.secret, self._secret(offer.path)):
                    log.warning("a disk was asked for without its secret", path=offer.path)
                    return
                await _send_file(stream, offer.path)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, msgspec.MsgspecError, Unavailable) as error:
            log.warning("a disk was not sent", reason=repr(error))


async def _read_line(stream: trio.SocketStream) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some(QUESTION_MOST_BYTES)
        if not more or len(data) > QUESTION_MOST_BYTES:
            raise Unavailable("The question was cut off.")
        data += bytes(more)
    return data


async def _send_file(stream: trio.SocketStream, path: str) -> None:
    digest = hashlib.sha256()
    async with await trio.open_file(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        await stream.send_all(left.to_bytes(SIZE_BYTES, "big"))
        while left:
            chunk = await file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise Unavailable("The file has become shorter.")
            left -= len(chunk)
            digest.update(chunk)
            with trio.fail_after(SILENCE_S):
                await stream.send_all(chunk)
    await stream.send_all(digest.digest())


async def fetch(offer: str) -> AsyncGenerator[bytes, None]:
    """The bytes of what another host has offered. Breaks off with an error, never silently.

    Raises:
        Invalid: the offer can't be read.
        Unavailable: the other host doesn't answer, or not with the whole file.
    """
    try:
        wanted = msgspec.json.decode(offer, type=Offer)
    except msgspec.MsgspecError as error:
        raise Invalid("The other host's offer of a disk can't be read.", detail=offer[:200]) from error
    try:
        with trio.fail_after(SILENCE_S):
            stream = await trio.open_tcp_stream(wanted.address, wanted.port)
        async with stream:
            await stream.send_all(msgspec.json.encode(wanted) + b"\n")
            left = int.from_bytes(await _read_exactly(stream, SIZE_BYTES), "big")
            digest = hashlib.sha256()
            while left:
                with trio.fail_after(SILENCE_S):
                    chunk = bytes(await stream.receive_some(min(CHUNK_BYTES, left)))
                if not chunk:
                    raise Unavailable("The other host has broken off.")
                left -= len(chunk)
                digest.update(chunk)
                yield chunk
            if await _read_exactly(stream, DIGEST_BYTES) != digest.digest():
                raise Unavailable("The other host's disk has not arrived as it was sent.")
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        raise Unavailable("The other host's disk can't be fetched.", detail=repr(error)) from error


async def _read_exactly(stream: trio.SocketStream, size_bytes: int) -> bytes:
    data = b""
    while len(data) < size_bytes:
        with trio.fail_after(SILENCE_S):
            more = await stream.receive_some(size_bytes - len(data))
        if not more:
            raise Unavailable("The other host has broken off.")
        data += bytes(more)
    return data
