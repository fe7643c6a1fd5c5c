"""Many transactions at once, on every engine: none is lost, and each ends by itself."""

from __future__ import annotations

import threading
from itertools import product

import pytest
import trio

from ostro.model.errors import Invalid
from ostro.runtime.world import World
from ostro.store import postgres
from ostro.store.database import Database, Duplicate, Tx
from ostro.testing.settings import find_setting, put_setting


async def test_duplicate_takes_nobody_with_it(processes: Database) -> None:
    outcomes: list[str] = []

    async def put(name: str) -> None:
        try:
            await processes.run(put_setting, name, "x")
        except Duplicate:
            outcomes.append("duplicate")
        else:
            outcomes.append("put")

    async with trio.open_nursery() as nursery:
        for name in ("a", "a", "b", "c"):
            nursery.start_soon(put, name)
    assert sorted(outcomes) == ["duplicate", "put", "put", "put"]


async def test_counters_lose_no_update(processes: Database) -> None:
    """Read, think, write: only serializable transactions get this right without a lock."""
    await processes.run(put_setting, "n", "0")

    def increment(tx: Tx) -> None:
        value = find_setting(tx, "n")
        assert value is not None
        tx.execute("UPDATE settings SET value = ? WHERE name = ?", (str(int(value) + 1), "n"))

    async with trio.open_nursery() as nursery:
        for _ in range(24):
            nursery.start_soon(processes.run, increment)
    assert await processes.read(find_setting, "n") == "24"


async def test_however_many_change_one_row_each_comes_to_its_end(
    db: Database, world: World, engine_name: str, migrated_url: str
) -> None:
    """48 at once in a process; on PostgreSQL also in another one, which can only take turns by the database."""
    other = postgres.PostgresDatabase(world, migrated_url) if engine_name == "postgres" else None
    await db.run(lambda tx: tx.execute("CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER)"))
    await db.run(lambda tx: tx.execute("INSERT INTO counters (id, value) VALUES (1, 0)"))

    def increment(tx: Tx) -> None:
        row = tx.one("SELECT value FROM counters WHERE id = 1")
        assert row is not None
        for _ in range(5):
            tx.one("SELECT sum(value) FROM counters")
        tx.execute("UPDATE counters SET value = ? WHERE id = 1", (row[0] + 1,))

    async with trio.open_nursery() as serving:
        if other is not None:
            await serving.start(other.serve)
        async with trio.open_nursery() as nursery:
            for database in (db, other):
                for _ in range(48 if database is not None else 0):
                    assert database is not None
                    nursery.start_soon(database.run, increment)
        serving.cancel_scope.cancel()
    row = await db.read(lambda tx: tx.one("SELECT value FROM counters"))
    assert row == (96 if other else 48,)
    if other is not None:
        other.close()


async def test_no_write_skew(processes: Database) -> None:
    """Two transactions that each read what the other writes can't both commit."""

    def take_last_slot(tx: Tx, name: str) -> bool:
        row = tx.one("SELECT count(*) FROM settings WHERE value = 'slot'")
        assert row is not None
        if row[0] >= 1:
            return False
        put_setting(tx, name, "slot")
        return True

    taken: list[bool] = []

    async def take(name: str) -> None:
        taken.append(await processes.run(take_last_slot, name))

    async with trio.open_nursery() as nursery:
        for i in range(8):
            nursery.start_soon(take, f"n{i}")
    assert taken.count(True) == 1


async def test_many_that_count_the_same_thing_all_commit(processes: Database) -> None:
    """As servers do that are made at once in one project: each changes what all the others have counted."""

    def count_and_add(tx: Tx, name: str) -> int:
        row = tx.one("SELECT count(*) FROM settings WHERE value = ?", ("counted",))
        assert row is not None
        put_setting(tx, name, "counted")
        return int(row[0])

    seen: list[int] = []

    async def add(name: str) -> None:
        seen.append(await processes.run(count_and_add, name))

    async with trio.open_nursery() as nursery:
        for number in range(32):
            nursery.start_soon(add, f"n{number}")
    assert sorted(seen) == list(range(32))


async def test_each_of_many_at_once_ends_by_itself(db: Database) -> None:
    """Some fail in the database, at a statement that is waited for or at one that isn't, and some before or after they have asked for anything."""
    await db.run(put_setting, "taken", "x")
    outcomes: dict[str, str] = {}
    hooks: list[str] = []

    def change(tx: Tx, name: str, how: str) -> None:
        if how == "at once":
            raise Invalid(how)
        tx.after_commit(lambda: hooks.append(name))
        tx.send("INSERT INTO settings (name, value) VALUES (?, ?)", (name, how))
        if how == "sent":
            tx.send("INSERT INTO settings (name, value) VALUES ('taken', 'y')")
        elif how == "waited for":
            tx.execute("INSERT INTO settings (name, value) VALUES ('taken', 'y')")
        elif how == "after that":
            tx.send("INSERT INTO settings (name, value) VALUES ('new', 'y')")
            raise Invalid(how)
        elif how == "after what fails":
            # An embedded engine notices the duplicate at once.
            tx.send("INSERT INTO settings (name, value) VALUES ('taken', 'y')")
            raise Duplicate(how)
        elif how == "changes nothing":
            tx.send("UPDATE settings SET value = 'y' WHERE name = 'nobody'", missing=Invalid(how))

    async def one(name: str, how: str) -> None:
        try:
            await db.run(change, name, how)
            outcomes[name] = "done"
        except (Invalid, Duplicate) as error:
            outcomes[name] = type(error).__name__

    ways = ("well", "at once", "sent", "waited for", "after that", "after what fails", "changes nothing")
    # Each way comes before and after each of the others.
    asked = {f"n{n}": how for n, how in enumerate(how for pair in product(ways, repeat=2) for how in pair)}
    async with trio.open_nursery() as nursery:
        for name, how in asked.items():
            nursery.start_soon(one, name, how)
    expected = {"well": "done", "sent": "Duplicate", "waited for": "Duplicate", "after what fails": "Duplicate"}
    assert outcomes == {name: expected.get(how, "Invalid") for name, how in asked.items()}
    well = sorted(name for name, outcome in outcomes.items() if outcome == "done")
    assert sorted(hooks) == well
    rows = await db.read(lambda tx: tx.all("SELECT name FROM settings WHERE value <> 'x' ORDER BY name"))
    assert [row[0] for row in rows] == well


@pytest.mark.parametrize("engine_name", ["postgres"])
async def test_a_slow_change_does_not_hold_up_the_others(db: Database) -> None:
    """SQLite has one writer, and there it does."""
    in_it, go_on = threading.Event(), threading.Event()

    def put_slowly(tx: Tx) -> None:
        put_setting(tx, "slow", "x")
        in_it.set()
        go_on.wait(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.run, put_slowly)
        await trio.to_thread.run_sync(in_it.wait, 60)
        with trio.fail_after(60):
            async with trio.open_nursery() as others:
                for number in range(5):
                    others.start_soon(db.run, put_setting, f"n{number}", "x")
        assert await db.read(find_setting, "slow") is None
        go_on.set()
    assert await db.read(find_setting, "slow") == "x"
