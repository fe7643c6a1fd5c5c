"""The MD5s of bodies that are coming in, computed together.

MD5 is the slowest thing that is done to a body, because its steps wait for each other; but those of several bodies share the processor's vectors
(`ostro._core.update_together`), up to eight times as fast. Nobody needs a body's digest before its bytes are kept. So with three bodies and more
under way, what is to be digested waits for company: until there is some of ``COMPANY`` bodies, or of all, or somebody has
nothing else to wait for, who then takes along whatever waits. With fewer, it is digested at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from ostro._core import Hasher, update_together
from ostro.model.errors import Bug
from ostro.runtime.threads import Pool, Threads

COMPANY = 8
"""As many as share a vector on most processors."""
COMPANY_LEAST = 3
"""Fewer are digested faster one after the other."""
HASHES = Pool("object-hash", 4)

Pieces = Sequence[bytes]


class Digest:
    """One body's."""

    def __init__(self) -> None:
        self.md5 = Hasher("md5")
        self.waiting: deque[Pieces] = deque()
        self.busy = False
        self.lost = False
        self.moved = trio.Event()

    @property
    def hexdigest(self) -> str:
        """Of what was digested."""
        return self.md5.hexdigest("md5")


class Digests:
    """All that are under way in this process. Use it from the trio thread."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._open: list[Digest] = []

    @contextmanager
    def open(self) -> Iterator[Digest]:
        """The digest of a body, until its block ends."""
        digest = Digest()
        self._open.append(digest)
        try:
            yield digest
        finally:
            self._open.remove(digest)

    @property
    def due(self) -> bool:
        """Whether it is time to ``work``."""
        among = len(self._open)
        return len(self._ready()) >= (1 if among < COMPANY_LEAST else min(among, COMPANY))

    def _ready(self) -> list[Digest]:
        return [digest for digest in self._open if digest.waiting and not digest.busy]

    async def work(self) -> None:
        """Digest what has waited longest of each body, together. Comes to an end even when cancelled: others wait for it."""
        batch = self._ready()
        if not batch:
            return  # Another has taken them since it was time.
        feeds = [(digest.md5, digest.waiting.popleft()) for digest in batch]
        for digest in batch:
            digest.busy, digest.lost = True, True
        try:
            with trio.CancelScope(shield=True):
                await self._threads.run(HASHES, feed_together, feeds)
            for digest in batch:
                digest.lost = False
        finally:
            for digest in batch:
                digest.busy = False
                digest.moved.set()
                digest.moved = trio.Event()

    async def settle(self, digest: Digest, most: int = 0) -> None:
        """Return when no more than so many parts of the body wait to be digested, and none is being digested unless so many may wait.

        Raises Bug when one could not be.
        """
        while len(digest.waiting) + digest.busy > most:
            if digest.busy:
                await digest.moved.wait()
            else:
                await self.work()
        if digest.lost and not digest.busy:
            raise Bug("A body could not be digested.")


def feed_together(feeds: list[tuple[Hasher, Pieces]]) -> None:
    """Feed each hasher its pieces, in order. Blocks."""
    for at in range(max((len(pieces) for _, pieces in feeds), default=0)):
        update_together([(md5, pieces[at]) for md5, pieces in feeds if at < len(pieces)])
