"""Files as answers: byte ranges, and streams read piece by piece in worker threads.

A download holds one piece in memory. The kernel is told that the file is read in sequence, so it reads ahead on its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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


class FileStream:
    """An answer's body out of a file. ``aclose`` is called by the frame, also for a client that goes away."""

    def __init__(self, threads: Threads, file: int, span: Span) -> None:
        self._threads = threads
        self._file = file
        self._at = span.start
        self._end = span.end
        self._open = True

    @classmethod
    async def open(cls, threads: Threads, path: Path, span: Span) -> FileStream:
        """Open the file now, so that it can be removed while it is being sent. Raises OSError."""
        return cls(threads, await threads.run(POOL, _open_sequential, path), span)

    def __aiter__(self) -> FileStream:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._end:
            await self.aclose()
            raise StopAsyncIteration
        data = await self._threads.run(POOL, os.pread, self._file, min(PIECE_BYTES, self._end - self._at), self._at)
        if not data:
            raise EOFError("the file is shorter than it was")
        self._at += len(data)
        return data

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._file)

    def __del__(self) -> None:
        self._close()


def _open_sequential(path: Path) -> int:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return file
