"""A database whose disk is full: changes are refused whole and in clear words, reads go on, and room is enough to go on."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import trio

from ostro.model.errors import Full, Unavailable
from ostro.runtime.world import World
from ostro.store import postgres_writer
from ostro.store.database import Database, Tx
from ostro.store.sqlite import SqliteDatabase
from ostro.testing.cloud import TestCloud, open_cloud
from ostro.testing.swift import open_swift

PAGE_BYTES = 4096
ROW = "x" * PAGE_BYTES


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = SqliteDatabase(World(random=random.Random(1)), str(tmp_path / "full.db"), durable=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        await database.run(lambda tx: tx.execute("CREATE TABLE t (id TEXT PRIMARY KEY, body TEXT)"))
        yield database
        nursery.cancel_scope.cancel()
    database.close()


def take_room_away(tx: Tx, spare_pages: int = 0) -> None:
    """Let the file grow no more: to SQLite that is a full disk."""
    row = tx.one("PRAGMA page_count")
    assert row is not None
    tx.one(f"PRAGMA max_page_count={row[0] + spare_pages}")


def give_room(tx: Tx) -> None:
    tx.one("PRAGMA max_page_count=1000000")


def fill(tx: Tx, prefix: str, rows: int) -> None:
    for number in range(rows):
        tx.execute("INSERT INTO t (id, body) VALUES (?, ?)", (f"{prefix}{number}", ROW))


def count(tx: Tx) -> int:
    row = tx.one("SELECT count(*) FROM t")
    assert row is not None
    return int(row[0])


async def test_a_transaction_without_room_leaves_nothing(db: Database) -> None:
    await db.run(fill, "before", 3)
    await db.run(take_room_away, 2)
    for _twice in range(2):
        with pytest.raises(Full) as raised:
            await db.run(fill, "too-many", 50)
        assert "no room" in raised.value.message
        assert await db.read(count) == 3
    await db.run(give_room)
    await db.run(fill, "after", 50)
    assert await db.read(count) == 53


async def test_of_transactions_at_once_each_is_kept_or_refused_whole(db: Database) -> None:
    await db.run(take_room_away, 30)
    kept: list[str] = []

    async def attempt(name: str, rows: int) -> None:
        try:
            await db.run(fill, name, rows)
        except Full:
            return
        kept.append(name)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(attempt, f"n{number}-", 10)
    assert len(kept) < 8
    assert await db.read(count) == 10 * len(kept)
    await db.run(give_room)
    await db.run(fill, "after", 10)
    assert await db.read(count) == 10 * len(kept) + 10


def test_postgres_says_it_in_the_same_words() -> None:
    error = postgres_writer.translate(psycopg.errors.DiskFull("could not extend file"))
    assert isinstance(error, Full)
    assert not isinstance(postgres_writer.translate(psycopg.OperationalError("gone")), Full)
    assert isinstance(postgres_writer.translate(psycopg.OperationalError("gone")), Unavailable)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[TestCloud]:
    """On SQLite, whose room can be taken away."""
    async with open_cloud(tmp_path) as test_cloud:
        yield test_cloud


WRITES = (
    ("/compute/v2.1/flavors", {"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}}),
    ("/networking/v2.0/networks", {"network": {"name": "n", "description": "d" * 200}}),
    ("/image/v2/images", {"name": "i", "note": "p" * 200}),
    ("/volume/v3/volumes", {"volume": {"name": "v", "size": 1}}),
    ("/identity/v3/projects", {"project": {"name": "p", "description": "d" * 200}}),
    ("/placement/resource_providers", {"name": "rp"}),
)
"""One request that writes of each service that speaks JSON."""


async def refuse(cloud: TestCloud, path: str, body: object) -> bytes:
    """Send the request until there is no room for another one; the refusal's body."""
    noun = next(iter(body.values())) if isinstance(body, dict) else {}
    for number in range(2000):
        named = {**noun, "name": f"x{number}"} if isinstance(noun, dict) else {"name": f"x{number}"}
        sent = {next(iter(body)): named} if isinstance(body, dict) and isinstance(noun, dict) else named
        answer = await cloud.as_admin.post(path, sent)
        if answer.status == 507:
            assert answer.headers["Retry-After"]
            return answer.body
        assert answer.status < 300, answer.body
    raise AssertionError("never full")


@pytest.mark.parametrize(("path", "body"), WRITES)
async def test_every_service_says_507_and_goes_on_when_there_is_room(
    cloud: TestCloud, path: str, body: dict[str, object]
) -> None:
    await cloud.db.run(take_room_away)
    said = await refuse(cloud, path, body)
    assert b"no room" in said
    before = await cloud.as_admin.get(path)
    assert before.status == 200
    assert (await cloud.anonymous.get("/readyz")).status == 200
    await cloud.sagas.step()
    assert (await cloud.as_admin.get(path)).json == before.json
    await cloud.db.run(give_room)
    assert (await cloud.as_admin.post(path, body)).status < 300


async def test_an_object_without_room_in_the_index(cloud: TestCloud) -> None:
    swift = await open_swift(cloud)
    await swift.put("/c/before", b"kept")
    await cloud.db.run(take_room_away)
    status = 0
    for number in range(200):
        status = (await swift.call("PUT", f"/c/o{number}", b"x" * 5000)).status
        if status != 201:
            break
    assert status == 507
    assert (await swift.get(f"/c/o{number}")).status == 404
    assert (await swift.get("/c/before")).body == b"kept"
    await cloud.db.run(give_room)
    await swift.put(f"/c/o{number}", b"x" * 5000)
