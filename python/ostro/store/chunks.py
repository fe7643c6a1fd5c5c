"""How many bodies refer to each chunk. A chunk without references is free to be deleted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ostro.store.database import Tx

AT_ONCE = 400
"""Chunks in one statement."""


def add_refs(tx: Tx, chunks: Iterable[tuple[str, int]]) -> None:
    """One more reference for every (id, size) of a body; a chunk that a body has twice gets two."""
    counts = Counter(chunks)
    # In one order everywhere, so that two writers can't wait for each other.
    ordered = sorted(counts.items())
    for i in range(0, len(ordered), AT_ONCE):
        part = ordered[i : i + AT_ONCE]
        params = [value for (chunk_id, size_bytes), count in part for value in (chunk_id, size_bytes, count)]
        tx.execute(
            f"INSERT INTO chunks (id, size_bytes, refs) VALUES {', '.join(['(?, ?, ?)'] * len(part))}"
            " ON CONFLICT (id) DO UPDATE SET refs = chunks.refs + excluded.refs",
            params,
        )


def drop_refs(tx: Tx, chunks: Iterable[tuple[str, int]]) -> None:
    """One reference less for every (id, size) of a body."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for (chunk_id, _size), count in sorted(Counter(chunks).items()):
        by_count[count].append(chunk_id)
    for count, ids in sorted(by_count.items()):
        for i in range(0, len(ids), AT_ONCE):
            part = ids[i : i + AT_ONCE]
            marks = ", ".join("?" * len(part))
            tx.execute(f"UPDATE chunks SET refs = refs - ? WHERE id IN ({marks})", (count, *part))


def list_free_chunks(tx: Tx, after: str, limit: int) -> list[str]:
    """Chunks that nothing refers to, the first ones whose names come after ``after``."""
    rows = tx.all("SELECT id FROM chunks WHERE refs = 0 AND id > ? ORDER BY id LIMIT ?", (after, limit))
    return [row[0] for row in rows]


def forget_free_chunk(tx: Tx, chunk_id: str) -> bool:
    """Forget the chunk if nothing refers to it; whether its bytes may go."""
    tx.execute("DELETE FROM chunks WHERE id = ? AND refs = 0", (chunk_id,))
    return tx.one("SELECT 1 FROM chunks WHERE id = ?", (chunk_id,)) is None


def list_unknown(tx: Tx, chunk_ids: Sequence[str]) -> list[str]:
    """Those that the index has never heard of."""
    known: set[str] = set()
    for i in range(0, len(chunk_ids), AT_ONCE):
        part = chunk_ids[i : i + AT_ONCE]
        marks = ", ".join("?" * len(part))
        known.update(row[0] for row in tx.all(f"SELECT id FROM chunks WHERE id IN ({marks})", part))
    return [chunk_id for chunk_id in chunk_ids if chunk_id not in known]
