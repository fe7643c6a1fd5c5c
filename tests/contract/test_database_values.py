"""Values, on every engine: compared, stored and given back alike."""

from __future__ import annotations

import pytest
import trio

from ostro.model.errors import Invalid
from ostro.store.database import Database, Tx
from ostro.testing.settings import find_setting, put_setting


async def test_text_sorts_by_code_point_and_like_minds_case(db: Database) -> None:
    for name in ("b", "B", "a", "ä", "Z", "_", "%"):
        await db.run(put_setting, name, "x")
    rows = await db.read(lambda tx: tx.all("SELECT name FROM settings ORDER BY name"))
    assert [row[0] for row in rows] == sorted(["b", "B", "a", "ä", "Z", "_", "%"])
    hits = await db.read(lambda tx: tx.all("SELECT name FROM settings WHERE name LIKE ? ESCAPE '\\'", ("\\%%",)))
    assert hits == [("%",)]
    assert await db.read(lambda tx: tx.one("SELECT count(*) FROM settings WHERE name LIKE ?", ("b%",))) == (1,)


async def test_a_list_may_be_empty(db: Database) -> None:
    await db.run(put_setting, "a", "1")
    assert await db.read(lambda tx: tx.all("SELECT name FROM settings WHERE name IN ()")) == []
    assert await db.read(lambda tx: tx.all("SELECT name FROM settings WHERE name NOT IN ()")) == [("a",)]
    assert await db.read(lambda tx: tx.all("SELECT id FROM hosts WHERE revision IN ()")) == []


async def test_a_value_that_cannot_be_stored_is_the_callers_fault(db: Database) -> None:
    def keep(tx: Tx) -> None:
        tx.execute("UPDATE hosts SET revision = ?", (2**70,))

    with pytest.raises(Invalid):
        await db.run(keep)


async def test_sums_and_bytes_come_as_they_are(db: Database) -> None:
    def add(tx: Tx) -> tuple[object, ...] | None:
        kind = "BYTEA" if tx.dialect == "postgres" else "BLOB"
        return tx.one(f"SELECT coalesce(sum(revision), 0), max(revision), CAST(? AS {kind}) FROM hosts", (b"\0\xff",))

    row = await db.read(add)
    assert row == (0, None, b"\0\xff") and type(row[0]) is int


async def test_values_are_larger_than_what_a_socket_holds(db: Database) -> None:
    """Several in one trip, while answers of that size come back."""
    text = "x" * (8 << 20)

    def put(tx: Tx) -> list[tuple[object, ...]]:
        for name in ("a", "b"):
            tx.send("INSERT INTO settings (name, value) VALUES (?, ?)", (name, text))
        asked = tx.ask("SELECT value FROM settings WHERE name = 'a'")
        tx.send("UPDATE settings SET value = ? WHERE name = 'a'", (text + "!",))
        return [*asked(), *tx.all("SELECT value FROM settings WHERE name = 'a'")]

    with trio.fail_after(50):
        assert await db.run(put) == [(text,), (text + "!",)]
    assert await db.read(find_setting, "b") == text
