"""Reads, on every engine: each sees one snapshot, and none holds up anybody."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest
import trio

from ostro.runtime.strands import in_strand, wait
from ostro.runtime.world import World
from ostro.store import postgres, sqlite
from ostro.store.database import Database, Row, Tx
from ostro.testing.settings import find_setting, put_setting


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


def count_rows(tx: Tx, count: int, where: list[bool]) -> int:
    """Get so many, and note whether it does so on the trio thread."""
    where.append(in_strand())
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
    return len(tx.all(sql, (count,)))


@pytest.mark.parametrize("engine_name", ["postgres"], indirect=True)
async def test_a_read_that_gets_many_rows_goes_to_a_worker(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of them would hold up everybody on the trio thread."""
    monkeypatch.setattr(postgres, "ROWS_MOST", 10)
    where: list[bool] = []
    for count, places in ((10, [True]), (11, [True, False]), (11, [False]), (10, [False]), (10, [True])):
        where.clear()
        assert await db.read(count_rows, count, where) == count
        assert where == places, "the next time it begins where it ended"


@pytest.mark.parametrize("engine_name", ["postgres"], indirect=True)
async def test_a_read_that_nobody_waits_for_any_more_takes_nobody_with_it(db: Database) -> None:
    """Its connection has an answer to come, so it is closed; the others are as good as before."""
    pids = [row[0] for row in await read_at_once(db, 3)]
    assert len(set(pids)) == 3
    with trio.move_on_after(0.05) as given_up:
        await db.read(lambda tx: tx.one("SELECT pg_sleep(1)"))
    assert given_up.cancelled_caught
    later = [row[0] for row in await read_at_once(db, 3)]
    assert len(set(later)) == 3 and len(set(pids) & set(later)) == 2
    assert db.room is not None and db.room.waiting == 0


@pytest.mark.parametrize("engine_name", ["postgres"], indirect=True)
async def test_a_connection_that_nobody_waits_for_any_more_is_the_next_ones(
    world: World, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it left open for nobody, each of those who gave up while the server was slow would take one from all others for good."""
    database = postgres.PostgresDatabase(world, migrated_url)
    sessions, may_connect, asked = database._sessions, threading.Event(), threading.Event()
    connect = sessions.connect

    def connect_late() -> psycopg.Connection[Row]:
        asked.set()
        assert may_connect.wait(60)
        return connect()

    monkeypatch.setattr(sessions, "connect", connect_late)

    async def give_up_once_asked(scope: trio.CancelScope) -> None:
        while not asked.is_set():
            await trio.lowlevel.checkpoint()
        scope.cancel()

    def find_pid(tx: Tx) -> Row | None:
        return tx.one("SELECT pg_backend_pid()")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(give_up_once_asked, scope)
                await database.read(find_pid)
            assert scope.cancelled_caught
        may_connect.set()
        while not sessions._idle.qsize():
            await trio.lowlevel.checkpoint()
        assert await database.read(find_pid) == await database.read(find_pid)
    assert len(sessions._open) == 1
    database.close()
    assert not sessions._open


async def read_at_once(db: Database, count: int) -> list[Row]:
    """So many reads, each under way with the others."""
    here: list[Row] = []
    all_here = trio.Event()

    def read(tx: Tx) -> None:
        row = tx.one("SELECT pg_backend_pid()")
        assert row is not None
        here.append(row)
        if len(here) == count:
            all_here.set()
        wait(all_here.wait)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(db.read, read)
    return here


async def test_large_values_go_to_and_fro(db: Database) -> None:
    """More than fits into the sockets between: who only sent, or only listened, would wait for ever."""
    value = "x" * 20_000_000
    with trio.fail_after(60):
        assert (
            await db.read(lambda tx: tx.all("SELECT CAST(? AS TEXT) UNION ALL SELECT CAST(? AS TEXT)", (value, value)))
            == [(value,)] * 2
        )


@pytest.mark.parametrize("engine_name", ["postgres"], indirect=True)
async def test_metrics_show_the_reads_under_way(db: Database, world: World) -> None:
    pages: list[bytes] = []
    await db.read(lambda _tx: pages.append(world.metrics_page()))
    pages.append(world.metrics_page())
    for page, count in zip(pages, (1, 0), strict=True):
        assert f'ostro_database_active{{of="reads"}} {count}.0' in page.decode()
        assert 'ostro_database_waiting{of="reads"} 0.0' in page.decode()


async def test_more_reads_than_there_is_room_for(db: Database) -> None:
    await db.run(put_setting, "a", "1")
    found: list[str | None] = []

    async def look() -> None:
        found.append(await db.read(find_setting, "a"))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(look)
    assert found == ["1"] * 100
    assert db.room is None or (db.room.left == postgres.READS_MOST and db.room.waiting == 0)
