"""Where chunks are kept: immutable runs of bytes, named by their BLAKE3 digest.

A chunk is kept whole and durably, or not at all. Writing a chunk that is there already changes nothing, so two writers of the same bytes do not
disturb each other. Which chunks are in use is not known here: the index counts references, and ``ostro.services.object.pins`` and the collector keep a
chunk that is being written or re-used from being deleted. For them every chunk has a *mark*, which changes whenever it is written or re-used.

Implementations: ``local`` (files in a directory), ``rados`` (objects in Ceph) and ``memory`` (for simulations and tests). All pass one conformance
suite.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ostro.model.errors import OstroError

ID_LENGTH = 64
HEX = frozenset("0123456789abcdef")


class ChunkDamaged(OstroError):
    """A chunk's bytes are not those that its name says."""


class ChunkMissing(OstroError):
    """A chunk that should be there isn't."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A chunk at one moment. ``version`` changes with every writing and re-use of it, the last of which was ``age_s`` ago."""

    version: int
    age_s: float


class ChunkStore(Protocol):
    """A place for chunks. Besides what each method says, all may raise Unavailable."""

    piece_bytes: int
    """How much is best read at once."""

    async def keep(self, chunk_id: str, pieces: Sequence[bytes]) -> None:
        """Have this chunk, which is these pieces one after the other, whoever else writes or deletes it meanwhile; it is durable on return. Raises OSError, NoCapacity."""
        ...

    async def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> list[bytes]:
        """Bytes ``start`` up to ``end`` of a chunk that has ``size_bytes``, in pieces.

        Raises ChunkMissing, and ChunkDamaged when the chunk isn't what its name says, however often it was before.
        """
        ...

    def hint(self, chunk_id: str, size_bytes: int, start: int, end: int, ahead: int = 1) -> None:
        """This will be read, after ``ahead`` - 1 others: a store may begin. Costs nothing, promises nothing."""
        ...

    async def mark(self, chunk_id: str) -> Mark | None:
        """The chunk's mark, None when it isn't there."""
        ...

    async def delete(self, chunk_id: str, mark: Mark) -> bool:
        """Remove the chunk unless it was written or re-used after ``mark``; whether it is gone."""
        ...

    def pages(self) -> AsyncGenerator[list[str], None]:
        """The names of all chunks, some at a time, in no order."""
        ...

    async def discard_drafts(self) -> int:
        """Remove what an earlier process had half written; how much there was."""
        ...


def is_chunk_id(name: str) -> bool:
    """Whether this is a BLAKE3 digest in hexadecimal."""
    return len(name) == ID_LENGTH and HEX.issuperset(name)
