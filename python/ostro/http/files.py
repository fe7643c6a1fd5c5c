"""Files as answers: byte ranges, and streams read piece by piece in worker threads.

A download holds one piece in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from ostro.http.faults import RangeNotSatisfiable
from ostro.runtime.threads import Pool, Threads

PIECE_BYTES = 1 << 20
"""Read and send this much at once: large enough that a thread hop costs nothing, small enough to hold many."""
RANGES_MOST = 50
POOL = Pool("file-read", 8)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` up to and without ``end``."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The value of ``Content-Range``."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse_ranges(header: str | None, size: int) -> list[Span] | None:
    """What a ``Range`` header asks of ``size`` bytes, in its order; None when the whole is meant.

    A header that can't be parsed is ignored, as RFC 9110 wants. Raises RangeNotSatisfiable when nothing asked for exists.
    """
    if not header or not header.strip().lower().startswith("bytes="):
        return None
    spans: list[Span] = []
    parts = header.split("=", 1)[1].split(",")
    for part in parts:
        first, dash, last = part.strip().partition("-")
        if not dash or not (first or last) or not all(not n or (n.isascii() and n.isdigit()) for n in (first, last)):
            return None
        if first:
            start, end = int(first), min(size, int(last) + 1) if last else size
            if last and int(last) < start:
                return None
        else:
            start, end = max(0, size - int(last)), size
        if start < end:
            spans.append(Span(start, end))
    if not spans or len(parts) > RANGES_MOST:
        raise RangeNotSatisfiable("The requested range cannot be satisfied.")
    return spans


class Source(Protocol):
    """Bytes that are open. Both methods block."""

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; none at the end."""
        ...

    def close(self) -> None:
        """Let go. Idempotent."""
        ...


class FileStream:
    """An answer's body out of a file or the like. ``aclose`` is called by the frame, also for a client that goes away."""

    def __init__(self, threads: Threads, source: Source, span: Span) -> None:
        self._threads = threads
        self._source: Source | None = source
        self._at = span.start
        self._end = span.end

    @classmethod
    async def open(cls, threads: Threads, open_: Callable[[], Source], span: Span) -> FileStream:
        """Open the source now, so that it can be removed while it is being sent. Raises what ``open_`` does."""
        return cls(threads, await threads.run(POOL, open_), span)

    def __aiter__(self) -> FileStream:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._end or self._source is None:
            await self.aclose()
            raise StopAsyncIteration
        data = await self._threads.run(POOL, self._source.read, self._at, min(PIECE_BYTES, self._end - self._at))
        if not data:
            raise EOFError("the file is shorter than it was")
        self._at += len(data)
        return data

    async def aclose(self) -> None:
        """Close the source, whatever is cancelled. Idempotent."""
        source, self._source = self._source, None
        if source is not None:
            with trio.CancelScope(shield=True):
                await self._threads.run(POOL, source.close)
        await trio.lowlevel.checkpoint_if_cancelled()

    def __del__(self) -> None:
        if self._source is not None:
            self._source.close()
