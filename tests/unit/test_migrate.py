"""Migrations: fresh equals migrated, idempotent, safe when several processes start at once, changed files refused."""

from __future__ import annotations

import random

import pytest
import trio

from ostro.model.errors import Bug
from ostro.runtime.world import World
from ostro.store.database import Database, Tx
from ostro.store.migrate import apply_migration, make_ledger, migrate, migrations, statements
from ostro.store.postgres import PostgresDatabase
from ostro.store.sqlite import SqliteDatabase


def open_at(engine_name: str, url: str, seed: int = 1) -> Database:
    world = World(random=random.Random(seed))
    return SqliteDatabase(world, url) if engine_name == "sqlite" else PostgresDatabase(world, url)


def describe(tx: Tx, engine_name: str) -> list[tuple[object, ...]]:
    """The schema as the engine tells it."""
    if engine_name == "sqlite":
        return tx.all("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
    columns = tx.all(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    return columns + tx.all(
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
    )


async def test_a_second_run_changes_nothing(db: Database, engine_name: str) -> None:
    before = await db.read(describe, engine_name)
    assert await migrate(db) == []
    assert await db.read(describe, engine_name) == before
    applied = await db.read(lambda tx: tx.all("SELECT name FROM schema_migrations WHERE name <> '' ORDER BY name"))
    assert [row[0] for row in applied] == [name for name, _ in migrations()]


async def test_a_migrated_database_equals_a_fresh_one(db: Database, database_url: str, engine_name: str) -> None:
    """``db`` is fresh. The other one stops after each migration and goes on in a new process."""
    if engine_name == "sqlite":
        database_url += ".stepwise"
    described: list[tuple[object, ...]] = []
    for count in range(1, len(migrations()) + 1):
        database = open_at(engine_name, database_url)
        async with trio.open_nursery() as nursery:
            await nursery.start(database.serve)
            await database.run(make_ledger)
            for name, sql in migrations()[:count]:
                await database.run(apply_migration, name, sql)
            described = await database.read(describe, engine_name)
            nursery.cancel_scope.cancel()
        database.close()
    assert described == await db.read(describe, engine_name)


async def test_two_processes_migrate_at_once(database_url: str, engine_name: str) -> None:
    databases = [open_at(engine_name, database_url, seed) for seed in (1, 2, 3)]
    applied: list[str] = []

    async def start(database: Database) -> None:
        applied.extend(await migrate(database))

    async with trio.open_nursery() as serving:
        for database in databases:
            await serving.start(database.serve)
        async with trio.open_nursery() as starting:
            for database in databases:
                starting.start_soon(start, database)
        serving.cancel_scope.cancel()
    for database in databases:
        database.close()
    assert sorted(applied) == [name for name, _ in migrations()]


async def test_a_changed_file_is_refused(db: Database) -> None:
    name, sql = migrations()[0]
    assert await db.run(apply_migration, name, sql) is False
    with pytest.raises(Bug, match=name):
        await db.run(apply_migration, name, sql + "\nCREATE TABLE more (id TEXT);\n")


async def test_a_broken_migration_leaves_nothing(db: Database) -> None:
    broken = "CREATE TABLE first_half (id TEXT PRIMARY KEY);\nCREATE TABLE nonsense (;\n"
    with pytest.raises(Exception, match=r".*"):
        await db.run(apply_migration, "9999_broken", broken)
    assert await db.run(apply_migration, "9999_broken", "CREATE TABLE first_half (id TEXT PRIMARY KEY);\n")


def test_names_are_numbered_and_unique() -> None:
    numbers = [name.split("_")[0] for name, _ in migrations()]
    assert all(len(number) == 4 and number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)


def test_statements_are_split_at_line_ends() -> None:
    sql = "-- a comment; with a semicolon\nCREATE TABLE a (\n    b TEXT\n);\nCREATE INDEX c ON a (b);\n"
    assert statements(sql) == ["CREATE TABLE a (\n    b TEXT\n)", "CREATE INDEX c ON a (b)"]
