"""Statements, on every engine: run again, sent without waiting, asked and looked at later."""

from __future__ import annotations

import pytest

from ostro.model.errors import Bug, Invalid
from ostro.store.database import Database, Duplicate, Tx
from ostro.testing.settings import find_setting, put_setting


async def test_the_same_statement_again_and_again(db: Database) -> None:
    """Whether or not the engine has prepared it, after a failure, and with values of other types."""

    def look(tx: Tx, *values: object) -> list[tuple[object, ...]]:
        marks = ", ".join("?" * len(values))
        return tx.all(f"SELECT value, ? FROM settings WHERE name IN ({marks})", (1, *values))

    await db.run(put_setting, "a", "1")
    for _ in range(4):
        assert await db.run(look, "a") == await db.run(look, "b", "a") == [("1", 1)]
        with pytest.raises(Duplicate):
            await db.run(put_setting, "a", "2")
        assert await db.read(find_setting, "a") == "1"


async def test_returning_and_upsert(db: Database) -> None:
    def upsert(tx: Tx) -> object:
        sql = (
            "INSERT INTO settings (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value"
        )
        tx.one(sql, ("a", "1"))
        return tx.one(sql, ("a", "2"))

    assert await db.run(upsert) == ("2",)


async def test_what_is_sent_is_done_in_its_turn(db: Database) -> None:
    def put(tx: Tx) -> list[tuple[object, ...]]:
        tx.send("INSERT INTO settings (name, value) VALUES (?, ?)", ("a", "1"))
        tx.send("UPDATE settings SET value = '2' WHERE name = 'a'", missing=Invalid("not there"))
        seen = tx.all("SELECT value FROM settings WHERE name = 'a'")
        tx.send("UPDATE settings SET value = '3' WHERE name = 'a'")
        return seen

    assert await db.run(put) == [("2",)]
    assert await db.read(find_setting, "a") == "3"


async def test_what_is_sent_in_vain_undoes_the_transaction(db: Database) -> None:
    def put(tx: Tx, name: str) -> None:
        tx.send("INSERT INTO settings (name, value) VALUES (?, ?)", (name, "1"))

    def change(tx: Tx) -> None:
        put(tx, "b")
        tx.send("UPDATE settings SET value = '2' WHERE name = 'nobody'", missing=Invalid("not there"))
        tx.ring("topic")

    await db.run(put, "a")
    with db.doorbell.listen("topic") as bell:
        with pytest.raises(Duplicate):
            await db.run(put, "a")
        with pytest.raises(Invalid, match="not there"):
            await db.run(change)
        assert not await bell.wait(0)
    assert await db.read(find_setting, "b") is None


async def test_what_is_asked_may_be_looked_at_later(db: Database) -> None:
    def look(tx: Tx) -> list[object]:
        before = tx.ask("SELECT value FROM settings WHERE name = ?", ("a",))
        tx.send("INSERT INTO settings (name, value) VALUES ('a', '1')")
        after = tx.ask("SELECT value FROM settings WHERE name = ?", ("a",))
        nobody_looks = tx.ask("SELECT name FROM settings")
        assert nobody_looks is not None
        return [after(), before(), tx.all("SELECT value FROM settings"), after()]

    assert await db.run(look) == [[("1",)], [], [("1",)], [("1",)]]


async def test_who_asks_in_vain_hears_it(db: Database) -> None:
    def look(tx: Tx) -> object:
        tx.send("INSERT INTO settings (name, value) VALUES ('a', NULL)")
        return tx.ask("SELECT value FROM settings")()

    with pytest.raises(Bug):
        await db.run(look)
    assert await db.read(find_setting, "a") is None
