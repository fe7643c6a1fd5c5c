"""Bytes in: from a stream to a body that the index can refer to.

A body of up to ``INLINE_MOST_BYTES`` is hashed on the spot and will live in the index. A larger one is cut into chunks. A chunk is kept under the
digest of its own bytes, which is quick to compute; its part of the digest of the whole body, which is slow, is computed meanwhile, together
with those of other bodies (``digests``); and the next chunk comes. At most ``CHUNKS_MOST`` chunks of a body are under way at once, and the rest
waits in the connection, so memory is bounded whatever the disk does.

``receive`` keeps every chunk pinned until its block ends: the caller commits the index within it. Chunks that no index came to refer
to are deleted at its end.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

from ostro.model.errors import NoCapacity
from ostro.services.object.chunks.verified import name_of
from ostro.services.object.collector import Collector
from ostro.services.object.digests import HASHES, Digest, Digests
from ostro.services.object.errors import BodyTooLarge, Full, TooSlow
from ostro.services.object.limits import CHUNK_BYTES, FILE_MOST_BYTES, INLINE_MOST_BYTES, PIECE_BYTES
from ostro.services.object.objects import Body, Chunk

CHUNKS_MOST = 3
"""Each is in memory twice: here and in librados. So many keep a cluster busy at 400 MB/s for one stream."""
UPLOAD_MOST_S = 12 * 3600.0
"""An upload may not outlast the grace that the collector gives to chunks of other processes."""


class _Cutter:
    """Cuts one stream into chunks, and those into pieces of ``PIECE_BYTES``: larger buffers cost more than what is done with them."""

    def __init__(self) -> None:
        self.length = 0
        self._pieces: list[bytes] = []
        self._parts: list[bytes | memoryview] = []
        self._waiting_bytes = 0

    def take(self, part: bytes) -> list[list[bytes]]:
        """The next bytes; chunks that are complete now."""
        done = []
        self.length += len(part)
        rest: bytes | memoryview = part
        while len(rest) >= (missing := PIECE_BYTES - self._waiting_bytes):
            self._parts.append(rest if len(rest) == missing else memoryview(rest)[:missing])
            rest = memoryview(rest)[missing:]
            self._end_piece()
            if len(self._pieces) * PIECE_BYTES == CHUNK_BYTES:
                done.append(self._end_chunk())
        if len(rest):
            self._parts.append(rest)
            self._waiting_bytes += len(rest)
        return done

    def _end_piece(self) -> None:
        first = self._parts[0]
        whole = len(self._parts) == 1 and isinstance(first, bytes)
        self._pieces.append(first if whole and isinstance(first, bytes) else b"".join(self._parts))
        self._parts, self._waiting_bytes = [], 0

    def _end_chunk(self) -> list[bytes]:
        chunk, self._pieces = self._pieces, []
        return chunk

    def finish(self) -> list[list[bytes]]:
        """The stream has ended: the last chunk, if there is a short one."""
        if self._parts:
            self._end_piece()
        return [self._end_chunk()] if self._pieces else []


@dataclass
class _Work:
    """What is under way for one body. ``room``: for chunks that are being kept."""

    nursery: trio.Nursery
    digest: Digest
    pinned: list[str]
    chunks: list[Chunk] = field(default_factory=list)
    room: trio.Semaphore = field(default_factory=partial(trio.Semaphore, CHUNKS_MOST))


class Uploads:
    """Receives bodies for one process."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._store = collector.store
        self._threads = collector.world.threads
        self._digests = Digests(self._threads)

    @asynccontextmanager
    async def receive(self, stream: AsyncIterator[bytes]) -> AsyncIterator[Body]:
        """The stream as a body, whose chunks stay until the block ends and for as long as the index refers to them.

        Raises BodyTooLarge, Full, and whatever the stream raises. When that happens, or the block fails, nothing is left behind.
        """
        pinned: list[str] = []
        try:
            first, ended = await _gather_first(stream)
            if ended:
                body = Body(len(first), hashlib.md5(first, usedforsecurity=False).hexdigest(), inline=first)
            else:
                body = await self._cut(first, stream, pinned)
            yield body
        except BaseException:
            self._collector.pins.unpin(pinned)
            with trio.CancelScope(shield=True):
                await self._collector.drop_unknown(pinned)
            raise
        self._collector.pins.unpin(pinned)

    async def _cut(self, first: bytes, stream: AsyncIterator[bytes], pinned: list[str]) -> Body:
        cutter = _Cutter()
        try:
            with trio.fail_after(UPLOAD_MOST_S), self._digests.open() as digest:
                async with trio.open_nursery() as nursery:
                    work = _Work(nursery, digest, pinned)
                    await self._feed(cutter, first, stream, work)
                await self._digests.settle(digest)
        except trio.TooSlowError as error:
            raise TooSlow() from error
        except BaseExceptionGroup as group:
            raise _as_one(group) from None
        return Body(cutter.length, digest.hexdigest, chunks=work.chunks)

    async def _feed(self, cutter: _Cutter, first: bytes, stream: AsyncIterator[bytes], work: _Work) -> None:
        await self._begin(cutter.take(first), work)
        async for part in stream:
            if cutter.length + len(part) > FILE_MOST_BYTES:
                raise BodyTooLarge()
            await self._begin(cutter.take(part), work)
        await self._begin(cutter.finish(), work)

    async def _begin(self, chunks: list[list[bytes]], work: _Work) -> None:
        """Have chunks kept and digested, each as soon as there is room for it."""
        while chunks:
            await self._digests.settle(work.digest, CHUNKS_MOST - 1)
            await work.room.acquire()
            pieces = chunks.pop(0)
            work.chunks.append(("", sum(map(len, pieces))))
            work.nursery.start_soon(self._keep, len(work.chunks) - 1, pieces, work)
            work.digest.waiting.append(pieces)
            if self._digests.due:
                work.nursery.start_soon(self._digests.work)

    async def _keep(self, at: int, pieces: list[bytes], work: _Work) -> None:
        """Name a chunk and have it. Comes to an end even when the upload is given up."""
        with trio.CancelScope(shield=True):
            here = len(pieces) == 1
            chunk_id = name_of(*pieces) if here else await self._threads.run(HASHES, name_of, *pieces)
            work.chunks[at] = (chunk_id, work.chunks[at][1])
            await self._collector.pins.pin(chunk_id)
            work.pinned.append(chunk_id)
            await self._store.keep(chunk_id, pieces)
        work.room.release()


async def _gather_first(stream: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """(the first bytes, whether they are all): enough to see that the body is not a small one."""
    data = b""
    async for part in stream:
        data = data + part if data else part
        if len(data) > INLINE_MOST_BYTES:
            return data, False
    return data, True


def _as_one(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a group of tasks, as the client shall see it; cancellation when nothing else did."""
    leaves = _leaves(group)
    error = next((leaf for leaf in leaves if not isinstance(leaf, trio.Cancelled)), leaves[0])
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Full(str(error))
    if isinstance(error, NoCapacity):
        return Full(error.detail)
    return error


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for child in error.exceptions for leaf in _leaves(child)]
    return [error]
