"""What is beyond upstream, and its price for who doesn't ask for it: ``python -m bench.beyond [--postgres] [--count N]``.

One process, no sockets: requests go to the gate as the express lane would hand them over, four at once. Each figure is
microseconds of this process's CPU a request, so that neighbours don't count (PostgreSQL's own share is not in it), and its floor the same load without the thing that is measured, in turn with it and in the same run:

- ``beyond.audit``: POST of a port, with its record; the floor records nothing.
- ``beyond.feed``: POST of a port, with the triggers of the change feed; the floor's database has none.
- ``beyond.key``: POST of a port with an Idempotency-Key; the floor has none.
- ``beyond.watched``: POST of a port while a thousand watch; nobody does for the floor. What is more is a thousand answers.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path

import orjson
import structlog
import trio
from werkzeug.datastructures import Headers, MultiDict

from bench.micro.figure import Figure
from ostro.http import dispatch
from ostro.http.exchange import Outgoing
from ostro.http.gate import Gate
from ostro.runtime.world import World
from ostro.store.database import Database, Tx
from ostro.store.migrate import migrations, statements
from ostro.store.postgres import PostgresDatabase
from ostro.store.sqlite import SqliteDatabase
from ostro.testing.cloud import TestCloud, open_cloud
from ostro.testing.postgres import PostgresServer

PORTS = "/networking/v2.0/ports"
TASKS = 4
WATCHERS = 1000
ROUNDS = 4


class Asked:
    """A request that has come."""

    scheme, host, mimetype, remote_addr = "http", "bench", "application/json", "192.0.2.1"

    def __init__(self, method: str, path: str, token: str, body: bytes = b"", key: str = "") -> None:
        self.method = method
        self.path, _, query = path.partition("?")
        self.raw_path = self.path.encode()
        self.query_string = query.encode()
        self.args = MultiDict([("watch", "")] if query else [])
        self.headers = Headers({"X-Auth-Token": token, **({"Idempotency-Key": key} if key else {})})
        self.content_length = len(body)
        self.body = _once(body)

    bodiless = False
    peer = None

    def has_gone(self) -> bool:
        """No."""
        return False

    async def gone(self) -> None:
        """Never."""
        await trio.sleep_forever()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


class Lab:
    """A cloud, and a network to make ports on."""

    def __init__(self, cloud: TestCloud, network_id: str) -> None:
        self._cloud = cloud
        self._gate = Gate(cloud.cloud)
        self._body = orjson.dumps({"port": {"network_id": network_id}})
        self._made = 0

    async def ask(self, asked: Asked) -> Outgoing:
        """The answer."""
        return await self._gate.answer(asked, self._gate.find(asked.path))

    async def load(self, count: int, *, keyed: bool = False) -> float:
        """Microseconds of CPU a POST, of so many sent by ``TASKS`` at once."""
        token = self._cloud.as_admin.token
        left = iter(range(count))
        started_s = time.process_time()

        async def work() -> None:
            for _ in left:
                self._made += 1
                key = f"k{self._made}" if keyed else ""
                answer = await self.ask(Asked("POST", PORTS, token, self._body, key))
                assert answer.status == 201, answer.body

        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(work)
        return (time.process_time() - started_s) * 1e6 / count

    async def run(self, fn: Callable[[Tx], None]) -> None:
        """A transaction."""
        await self._cloud.db.run(fn)

    async def watch(self, nursery: trio.Nursery) -> None:
        """Have a thousand watch, and read whatever comes."""

        async def follow(began: trio.Event) -> None:
            answer = await self.ask(Asked("GET", f"{PORTS}?watch=", self._cloud.as_admin.token))
            assert not isinstance(answer.body, bytes)
            async for _part in answer.body:
                began.set()

        for _ in range(WATCHERS):
            began = trio.Event()
            nursery.start_soon(follow, began)
            await began.wait()


async def furnish(cloud: TestCloud) -> Lab:
    """A cloud with a network, and room for many ports."""
    admin = cloud.as_admin
    shown = (await admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": admin.token})).json["token"]
    quota = {"quota": {"port": 10_000_000}}
    assert (await admin.put(f"/networking/v2.0/quotas/{shown['project']['id']}", quota)).status == 200
    made = (await admin.post("/networking/v2.0/networks", {"network": {"name": "n"}})).json["network"]
    return Lab(cloud, made["id"])


@contextmanager
def unrecorded() -> Iterator[None]:
    """Nothing is recorded within."""
    names = vars(dispatch)
    known = names["UNRECORDED"]
    names["UNRECORDED"] = known | {"network"}
    try:
        yield
    finally:
        names["UNRECORDED"] = known


def drop_triggers(tx: Tx) -> None:
    """A database without the change feed."""
    (sql,) = [sql for name, sql in migrations() if name.endswith("_changes")]
    for statement in statements(sql, tx.dialect):
        if statement.startswith("CREATE TRIGGER"):
            name, _, rest = statement.removeprefix("CREATE TRIGGER ").partition(" ")
            table = rest.partition(" ON ")[2].split()[0]
            tx.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if tx.dialect == "postgres" else ""))


async def measure(what: str, lab: Lab, count: int) -> float:
    """The load with the thing that is measured."""
    if what != "watched":
        return await lab.load(count, keyed=what == "key")
    async with trio.open_nursery() as nursery:
        await lab.watch(nursery)
        took_us = await lab.load(count // 10)
        nursery.cancel_scope.cancel()
    return took_us


async def figures(open_database: Callable[[Path], Database], count: int) -> Iterable[Figure]:
    """Each thing with it and without it: in turn, on two clouds that have grown alike."""
    out: list[Figure] = []
    for what in ("audit", "feed", "key", "watched"):
        async with AsyncExitStack() as stack:
            lab, bare = [await furnish(await open_one(stack, open_database)) for _ in range(2)]
            if what == "feed":
                await bare.run(drop_triggers)
            pairs = []
            for _ in range(ROUNDS):
                value_us = await measure(what, lab, count)
                with unrecorded() if what == "audit" else nullcontext():
                    pairs.append((value_us, await bare.load(count if what != "watched" else count // 10)))
        # The first round warms up.
        value, floor = (min(pair[at] for pair in pairs[1:]) for at in (0, 1))
        out.append(Figure(f"beyond.{what}", value, "us", floor))
    return out


async def open_one(stack: AsyncExitStack, open_database: Callable[[Path], Database]) -> TestCloud:
    """A cloud of its own, with its loops."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    cloud = await stack.enter_async_context(open_cloud(folder, db=open_database(folder)))
    cloud.nursery.start_soon(cloud.cloud.audit.run)
    return cloud


def main() -> None:
    """Measure and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="on a private PostgreSQL instead of SQLite")
    parser.add_argument("--count", type=int, default=1000, help="requests of each load")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    world = World(random=random.Random(1))
    if options.postgres:
        with PostgresServer() as server:
            found = trio.run(
                figures, lambda _folder: PostgresDatabase(world, server.dsn(server.create_database())), options.count
            )
    else:
        found = trio.run(figures, lambda folder: SqliteDatabase(world, str(folder / "ostro.db")), options.count)
    for figure in found:
        print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
