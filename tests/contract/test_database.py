"""What every engine must do: the contract of ``store.database.Database``."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest
import trio
import trio.testing

from ostro.model.errors import Bug, Conflict, Invalid, Unavailable
from ostro.runtime.faults import Crash
from ostro.runtime.world import World
from ostro.store import postgres, postgres_writer, sqlite
from ostro.store.database import Database, Duplicate, Tx


def put_setting(tx: Tx, name: str, value: str) -> None:
    tx.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (name, value))


def find_setting(tx: Tx, name: str) -> str | None:
    row = tx.one("SELECT value FROM settings WHERE name = ?", (name,))
    return None if row is None else row[0]


async def test_what_is_committed_is_read(db: Database) -> None:
    await db.run(put_setting, "a", "1")
    assert await db.read(find_setting, "a") == "1"
    assert await db.run(find_setting, "a") == "1"


async def test_an_exception_rolls_back_everything_and_comes_out_as_it_is(db: Database) -> None:
    def put_and_fail(tx: Tx) -> None:
        put_setting(tx, "a", "1")
        tx.ring("topic")
        raise Invalid("no")

    with db.doorbell.listen("topic") as bell:
        with pytest.raises(Invalid, match="no"):
            await db.run(put_and_fail)
        assert not await bell.wait(0)
    assert await db.read(find_setting, "a") is None


async def test_a_crash_in_one_transaction_leaves_the_engine_working(db: Database) -> None:
    def crash(tx: Tx) -> None:
        put_setting(tx, "a", "1")
        raise Crash("here")

    with pytest.raises(Crash):
        await db.run(crash)
    await db.run(put_setting, "a", "2")
    assert await db.read(find_setting, "a") == "2"


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


async def test_a_broken_reference_is_a_conflict(db: Database) -> None:
    def add_orphan(tx: Tx) -> None:
        tx.execute(
            "INSERT INTO wishes (host_id, noun, id, revision, generation, body) VALUES (?, ?, ?, ?, ?, ?)",
            ("nobody", "port", "p", 1, 1, None),
        )

    with pytest.raises(Conflict):
        await db.run(add_orphan)


async def test_a_refused_statement_is_a_bug(db: Database) -> None:
    with pytest.raises(Bug):
        await db.run(lambda tx: tx.execute("INSERT INTO settings (name, value) VALUES (?, NULL)", ("a",)))


async def test_hooks_and_rings_come_once_and_before_the_caller_goes_on(db: Database) -> None:
    seen: list[str] = []
    db.doorbell.subscribe("topic", lambda: seen.append("ring"))

    def work(tx: Tx) -> str:
        tx.after_commit(lambda: seen.append("hook"))
        tx.ring("topic")
        tx.ring("topic")
        return "done"

    assert await db.run(work) == "done"
    assert seen[:2] == ["hook", "ring"]


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


async def test_a_read_sees_one_snapshot(db: Database, engine_name: str, migrated_url: str) -> None:
    await db.run(put_setting, "a", "1")

    def read_twice(tx: Tx) -> tuple[str | None, str | None]:
        first = find_setting(tx, "a")
        _set_from_elsewhere(engine_name, migrated_url)
        return first, find_setting(tx, "a")

    assert await db.read(read_twice) == ("1", "1")
    assert await db.read(find_setting, "a") == "2"


def _set_from_elsewhere(engine_name: str, url: str) -> None:
    """Commit a change on a connection of its own, as another process would."""
    connect = sqlite3.connect if engine_name == "sqlite" else psycopg.connect
    connection = connect(url)
    connection.execute("UPDATE settings SET value = '2' WHERE name = 'a'")
    connection.commit()
    connection.close()


async def test_a_cancelled_caller_leaves_the_engine_working(db: Database) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await db.run(put_setting, "a", "1")
    await db.run(put_setting, "b", "1")
    assert await db.read(find_setting, "b") == "1"


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_a_commit_that_nobody_waited_for_is_announced(
    db: Database, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "late":
        for engine in (sqlite, postgres_writer):
            monkeypatch.setattr(engine, "DEADLINE_S", 0.05)
    in_it, go_on = threading.Event(), threading.Event()
    hooks: list[str] = []

    def put_slowly(tx: Tx) -> None:
        put_setting(tx, "a", "1")
        tx.after_commit(lambda: hooks.append("hook"))
        tx.ring("topic")
        in_it.set()
        go_on.wait(10)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_leave_when, in_it, scope if how == "cancelled" else None)
            if how == "late":
                with pytest.raises(Unavailable):
                    await db.run(put_slowly)
            else:
                await db.run(put_slowly)
    assert hooks == []
    with db.doorbell.listen("topic") as bell:
        go_on.set()
        assert await bell.wait(10)
    assert hooks == ["hook"]
    assert await db.read(find_setting, "a") == "1"


async def _leave_when(in_it: threading.Event, scope: trio.CancelScope | None) -> None:
    await trio.to_thread.run_sync(in_it.wait, 10)
    if scope is not None:
        scope.cancel()


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


async def test_returning_and_upsert(db: Database) -> None:
    def upsert(tx: Tx) -> object:
        sql = (
            "INSERT INTO settings (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value"
        )
        tx.one(sql, ("a", "1"))
        return tx.one(sql, ("a", "2"))

    assert await db.run(upsert) == ("2",)


async def test_many_readers_beside_a_writer(db: Database, world: World) -> None:
    await db.run(put_setting, "a", "1")
    found: list[str | None] = []

    async def look() -> None:
        found.append(await db.read(find_setting, "a"))

    async with trio.open_nursery() as nursery:
        for i in range(40):
            nursery.start_soon(look)
            nursery.start_soon(db.run, put_setting, f"other{i}", "x")
    assert found == ["1"] * 40


async def test_a_value_that_cannot_be_stored_is_the_callers_fault(db: Database) -> None:
    def keep(tx: Tx) -> None:
        tx.execute("UPDATE hosts SET revision = ?", (2**70,))

    with pytest.raises(Invalid):
        await db.run(keep)


async def test_nobody_waits_for_sqlite_once_it_has_ended(world: World, tmp_path: Path) -> None:
    database = sqlite.SqliteDatabase(world, str(tmp_path / "test.db"), durable=False)
    refused = trio.Event()

    async def tidy_up_behind_a_shield() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(Unavailable, match="process ends"):
                    await database.run(put_setting, "a", "1")
                refused.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(database.serve)
            nursery.start_soon(tidy_up_behind_a_shield)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert refused.is_set()
    database.close()


async def test_a_read_that_is_stopped_lets_go_of_its_snapshot(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted end would leave it open: no read on the trio thread could begin any more, and the log would grow for ever."""
    monkeypatch.setattr(sqlite, "INLINE_STEPS", 20)
    monkeypatch.setattr(sqlite, "INLINE_LEAST_S", 0.0)
    path = str(tmp_path / "test.db")
    database = sqlite.SqliteDatabase(world, path, durable=False)

    def make(tx: Tx) -> None:
        tx.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)")
        put_setting(tx, "a", "1")

    def count(tx: Tx) -> object:
        assert find_setting(tx, "a") == "1"
        row = tx.one(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT count(*) FROM n"
        )
        assert row is not None
        return row[0]

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(database.serve)
            await database.run(make)
            for _ in range(50):
                assert await database.read(count) == 100
            with sqlite3.connect(path) as other:
                assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "somebody still reads"
            nursery.cancel_scope.cancel()
    database.close()


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


async def test_sums_and_bytes_come_as_they_are(db: Database) -> None:
    def add(tx: Tx) -> tuple[object, ...] | None:
        kind = "BYTEA" if tx.dialect == "postgres" else "BLOB"
        return tx.one(f"SELECT coalesce(sum(revision), 0), max(revision), CAST(? AS {kind}) FROM hosts", (b"\0\xff",))

    row = await db.read(add)
    assert row == (0, None, b"\0\xff") and type(row[0]) is int


async def test_what_is_sent_is_done_in_its_turn(db: Database) -> None:
    def put(tx: Tx) -> list[tuple[object, ...]]:
        tx.send("INSERT INTO settings (name, value) VALUES (?, ?)", ("a", "1"))
        tx.send("UPDATE settings SET value = '2' WHERE name = 'a'", missing=Invalid("not there"))
        seen = tx.all("SELECT value FROM settings WHERE name = 'a'")
        tx.send("UPDATE settings SET value = '3' WHERE name = 'a'")
        return seen

    assert await db.run(put) == [("2",)]
    assert await db.read(find_setting, "a") == "3"


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

    async def one(name: str, how: str) -> None:
        try:
            await db.run(change, name, how)
            outcomes[name] = "done"
        except (Invalid, Duplicate) as error:
            outcomes[name] = type(error).__name__

    ways = ("well", "at once", "sent", "waited for", "after that")
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(one, f"n{number}", ways[number % len(ways)])
    expected = {"well": "done", "sent": "Duplicate", "waited for": "Duplicate"}
    assert outcomes == {f"n{n}": expected.get(ways[n % len(ways)], "Invalid") for n in range(30)}
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
