"""Containers and their counts, on both engines."""

from __future__ import annotations

from typing import Any

from ostro.store.database import Database, Tx
from ostro.store.object_containers import (
    CONTAINERS,
    ObjectContainer,
    add_counts,
    change_counts,
    fold_counts,
    forget_counts,
    list_changed_containers,
    list_container_names,
    sum_account,
)


def add(tx: Tx, id_: int, name: bytes, project_id: str = "p") -> ObjectContainer:
    row = ObjectContainer(id_, project_id, name, {"X-Container-Meta-A": "ü"}, "", "", 0, 0, 1, 1)
    return CONTAINERS.insert(tx, row)


def counts(tx: Tx, id_: int) -> tuple[int, int]:
    (row,) = add_counts(tx, CONTAINERS.list(tx, id=id_))
    return row.object_count, row.bytes_used


async def test_a_row_comes_back_with_any_name(db: Database) -> None:
    name = bytes(range(1, 256))
    made = await db.run(add, 1, name)
    assert await db.read(lambda tx: CONTAINERS.find(tx, project_id="p", name=name)) == made


async def test_counts_are_right_before_and_after_they_are_added_up(db: Database) -> None:
    await db.run(add, 1, b"a")
    await db.run(add, 2, b"b")
    for objects, size in ((1, 1 << 40), (1, 5), (-1, -5), (0, 0)):
        await db.run(change_counts, 1, objects, size)
    assert await db.read(counts, 1) == (1, 1 << 40)
    assert await db.read(sum_account, "p") == (2, 1, 1 << 40)
    assert await db.read(list_changed_containers, 10) == [1]
    for _twice in range(2):
        await db.run(fold_counts, 1)
        assert await db.read(list_changed_containers, 10) == []
        assert await db.read(counts, 1) == (1, 1 << 40)
        assert await db.read(sum_account, "p") == (2, 1, 1 << 40)
    await db.run(change_counts, 2, 1, 1)
    await db.run(forget_counts, 2)
    assert await db.read(counts, 2) == (0, 0)
    assert await db.read(sum_account, "nobody") == (0, 0, 0)


async def test_names_are_listed_in_the_order_of_their_bytes(db: Database) -> None:
    for number, name in enumerate((b"a", b"B", "ä".encode(), b"a/b", b"\xff")):
        await db.run(add, number, name)
    await db.run(add, 9, b"a", "other")
    cases: list[tuple[dict[str, Any], list[bytes]]] = [
        ({}, [b"B", b"a", b"a/b", "ä".encode(), b"\xff"]),
        ({"low": b"a", "high": b"b"}, [b"a", b"a/b"]),
        ({"reverse": True, "limit": 2}, [b"\xff", "ä".encode()]),
    ]
    for given, wanted in cases:
        options = {"low": b"", "high": b"", "limit": 10, "reverse": False, **given}
        found = await db.read(list_container_names, "p", **options)
        assert [row.name for row in found] == wanted
