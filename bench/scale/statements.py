"""What a server costs the database, counted: statements and round trips, by what they are for. Nothing here depends on how fast the machine is.

The whole cloud runs in this process, with a host that does its work when it is told to. One server is made before, so that what is done once a
project, a network or a host isn't counted; then one more is made alone, and each step of its way is counted by itself.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import trio

from bench.scale.results import Scaled
from ostro.runtime.world import World
from ostro.store.database import Database, Params, Row, Tx
from ostro.store.postgres import PostgresDatabase
from ostro.store.sqlite import SqliteDatabase
from ostro.testing.cloud import ApiClient, TestCloud, open_cloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.postgres import PostgresServer

T = TypeVar("T")
P = ParamSpec("P")

COMPUTE, NETWORK = "/compute/v2.1", "/networking/v2.0"
TOGETHER = 8
_WHAT = re.compile(r"\s*(?:(SELECT)\b.*?\bFROM|(INSERT) INTO|(UPDATE)|(DELETE) FROM)\s+(\w+)", re.S)


class _CountedTx:
    """A transaction whose statements are counted."""

    def __init__(self, tx: Tx, seen: Counter[str]) -> None:
        self._tx = tx
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def execute(self, sql: str, params: Params = (), *, part: str = "") -> int:
        self._seen[_kind(sql)] += 1
        return self._tx.execute(sql, params, part=part)

    def send(self, sql: str, params: Params = (), *, missing: Exception | None = None, part: str = "") -> None:
        self._seen[_kind(sql) + " (sent)"] += 1
        self._tx.send(sql, params, missing=missing, part=part)

    def one(self, sql: str, params: Params = ()) -> Row | None:
        self._seen[_kind(sql)] += 1
        return self._tx.one(sql, params)

    def ask(self, sql: str, params: Params = ()) -> Callable[[], list[Row]]:
        self._seen[_kind(sql) + " (asked)"] += 1
        return self._tx.ask(sql, params)

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        self._seen[_kind(sql)] += 1
        return self._tx.all(sql, params)


def _kind(sql: str) -> str:
    """Such as ``SELECT servers``."""
    match = _WHAT.match(sql)
    return " ".join(part for part in match.groups() if part) if match else sql.split()[0]


class Counted:
    """A database whose transactions and statements are counted."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.statements: Counter[str] = Counter()
        self.transactions: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.transactions["changes"] += 1
        return await self._db.run(lambda tx: fn(_CountedTx(tx, self.statements), *args, **kwargs))

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.transactions["reads"] += 1
        return await self._db.read(lambda tx: fn(_CountedTx(tx, self.statements), *args, **kwargs))


def measure_statements(engine: str, *, kinds: bool = False) -> Iterator[Scaled]:
    """On one engine; with ``kinds`` also each kind of statement of each step."""
    with tempfile.TemporaryDirectory(prefix="ostro-bench-") as scratch:
        world = World(random=random.Random(1))
        if engine == "sqlite":
            yield from trio.run(_count, Path(scratch), SqliteDatabase(world, f"{scratch}/ostro.db"), engine, kinds)
            return
        with PostgresServer() as server:
            db = PostgresDatabase(world, server.dsn(server.create_database()))
            yield from trio.run(_count, Path(scratch), db, engine, kinds)


async def _count(scratch: Path, db: Database, engine: str, kinds: bool) -> list[Scaled]:
    counted = Counted(db)
    async with open_cloud(scratch, db=counted) as cloud:
        host = await add_host(cloud)
        await cloud.db.run(put_image)
        client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")
        wanted = await _furnish(client)
        await client.post(f"{COMPUTE}/servers", wanted)
        await converge(cloud, host)
        return await _steps(cloud, counted, host, client, wanted, engine, kinds)


async def _furnish(client: ApiClient) -> dict[str, Any]:
    """A flavor and a network; what to ask for."""
    await client.post(f"{COMPUTE}/flavors", {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}})
    made = (await client.post(f"{NETWORK}/networks", {"network": {"name": "n"}})).json["network"]["id"]
    subnet = {"network_id": made, "ip_version": 4, "cidr": "10.77.0.0/16"}
    await client.post(f"{NETWORK}/subnets", {"subnet": subnet})
    return {"server": {"name": "s", "flavorRef": "f", "imageRef": IMAGE_ID, "networks": [{"uuid": made}]}}


async def _steps(
    cloud: TestCloud,
    counted: Counted,
    host: SimHost,
    client: ApiClient,
    wanted: dict[str, Any],
    engine: str,
    kinds: bool,
) -> list[Scaled]:
    made = ""

    async def create() -> None:
        nonlocal made
        answer = await client.post(f"{COMPUTE}/servers", wanted)
        assert answer.status == 202, answer.body
        made = answer.json["server"]["id"]

    async def settle() -> None:
        while await cloud.sagas.step():
            pass

    async def show() -> None:
        answer = await client.get(f"{COMPUTE}/servers/{made}")
        assert answer.json["server"]["status"] == "ACTIVE", answer.body

    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "create": create,
        "sagas.first": settle,
        "feed": host.read_wishes,
        "report": host.report,
        "sagas.last": settle,
        "show": show,
    }
    results: list[Scaled] = []
    whole = Counter[str]()
    for name, step in steps.items():
        counted.statements.clear()
        counted.transactions.clear()
        trips = _trips(counted)
        await step()
        spent = {
            "statements": counted.statements.total(),
            "transactions": counted.transactions.total(),
            "trips": _trips(counted) - trips,
        }
        whole.update(spent)
        results += [Scaled(f"{what}.{name}.{engine}", value, "") for what, value in spent.items()]
        if kinds:
            results += [Scaled(f"  {kind}", count, "") for kind, count in sorted(counted.statements.items())]
    return [*results, *(Scaled(f"{what}.server.{engine}", value, "") for what, value in whole.items())]


def _trips(counted: Counted) -> int:
    """Round trips so far, where there are such."""
    sessions = getattr(counted, "_sessions", None)
    return 0 if sessions is None else int(sessions.round_trips)
