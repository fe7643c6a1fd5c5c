"""What is foreseen changes nothing but the number of round trips: on every engine a transaction reads what it would have read."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import msgspec
import psycopg
import pytest

from ostro.store.database import Database, Tx
from ostro.store.foreseen import TRIGGERED
from ostro.store.limits import of_project
from ostro.store.postgres_session import SERIALIZABLE, Session
from ostro.store.postgres_writer import PostgresTx
from ostro.store.servers import foresee_servers_sum, sum_servers
from ostro.store.table import Table
from ostro.testing.postgres import PostgresServer
from ostro.testing.servers import put_server


class Thing(msgspec.Struct, frozen=True):
    """A row of the table that these tests make: ``box`` is its part."""

    id: str
    box: str
    number: int


class Label(msgspec.Struct, frozen=True):
    """What hangs on a thing, and goes with it."""

    id: str
    thing_id: str


THINGS = Table("things", Thing, part="box")
LABELS = Table("labels", Label)
BOXES = ("a", "b")


def make(tx: Tx) -> None:
    tx.execute("CREATE TABLE things (id TEXT PRIMARY KEY, box TEXT NOT NULL, number BIGINT NOT NULL)")
    tx.execute(
        "CREATE TABLE labels (id TEXT PRIMARY KEY, thing_id TEXT NOT NULL REFERENCES things (id) ON DELETE CASCADE)"
    )


@pytest.fixture
async def things(db: Database) -> Database:
    await db.run(make)
    return db


def put(tx: Tx, id_: str, box: str, number: int) -> None:
    THINGS.insert(tx, Thing(id_, box, number))


def read(tx: Tx, box: str) -> list[int]:
    return [thing.number for thing in THINGS.list(tx, box=box, order="id")]


def foresee(tx: Tx, box: str) -> None:
    THINGS.foresee(tx, box=box, order="id")


Change = Callable[[Tx], object]
CHANGES: dict[str, Change] = {
    "update": lambda tx: THINGS.update(tx, "1", number=7),
    "update_where": lambda tx: THINGS.update_where(tx, {"number": 7}, box="a"),
    "set_where": lambda tx: THINGS.set_where(tx, {"number": 7}, box="a", id="1"),
    "move": lambda tx: THINGS.set_where(tx, {"box": "a"}, box="b"),
    "insert": lambda tx: THINGS.insert(tx, Thing("3", "a", 7)),
    "insert_all": lambda tx: THINGS.insert_all(tx, [Thing("3", "a", 7)]),
    "insert_new": lambda tx: THINGS.insert_new(tx, Thing("3", "a", 7)),
    "put_new": lambda tx: THINGS.put_new(tx, Thing("3", "a", 7)),
    "delete": lambda tx: THINGS.delete(tx, "1"),
    "remove_where": lambda tx: THINGS.remove_where(tx, box="a"),
    "execute": lambda tx: tx.execute("UPDATE things SET number = 7"),
    "send": lambda tx: tx.send("  update things SET number = 7"),
    "returning": lambda tx: tx.all("INSERT INTO things (id, box, number) VALUES ('3', 'a', 7) RETURNING id"),
    "part": lambda tx: tx.send("UPDATE things SET number = 7 WHERE box = ?", ("a",), part="a"),
}
ADDING = {"insert", "insert_all", "insert_new", "put_new", "returning"}
"""These can be done once."""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_by_the_transaction_itself_is_read(things: Database, change: Change) -> None:
    def compare(tx: Tx) -> tuple[list[int], list[int]]:
        put(tx, "1", "a", 1)
        put(tx, "2", "b", 2)
        foresee(tx, "a")
        before = read(tx, "a")
        change(tx)
        return before, read(tx, "a")

    before, after = await things.run(compare)
    assert before == [1]
    assert after != before
    assert after == await things.read(read, "a")


async def test_what_goes_with_a_row_is_not_read_any_more(things: Database) -> None:
    def remove(tx: Tx) -> list[Label]:
        put(tx, "1", "a", 1)
        LABELS.insert(tx, Label("x", "1"))
        LABELS.foresee(tx, thing_id="1")
        assert LABELS.list(tx, thing_id="1") == [Label("x", "1")]
        THINGS.delete(tx, "1")
        return LABELS.list(tx, thing_id="1")

    assert await things.run(remove) == []


async def test_every_way_to_ask_finds_what_was_foreseen(things: Database) -> None:
    def ask(tx: Tx) -> None:
        put(tx, "1", "a", 1)
        THINGS.foresee(tx, id="1")
        thing = Thing("1", "a", 1)
        assert THINGS.ask(tx, id="1")() == [thing]
        assert THINGS.find(tx, id="1") == THINGS.get(tx, "1") == thing
        assert THINGS.list(tx, id="1") == [thing]

    await things.run(ask)


def test_what_is_foreseen_takes_one_trip(postgres: PostgresServer, postgres_template: str) -> None:
    name = postgres.create_database(postgres_template)
    with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
        session = Session(connection)

        def look(*, ahead: bool) -> int:
            before = session.round_trips
            session.begin(SERIALIZABLE)
            tx = PostgresTx(session)
            for box in BOXES if ahead else ():
                foresee(tx, box)
            for box in BOXES:
                (number,) = read(tx, box)
                THINGS.set_where(tx, {"number": number}, box=box)
            session.commit()
            return session.round_trips - before

        session.begin(SERIALIZABLE)
        tx = PostgresTx(session)
        make(tx)
        put(tx, "1", "a", 1)
        put(tx, "2", "b", 2)
        session.commit()
        assert (look(ahead=True), look(ahead=False)) == (2, 3)


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_of_questions_and_changes_reads_the_same(things: Database, seed: int) -> None:
    rng = random.Random(seed)
    script = [(rng.choice((*CHANGES, *["foresee", "read"] * 8)), rng.choice(BOXES)) for _ in range(60)]

    def play(tx: Tx, *, ahead: bool) -> list[list[int]]:
        seen: list[list[int]] = []
        put(tx, "1", "a", 1)
        put(tx, "2", "b", 2)
        for what, box in script:
            if what == "read":
                seen.append(read(tx, box))
            elif what == "foresee":
                if ahead:
                    foresee(tx, box)
            elif what not in ADDING and THINGS.find(tx, id="1") is not None:
                CHANGES[what](tx)
        tx.execute("DELETE FROM things")
        return seen

    assert await things.run(play, ahead=True) == await things.run(play, ahead=False)


def test_it_is_known_what_triggers_write(postgres: PostgresServer, postgres_template: str) -> None:
    name = postgres.create_database(postgres_template)
    with psycopg.connect(postgres.dsn(name)) as connection:
        rows = connection.execute(
            "SELECT c.relname, p.prosrc FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal"
        ).fetchall()
    written: dict[str, set[str]] = {}
    for table, source in rows:
        found = re.findall(r"(?:INSERT INTO|(?<!DO )UPDATE|DELETE FROM)\s+(\w+)", source)
        written.setdefault(table, set()).update(found)
    assert written == TRIGGERED


async def test_what_triggers_write_is_not_foreseen_to_stay(db: Database) -> None:
    def change(tx: Tx) -> list[tuple[int, int, int, int]]:
        scope = of_project("p")
        foresee_servers_sum(tx, scope)
        sums = [sum_servers(tx, scope)]
        put_server(tx, project_id="p", vcpus=2, ram_mb=3, disk_gb=4)
        return [*sums, sum_servers(tx, scope)]

    assert await db.run(change) == [(0, 0, 0, 0), (1, 2, 3, 4)]
