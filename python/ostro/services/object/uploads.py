"""Bytes in: from a stream to a body that the index can refer to.

A body of up to ``INLINE_MOST_BYTES`` is hashed on the spot and will live in the index. A larger one is cut into chunks: while the next bytes
arrive, a worker thread hashes the last ones and writes them to the chunk's draft, and chunks that are complete are flushed and named in
others. Everything waits for the slowest: at most ``FLUSHING_MOST`` chunks of a body are being flushed at once, and a body's bytes wait in
the connection meanwhile, so memory is bounded whatever the disk does.

``receive`` keeps every chunk pinned until its block ends: the caller commits the index within it. Chunks that no index came to refer
to are deleted at its end.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import trio

from ostro._core import Chunker
from ostro.model.errors import NoCapacity
from ostro.runtime.threads import Pool
from ostro.services.object.chunks import ChunkDraft, ChunkStore
from ostro.services.object.collector import Collector
from ostro.services.object.errors import BodyTooLarge, Full, TooSlow
from ostro.services.object.limits import CHUNK_BYTES, FILE_MOST_BYTES, INLINE_MOST_BYTES
from ostro.services.object.objects import Body, Chunk

HASHES = Pool("object-hash", 4)
FLUSHING_MOST = 3
"""Each is in memory twice: here and in librados. So many keep a cluster busy at 400 MB/s for one stream."""
UPLOAD_MOST_S = 12 * 3600.0
"""An upload may not outlast the grace that the collector gives to chunks of other processes."""
GATHER_BYTES = 1 << 20
"""A worker is given at least this much, so that hopping to it costs little: on a busy machine a hop and its way back wait their turn twice."""


Completed = list[tuple[str, ChunkDraft]]
"""Chunks that are whole, with their names."""


@dataclass
class _Cutter:
    """Hashes and cuts one stream. ``feed`` and ``discard`` block: one call at a time, in a worker thread."""

    store: ChunkStore
    chunker: Chunker = field(default_factory=lambda: Chunker(CHUNK_BYTES, digests=["md5"]))
    chunks: list[Chunk] = field(default_factory=list)
    draft: ChunkDraft | None = None
    draft_bytes: int = 0
    ended: bool = False

    def feed(self, data: bytes, last: bool) -> Completed:
        """Take the next bytes; chunks that are complete now, the last short one included when these are the ``last`` bytes."""
        view = memoryview(data)
        done: Completed = []
        for piece in self.chunker.feed(data):
            if self.ended:
                break
            if self.draft is None:
                self.draft = self.store.begin()
            self.draft.write(view[piece.start : piece.end])
            self.draft_bytes += piece.end - piece.start
            if piece.chunk_id is not None:
                done.append(self._complete(piece.chunk_id))
        return done + self.finish() if last and not self.ended else done

    def _complete(self, chunk_id: str) -> tuple[str, ChunkDraft]:
        assert self.draft is not None, "a chunk is complete after something was written to it"
        draft, self.draft = self.draft, None
        self.chunks.append((chunk_id, self.draft_bytes))
        self.draft_bytes = 0
        return chunk_id, draft

    def finish(self) -> Completed:
        """The stream has ended: the last chunk, if it is a short one. Costs nothing."""
        last = self.chunker.finish()
        return [] if last is None else [self._complete(last[0])]

    def discard(self) -> None:
        """The stream is given up."""
        self.ended = True
        if self.draft is not None:
            self.draft.discard()
            self.draft = None


class Uploads:
    """Receives bodies for one process."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._store = collector.store
        self._threads = collector.world.threads

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
        cutter = _Cutter(self._store)
        try:
            with trio.fail_after(UPLOAD_MOST_S):
                await self._feed(cutter, first, stream, pinned)
        except trio.TooSlowError as error:
            raise TooSlow() from error
        except BaseExceptionGroup as group:
            raise _as_one(group) from None
        finally:
            if cutter.draft is not None:
                with trio.CancelScope(shield=True):
                    await self._threads.run(HASHES, cutter.discard)
        return Body(cutter.chunker.length, cutter.chunker.hexdigest("md5"), chunks=cutter.chunks)

    async def _feed(self, cutter: _Cutter, first: bytes, stream: AsyncIterator[bytes], pinned: list[str]) -> None:
        slots = trio.Semaphore(FLUSHING_MOST)
        async with trio.open_nursery() as nursery, aclosing(_gather(first, stream)) as parts:
            async for data, last in parts:
                if cutter.chunker.length + len(data) > FILE_MOST_BYTES:
                    raise BodyTooLarge()
                # A hop to a worker costs as much as hashing some hundred KiB, so none is made without bytes.
                done = await self._work(cutter.feed, data, last) if data else cutter.finish()
                await self._hand_over(done, nursery, pinned, slots)

    async def _hand_over(
        self, completed: Completed, nursery: trio.Nursery, pinned: list[str], slots: trio.Semaphore
    ) -> None:
        """Have each chunk kept as soon as there is a slot for it; those that are still waiting when the upload is given up go."""
        waiting = list(completed)
        try:
            while waiting:
                await slots.acquire()
                nursery.start_soon(self._keep, *waiting.pop(0), pinned, slots)
        finally:
            with trio.CancelScope(shield=True):
                for _, draft in waiting:
                    await self._threads.run(HASHES, draft.discard)

    async def _work(self, fn: Callable[..., Completed], *args: object) -> Completed:
        """One short call of the cutter, to its end: nothing else may touch the cutter meanwhile."""
        with trio.CancelScope(shield=True):
            done = await self._threads.run(HASHES, fn, *args)
        return done

    async def _keep(self, chunk_id: str, draft: ChunkDraft, pinned: list[str], slots: trio.Semaphore) -> None:
        """Give a complete chunk its name. Comes to an end even when the upload is given up."""
        with trio.CancelScope(shield=True):
            try:
                await self._collector.pins.pin(chunk_id)
                pinned.append(chunk_id)
                await draft.commit(chunk_id)
            except BaseException:
                await self._threads.run(HASHES, draft.discard)
                raise
            finally:
                slots.release()


async def _gather_first(stream: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """(the first bytes, whether they are all): enough to see that the body is not a small one."""
    data = b""
    async for part in stream:
        data = data + part if data else part
        if len(data) > INLINE_MOST_BYTES:
            return data, False
    return data, True


async def _gather(first: bytes, stream: AsyncIterator[bytes]) -> AsyncGenerator[tuple[bytes, bool], None]:
    """The whole stream in parts of at least ``GATHER_BYTES``, the last one excepted, which may be empty; and whether it is that."""
    parts, waiting_bytes = [first], len(first)
    async for part in stream:
        parts.append(part)
        waiting_bytes += len(part)
        if waiting_bytes >= GATHER_BYTES:
            yield parts[0] if len(parts) == 1 else b"".join(parts), False
            parts, waiting_bytes = [], 0
    yield b"".join(parts), True


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
