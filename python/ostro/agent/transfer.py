"""Disks on their way between hosts' agents: what one host offers, another fetches.

The one that offers listens beside its hypervisor, at the port after that one's. Who asks shows a secret that went with the offer through the control
plane, so both are hosts of this cloud. Where hosts have certificates (`ostro.agent.identity`), each shows its own and asks for the other's, and all
goes encrypted; a host that has one neither gives nor takes a disk without. Where the cloud has no authority, nothing on the wire is encrypted.

An offer is for one migration, and is good until it has been used, withdrawn, or expires; what is fetched is the file that it was made for. It has been
used when the one that fetched says that it has the disk where it belongs: one that died on the way may fetch it again.

An answer is the file's size, its bytes, and their SHA-256; one that is cut off or wrong is never taken for the file, and fetching it again starts from
the beginning.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import structlog
import trio

from ostro.agent.identity import Identity
from ostro.model.errors import Invalid, Unavailable, Unsupported
from ostro.runtime.world import World

log = structlog.get_logger()

CHUNK_BYTES = 1 << 20
SIZE_BYTES = 8
DIGEST_BYTES = hashlib.sha256().digest_size
QUESTION_MOST_BYTES = 4096
SILENCE_S = 60.0
OFFER_LEAST_S = 7200
"""An offer is good for so long at least: longer than a saga waits for a disk to be fetched."""
OFFER_MOST_S = 2 * OFFER_LEAST_S
USED_MOST = 10_000
"""More than ever wait to be confirmed on a host; what is older has expired."""
DONE = b"\n"


class Offer(msgspec.Struct, frozen=True):
    """Where a disk can be had. ``secret`` is good for this migration alone; ``host`` is what the certificate there says, empty where there is none."""

    address: str
    port: int
    migration_id: str
    expires_s: int
    secret: str
    host: str = ""


class _Question(msgspec.Struct, frozen=True):
    """What is asked: the file, or, ``done``, to forget it."""

    migration_id: str
    expires_s: int
    secret: str
    done: bool = False


class DiskServer:
    """Gives offered files to whoever has the secret. ``address`` is empty where other hosts can't reach this one."""

    def __init__(
        self, world: World, state_dir: Path, address: str, port: int, identity: Identity | None = None
    ) -> None:
        self._world = world
        self._state_dir = state_dir
        self._address = address
        self._port = port
        self._identity = identity if identity is not None and identity.is_there else None
        self._key = b""
        self._open: dict[str, str] = {}
        """Migrations, and the file that is offered for each."""
        self._used: list[str] | None = None

    async def run(self) -> None:
        """Serve for ever, if there is anywhere to."""
        if not self._address:
            return
        listeners = await trio.open_tcp_listeners(self._port, host=self._address)
        await trio.serve_listeners(self._serve, listeners)

    def offer(self, migration_id: str, path: str) -> str:
        """Something for the other host's `fetch`; empty when it has been used. The same until half of its time is over, also after a restart.

        Raises:
            Unsupported: other hosts can't reach this one.
        """
        if not self._address:
            raise Unsupported("Other hosts can't fetch disks from this host: it is not told where to listen for them.")
        if migration_id in self._marks():
            return ""
        self._open[migration_id] = path
        now_s = self._world.now_us() // 1_000_000
        expires_s = (now_s // OFFER_LEAST_S) * OFFER_LEAST_S + OFFER_MOST_S
        host = self._identity.name if self._identity else ""
        secret = self._secret(migration_id, expires_s)
        return msgspec.json.encode(Offer(self._address, self._port, migration_id, expires_s, secret, host)).decode()

    def withdraw(self, migration_id: str) -> None:
        """The migration is over: give nobody its file. Idempotent."""
        self._open.pop(migration_id, None)

    def _secret(self, migration_id: str, expires_s: int) -> str:
        if not self._key:
            file = self._state_dir / "disks.key"
            if not file.exists():
                draft = file.with_suffix(".new")
                draft.touch(mode=0o600)
                draft.write_bytes(os.urandom(32))
                draft.rename(file)
            self._key = file.read_bytes()
        return hmac.new(self._key, f"{migration_id} {expires_s}".encode(), "sha256").hexdigest()

    def _marks(self) -> list[str]:
        """Migrations whose offers have been used, the last ones."""
        if self._used is None:
            file = self._state_dir / "disks.used"
            self._used = file.read_text().split() if file.exists() else []
        return self._used

    def _mark(self, migration_id: str) -> None:
        self._open.pop(migration_id, None)
        self._used = [*self._marks(), migration_id][-USED_MOST:]
        draft = self._state_dir / "disks.used.new"
        draft.write_text("\n".join(self._used))
        draft.rename(self._state_dir / "disks.used")

    async def _serve(self, plain: trio.SocketStream) -> None:
        stream: trio.abc.Stream = plain
        try:
            if self._identity is not None:
                stream = trio.SSLStream(plain, self._identity.server_context(), server_side=True)
            async with stream:
                with trio.fail_after(SILENCE_S):
                    question = msgspec.json.decode(await _read_line(stream), type=_Question)
                path = self._path_for(question)
                if not path:
                    log.warning("a disk was asked for that is not offered so", migration_id=question.migration_id)
                elif question.done:
                    self._mark(question.migration_id)
                    await stream.send_all(DONE)
                else:
                    await _send_file(stream, path)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, msgspec.MsgspecError, Unavailable) as error:
            log.warning("a disk was not sent", reason=repr(error))
            await trio.aclose_forcefully(plain)

    def _path_for(self, question: _Question) -> str:
        """The file that the question is about; empty unless it may be had by it now."""
        wanted = self._secret(question.migration_id, question.expires_s)
        is_good = hmac.compare_digest(question.secret, wanted) and self._world.now_us() < question.expires_s * 1_000_000
        return self._open.get(question.migration_id, "") if is_good else ""


async def _read_line(stream: trio.abc.Stream) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some(QUESTION_MOST_BYTES)
        if not more or len(data) > QUESTION_MOST_BYTES:
            raise Unavailable("The question was cut off.")
        data += bytes(more)
    return data


async def _send_file(stream: trio.abc.Stream, path: str) -> None:
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


async def fetch(offer: str, identity: Identity | None = None) -> AsyncGenerator[bytes, None]:
    """The bytes of what another host has offered. Breaks off with an error, never silently. Once they are in their place, `settle` it.

    Raises:
        Invalid: the offer can't be read.
        Unsupported: it is without certificates and this host has one, or the other way round.
        Unavailable: the other host doesn't answer, or not with the whole file.
    """
    async with _asking(offer, identity) as stream:
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


async def settle(offer: str, identity: Identity | None = None) -> None:
    """Tell the other host that its disk is here: nobody can have it by that offer any more. Raises as `fetch` does."""
    async with _asking(offer, identity, done=True) as stream:
        await _read_exactly(stream, len(DONE))


@asynccontextmanager
async def _asking(offer: str, identity: Identity | None, *, done: bool = False) -> AsyncIterator[trio.abc.Stream]:
    """A stream to the host that made the offer, which has been asked."""
    try:
        wanted = msgspec.json.decode(offer, type=Offer)
    except msgspec.MsgspecError as error:
        # It isn't shown: what is wrong with it may be little, and it lets one have the disk.
        raise Invalid("The other host's offer of a disk can't be read.", detail=str(error)) from error
    ours = identity if identity is not None and identity.is_there else None
    if bool(wanted.host) != (ours is not None):
        raise Unsupported("One of the two hosts has a certificate and the other has none.")
    question = _Question(wanted.migration_id, wanted.expires_s, wanted.secret, done)
    try:
        with trio.fail_after(SILENCE_S):
            stream: trio.abc.Stream = await trio.open_tcp_stream(wanted.address, wanted.port)
        if ours is not None:
            stream = trio.SSLStream(stream, ours.context(), server_hostname=wanted.host)
        try:
            with trio.fail_after(SILENCE_S):
                await stream.send_all(msgspec.json.encode(question) + b"\n")
            yield stream
        finally:
            await trio.aclose_forcefully(stream)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, ssl.SSLError) as error:
        raise Unavailable("The other host's disk can't be fetched.", detail=repr(error)) from error


async def _read_exactly(stream: trio.abc.Stream, size_bytes: int) -> bytes:
    data = b""
    while len(data) < size_bytes:
        with trio.fail_after(SILENCE_S):
            more = await stream.receive_some(size_bytes - len(data))
        if not more:
            raise Unavailable("The other host has broken off.")
        data += bytes(more)
    return data
