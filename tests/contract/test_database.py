"""What every engine must do: the contract of ``store.database.Database``, a transaction at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from ostro.model.errors import Bug, Conflict, Invalid, Unavailable
from ostro.runtime.faults import Crash
from ostro.runtime.world import World
from ostro.store import postgres_writer, sqlite
from ostro.store.database import Database, Tx
from ostro.testing.settings import find_setting, put_setting


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
