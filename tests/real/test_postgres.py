"""A real PostgreSQL that dies and comes back, and doorbells between processes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.strands import wait
from ostro.runtime.world import World
from ostro.store.database import Tx
from ostro.store.migrate import migrate
from ostro.store.postgres import PAYLOAD_MOST_BYTES, PostgresDatabase, payloads
from ostro.testing.postgres import PostgresServer


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, because the test kills it."""
    with PostgresServer() as server:
        yield server


def put(tx: Tx, name: str) -> None:
    tx.execute("INSERT INTO settings (name, value) VALUES (?, 'x')", (name,))
    tx.ring("topic")


def count(tx: Tx) -> int:
    row = tx.one("SELECT count(*) FROM settings")
    assert row is not None
    return int(row[0])


async def test_the_server_dies_and_comes_back(server: PostgresServer) -> None:
    database = PostgresDatabase(World(random=random.Random(1)), server.dsn(server.create_database()))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(database.serve)
            await migrate(database)
            await database.run(put, "before")
            server.kill()
            with pytest.raises(Unavailable):
                await database.run(put, "while it is down")
            with pytest.raises(Unavailable):
                await database.read(count)
            with database.doorbell.listen("anything") as bell:
                server.start()
                assert await bell.wait(30), "the listener comes back and rings everything"
            await database.run(put, "after")
            assert await database.read(count) == 2
            nursery.cancel_scope.cancel()
    database.close()


DIE = "SELECT pg_terminate_backend(pg_backend_pid())"
Pair = tuple[PostgresDatabase, PostgresDatabase]


@pytest.fixture
async def pair(postgres: PostgresServer, postgres_template: str) -> AsyncIterator[Pair]:
    """A database as two processes have it open, not served yet."""
    name = postgres.create_database(postgres_template)
    here, there = (PostgresDatabase(World(random=random.Random(i)), postgres.dsn(name)) for i in (1, 2))
    yield here, there
    here.close()
    there.close()
    postgres.drop_database(name)


@pytest.fixture
def database(pair: Pair) -> PostgresDatabase:
    """As one has it."""
    return pair[0]


def end_others(tx: Tx) -> int:
    """Close every connection but this, and wait until they are gone; how many there were."""
    sql = (
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return len(tx.all(sql))


async def test_a_read_does_not_mind_connections_that_died_while_nobody_used_them(pair: Pair) -> None:
    here, there = pair

    def count_with_another(tx: Tx) -> int:
        # Each has a connection by then.
        here_now.append(1)
        if len(here_now) == 2:
            both.set()
        wait(both.wait)
        return count(tx)

    with trio.fail_after(60):
        for _ in range(3):
            here_now, both = list[int](), trio.Event()
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(here.read, count_with_another)
            assert await there.read(end_others) == 2
            assert await here.read(count) == 0


async def test_a_read_whose_connection_dies_each_time_says_so(database: PostgresDatabase) -> None:
    tries = []

    def die(tx: Tx) -> None:
        tries.append(1)
        tx.one(DIE)

    with trio.fail_after(60):
        with pytest.raises(Unavailable):
            await database.read(die)
        assert len(tries) == 2
        assert await database.read(count) == 0


async def test_changes_do_not_mind_connections_that_died_while_nobody_used_them(pair: Pair) -> None:
    """One alone, and a batch."""
    here, there = pair
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(here.serve)
            await here.run(put, "first")
            assert await there.read(end_others) >= 1
            await here.run(put, "second")
            assert await there.read(end_others) >= 1
            async with trio.open_nursery() as batch:
                for number in range(5):
                    batch.start_soon(here.run, put, f"batch {number}")
            assert await here.read(count) == 7
            nursery.cancel_scope.cancel()


async def test_a_change_whose_connection_dies_says_so_and_is_not_made_again_when_it_may_have_been(
    database: PostgresDatabase,
) -> None:
    tries: list[str] = []

    def die_before_the_commit(tx: Tx) -> None:
        tries.append("before")
        put(tx, "never")
        tx.one(DIE)

    def die_with_the_commit(tx: Tx) -> None:
        tries.append("with")
        put(tx, "perhaps")
        tx.send(DIE)  # It goes to the server with the commit.

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(database.serve)
            for die in (die_before_the_commit, die_with_the_commit):
                with pytest.raises(Unavailable):
                    await database.run(die)
            assert tries == ["before", "before", "with"]
            assert await database.read(count) == 0
            nursery.cancel_scope.cancel()


async def test_rings_reach_other_processes(pair: Pair) -> None:
    here, there = pair
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            with there.doorbell.listen("unused") as first:
                await nursery.start(here.serve)
                await nursery.start(there.serve)
                assert await first.wait(30), "connected"
            with there.doorbell.listen("topic") as bell:
                await here.run(put, "a")
                assert await bell.wait(30)
                assert await there.read(count) == 1
            nursery.cancel_scope.cancel()


async def test_a_ring_outlives_the_connection_that_should_have_carried_it(pair: Pair) -> None:
    here, there = pair
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(here.serve)
            await nursery.start(there.serve)
            with there.doorbell.listen("topic") as bell:
                await here.run(put, "a")
                assert await bell.wait(30)
                assert await there.run(end_publishers) == 1
                await here.run(put, "b")
                assert await bell.wait(30), "the listener has kept its connection, so somebody must tell it"
            nursery.cancel_scope.cancel()


def end_publishers(tx: Tx) -> int:
    """Close every connection that has last rung a bell; how many there were."""
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE ?"
    return len(tx.all(sql, ("SELECT pg_notify(%",)))


@pytest.mark.parametrize("text", ("a\0b", "\ud800"))
async def test_text_that_cannot_be_stored_is_the_callers_fault(database: PostgresDatabase, text: str) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        with pytest.raises(Invalid):
            await database.run(put, text)
        assert await database.read(count) == 0
        nursery.cancel_scope.cancel()


def test_payloads_stay_within_what_notify_takes() -> None:
    topics = {f"host:{i:036}" for i in range(500)}
    messages = payloads(topics)
    assert all(len(message) <= PAYLOAD_MOST_BYTES for message in messages)
    assert set("\n".join(messages).split("\n")) == topics
    assert payloads({f"host:{i:036}" for i in range(50_000)}) == ["*"]
