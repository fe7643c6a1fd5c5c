"""Where chunks are kept: immutable runs of bytes, named by their BLAKE3 digest.

A chunk comes as a draft that is written piece by piece and gets its name at the end. It then exists whole and durably, or not at all.
Writing a chunk that is there already changes nothing, so two writers of the same bytes do not disturb each other. Which chunks are in use
is not known here: the index counts references, and ``ostro.services.object.pins`` keeps a chunk that is being written or re-used from
being deleted.

Implementations: ``local`` (files in a directory) and ``memory`` (for simulations and tests). Both pass one conformance suite. All methods
block: call them in worker threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ostro.model.errors import OstroError


class ChunkDamaged(OstroError):
    """A chunk's bytes are not those that its name says."""


class ChunkMissing(OstroError):
    """A chunk that should be there isn't."""


class ChunkDraft(Protocol):
    """A chunk being written, by one thread at a time."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes. Raises OSError, such as for a full disk."""
        ...

    def commit(self, chunk_id: str) -> None:
        """The chunk is whole and this is its name; it is durable on return. Raises OSError."""
        ...

    def discard(self) -> None:
        """Forget the draft. Idempotent, and nothing after ``commit``."""
        ...


class ChunkStore(Protocol):
    """A place for chunks."""

    def begin(self) -> ChunkDraft:
        """A new draft. Raises OSError."""
        ...

    def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> bytes:
        """Bytes ``start`` up to ``end`` of a chunk that has ``size_bytes``.

        Raises ChunkMissing, and ChunkDamaged when the chunk isn't what its name says (looked at no later than ``VERIFIED_S`` ago).
        """
        ...

    def has(self, chunk_id: str) -> bool:
        """Whether the chunk is there."""
        ...

    def delete(self, chunk_id: str) -> None:
        """Remove the chunk. It being gone is fine."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Names of the chunks that begin with ``prefix``, two hexadecimal digits."""
        ...

    def discard_drafts(self) -> int:
        """Remove the drafts that an earlier process left; how many there were."""
        ...


VERIFIED_S = 600.0
"""A chunk that was read whole and found right so long ago is not hashed again for every read."""
PREFIXES = tuple(f"{i:02x}" for i in range(256))
