"""``store.table``: structs to rows and back, conditions, compare-and-swap."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import pytest

from ostro.model.errors import NotFound
from ostro.store.database import Database, Duplicate, Tx
from ostro.store.table import Table


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, frozen=True):
    n: int


class Thing(msgspec.Struct, frozen=True):
    id: str
    flag: bool
    colour: Colour
    note: str | None
    maybe_flag: bool | None
    size: int
    ratio: float
    tags: list[str]
    part: Inner
    extra: dict[str, int] | None


THINGS = Table("things", Thing)
CREATE = (
    "CREATE TABLE things (id TEXT PRIMARY KEY, flag INTEGER NOT NULL, colour TEXT NOT NULL, note TEXT,"
    " maybe_flag INTEGER, size BIGINT NOT NULL, ratio DOUBLE PRECISION NOT NULL, tags TEXT NOT NULL, part TEXT NOT NULL, extra TEXT)"
)


def make(id_: str, **changes: object) -> Thing:
    thing = Thing(id_, True, Colour.RED, None, None, 2**40, 0.5, ["a"], Inner(1), None)
    return msgspec.structs.replace(thing, **changes)


@pytest.fixture
async def things(db: Database) -> Database:
    """``db`` with an empty table of things."""
    await db.run(lambda tx: tx.execute(CREATE))
    return db


async def test_round_trip(things: Database) -> None:
    plain = make("1")
    full = make("2", flag=False, colour=Colour.BLUE, note="ü%?", maybe_flag=False, extra={"x": 1}, tags=[])
    for thing in (plain, full):
        await things.run(THINGS.insert, thing)
    assert await things.read(lambda tx: THINGS.get(tx, "1")) == plain
    assert await things.read(lambda tx: THINGS.get(tx, "2")) == full


async def test_conditions(things: Database) -> None:
    for i in range(4):
        await things.run(
            THINGS.insert, make(str(i), size=i, colour=Colour.BLUE if i % 2 else Colour.RED, note=None if i else "n")
        )

    def ids(tx: Tx, /, **conditions: Any) -> list[str]:
        return [thing.id for thing in THINGS.list(tx, order="id", **conditions)]

    assert await things.read(ids, colour=Colour.RED) == ["0", "2"]
    assert await things.read(ids, note=None) == ["1", "2", "3"]
    assert await things.read(ids, size=[0, 3, 9]) == ["0", "3"]
    assert await things.read(ids, id=[]) == []
    assert await things.read(ids, flag=False) == []
    assert await things.read(lambda tx: THINGS.count(tx, flag=True)) == 4
    assert [t.id for t in await things.read(lambda tx: THINGS.list(tx, order="id DESC", limit=2))] == ["3", "2"]


async def test_missing_rows(things: Database) -> None:
    assert await things.read(lambda tx: THINGS.find(tx, id="no")) is None
    with pytest.raises(NotFound, match="Thing no could not be found"):
        await things.read(lambda tx: THINGS.get(tx, "no"))
    with pytest.raises(NotFound):
        await things.run(lambda tx: THINGS.update(tx, "no", size=1))
    assert await things.run(lambda tx: THINGS.delete(tx, "no")) is False


async def test_get_with_conditions_hides_what_does_not_fit(things: Database) -> None:
    await things.run(THINGS.insert, make("1", colour=Colour.BLUE))
    with pytest.raises(NotFound):
        await things.read(lambda tx: THINGS.get(tx, "1", colour=Colour.RED))


async def test_insert_new_tells_and_insert_raises(things: Database) -> None:
    assert await things.run(lambda tx: THINGS.insert_new(tx, make("1"))) is True
    assert await things.run(lambda tx: THINGS.insert_new(tx, make("1"))) is False
    with pytest.raises(Duplicate):
        await things.run(THINGS.insert, make("1"))


async def test_compare_and_swap(things: Database) -> None:
    await things.run(THINGS.insert, make("1", size=1))
    swap = lambda tx: THINGS.update_where(tx, {"size": 2, "colour": Colour.BLUE}, id="1", size=1)  # noqa: E731
    assert await things.run(swap) == 1
    assert await things.run(swap) == 0
    thing = await things.read(lambda tx: THINGS.get(tx, "1"))
    assert (thing.size, thing.colour) == (2, Colour.BLUE)


async def test_delete_where_refuses_to_empty_a_table(things: Database) -> None:
    with pytest.raises(AssertionError):
        await things.run(lambda tx: THINGS.delete_where(tx))
    await things.run(THINGS.insert, make("1"))
    assert await things.run(lambda tx: THINGS.delete_where(tx, colour=Colour.RED)) == 1


async def test_many_rows_at_once(things: Database) -> None:
    many = [make(f"{i:03}", size=i) for i in range(250)]
    await things.run(THINGS.insert_all, many)
    await things.run(THINGS.insert_all, [])
    assert await things.read(lambda tx: THINGS.list(tx, order="id")) == many
    with pytest.raises(Duplicate):
        await things.run(THINGS.insert_all, [make("new"), many[0]])
    assert await things.read(lambda tx: THINGS.count(tx)) == 250
