"""Keeps chunks that are being written or re-used from being deleted, and lets only one of the two happen at a time.

A writer pins a chunk before it relies on it and lets go when the index refers to it (or never will). Whoever deletes condemns a chunk
first, which fails while it is pinned, then asks the index whether it is free, then deletes it. A writer that wants to pin a
condemned chunk waits until that is over, and finds the chunk gone or saved. All of it happens on the trio thread. Other
processes that share the chunks are told apart by marks: see the collector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio


class Pins:
    """Which chunks are pinned and condemned."""

    def __init__(self) -> None:
        self._pinned: dict[str, int] = {}
        self._condemned: dict[str, trio.Event] = {}

    async def pin(self, chunk_id: str) -> None:
        """Keep the chunk until ``unpin``; waits while it is being deleted. Atomic with respect to cancellation."""
        while (over := self._condemned.get(chunk_id)) is not None:
            await over.wait()
        self._pinned[chunk_id] = self._pinned.get(chunk_id, 0) + 1

    def unpin(self, chunk_ids: Iterable[str]) -> None:
        """Let go, once for each ``pin``."""
        for chunk_id in chunk_ids:
            left = self._pinned[chunk_id] - 1
            if left:
                self._pinned[chunk_id] = left
            else:
                del self._pinned[chunk_id]

    @contextmanager
    def condemn(self, chunk_id: str) -> Iterator[bool]:
        """Nobody pins the chunk until the block ends. Yields False, and does nothing, when it is pinned or condemned already."""
        if chunk_id in self._pinned or chunk_id in self._condemned:
            yield False
            return
        over = self._condemned[chunk_id] = trio.Event()
        try:
            yield True
        finally:
            del self._condemned[chunk_id]
            over.set()
