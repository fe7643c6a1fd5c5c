"""References to chunks, on both engines."""

from __future__ import annotations

from ostro.store.chunks import AT_ONCE, add_refs, drop_refs, forget_free_chunk, list_free_chunks, list_unknown
from ostro.store.database import Database, Tx


def refs(tx: Tx) -> dict[str, int]:
    return {row[0]: int(row[1]) for row in tx.all("SELECT id, refs FROM chunks")}


async def test_references_are_counted_per_use(db: Database) -> None:
    await db.run(add_refs, [("a", 4), ("b", 4), ("a", 4)])
    await db.run(add_refs, [("a", 4)])
    assert await db.read(refs) == {"a": 3, "b": 1}
    await db.run(drop_refs, [("a", 4), ("a", 4), ("b", 4)])
    assert await db.read(refs) == {"a": 1, "b": 0}
    await db.run(add_refs, [])
    await db.run(drop_refs, [])


async def test_only_a_free_chunk_is_forgotten(db: Database) -> None:
    await db.run(add_refs, [("a", 4), ("b", 4), ("c", 4)])
    await db.run(drop_refs, [("b", 4), ("c", 4)])
    assert await db.read(list_free_chunks, "", 10) == ["b", "c"]
    assert await db.read(list_free_chunks, "b", 10) == ["c"]
    assert await db.read(list_free_chunks, "", 1) == ["b"]
    assert await db.run(forget_free_chunk, "a") is False
    for _twice in range(2):
        assert await db.run(forget_free_chunk, "b") is True
    assert await db.read(refs) == {"a": 1, "c": 0}


async def test_more_chunks_than_go_into_one_statement(db: Database) -> None:
    many = [(f"{number:05}", 1) for number in range(2 * AT_ONCE + 1)]
    await db.run(add_refs, many)
    await db.run(drop_refs, many)
    assert set((await db.read(refs)).values()) == {0}
    asked = ["nobody", *(name for name, _ in many), "stranger"]
    assert await db.read(list_unknown, asked) == ["nobody", "stranger"]
