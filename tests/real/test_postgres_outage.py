"""PostgreSQL is ended at once under load, and comes back, or has its standby take its place: requests wait or are told to come again, and nothing is half done."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
import yaml

from ostro.runtime.world import World
from ostro.store.database import Tx
from ostro.store.postgres import PostgresDatabase
from ostro.testing.checkers import ROW_CHECKERS
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks
from ostro.testing.postgres import USER, PostgresPrimary, PostgresServer, PostgresStandby
from ostro.testing.up import Up

PATIENCE_S = 180.0
WORKERS = 6
MADE_BEFORE, REFUSED_MEANWHILE, MADE_AFTER = 10, 12, 10
COMPUTE = "/compute/v2.1"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


class Client:
    """One connection, for one thread. A connection that breaks is made anew."""

    def __init__(self, endpoint: str, token: str = "") -> None:
        self._endpoint = urlsplit(endpoint)
        self._token = token

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(self._endpoint.netloc, timeout=PATIENCE_S)
        headers = {"X-Auth-Token": self._token, "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None, dict(answer.getheaders())

    def log_in(self, auth: dict[str, str]) -> dict[str, str]:
        domain = {"id": "default"}
        user = {"name": auth["username"], "password": auth["password"], "domain": domain}
        scope = {"project": {"name": "admin", "domain": domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": scope}}
        status, answer, headers = self.call("POST", "/identity/v3/auth/tokens", body)
        assert status == 201, answer
        self._token = headers["X-Subject-Token"]
        return {"token": self._token, "project": answer["token"]["project"]["id"]}


def wait_until(what: str, done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < until_s, f"{what}: not in {PATIENCE_S:g} s"
        time.sleep(0.05)


class Load:
    """Servers asked for again and again by several at once; what was answered."""

    def __init__(self, endpoint: str, token: str, server: dict[str, Any]) -> None:
        self.made: set[str] = set()
        self.asked: set[str] = set()
        self.refused = 0
        self.strange: Counter[str] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(number, Client(endpoint, token), server))
            for number in range(WORKERS)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int, client: Client, server: dict[str, Any]) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            name = f"s-{number}-{turn}"
            with self._lock:
                self.asked.add(name)
            status, answer, headers = client.call("POST", f"{COMPUTE}/servers", {"server": {**server, "name": name}})
            with self._lock:
                if status == 202:
                    self.made.add(name)
                elif status == 503 and int(headers.get("Retry-After", "0")) > 0:
                    self.refused += 1
                else:
                    self.strange[f"{status} {answer} {headers}"] += 1
            if status != 202:
                self._stop.wait(0.2)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


def complaints(tx: Tx, now_us: int) -> list[str]:
    return [complaint for checker in ROW_CHECKERS.values() for complaint in checker(tx, now_us)]


def test_under_load(tmp_path: Path, server: PostgresServer) -> None:
    end_under_load(tmp_path, server.dsn(server.create_database()), server.kill, server.start)


def test_a_standby_takes_over(tmp_path: Path) -> None:
    """What was answered when the first was ended is known to the second, and nobody asks the first when it comes back as if nothing had been."""
    with PostgresPrimary() as primary, PostgresStandby(primary) as standby:
        name = primary.create_database()
        primary.await_standby()
        hosts = f"{primary.address},{standby.address}"
        dsn = f"host={hosts} user={USER} dbname={name} target_session_attrs=read-write"

        def take_over() -> None:
            standby.promote()
            primary.start()

        end_under_load(tmp_path, dsn, primary.kill_hard, take_over)


def end_under_load(folder: Path, dsn: str, end: Callable[[], None], mend: Callable[[], None]) -> None:
    """Make servers, end the database in the midst of it, mend that, and see that all is well."""
    with Up(folder / "state", options=("--database", dsn)) as up:
        up.start()
        client = Client(up.endpoint)
        auth = yaml.safe_load((up.state / "clouds.yaml").read_text())["clouds"]["ostro"]["auth"]
        known = client.log_in(auth)
        trio.run(look, dsn, lambda db, now_us: db.run(put_image))
        many = {"quota_set": dict.fromkeys(("instances", "cores", "ram"), -1)}
        assert client.call("PUT", f"{COMPUTE}/os-quota-sets/{known['project']}", many)[0] == 200
        flavor = {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}
        assert client.call("POST", f"{COMPUTE}/flavors", {"flavor": flavor})[0] == 200
        made = client.call("POST", "/networking/v2.0/networks", {"network": {"name": "n"}})[1]["network"]["id"]
        subnet = {"network_id": made, "ip_version": 4, "cidr": "10.0.0.0/16"}
        assert client.call("POST", "/networking/v2.0/subnets", {"subnet": subnet})[0] == 201
        wait_until("a host", lambda: bool(client.call("GET", f"{COMPUTE}/os-hypervisors")[1]["hypervisors"]))

        wanted = {"flavorRef": "f", "imageRef": IMAGE_ID, "networks": [{"uuid": made}]}
        load = Load(up.endpoint, known["token"], wanted)
        try:
            wait_until("the first", lambda: len(load.made) >= MADE_BEFORE)
            end()
            before = len(load.made)
            wait_until("refusals", lambda: load.refused >= REFUSED_MEANWHILE)
            mend()
            wait_until("more", lambda: len(load.made) >= before + MADE_AFTER)
        finally:
            load.stop()
        assert not load.strange, "whoever can't be served is told to come again"

        def servers() -> list[dict[str, Any]]:
            return list(client.call("GET", f"{COMPUTE}/servers/detail?limit=1000")[1]["servers"])

        wait_until("all are there", lambda: all(s["status"] == "ACTIVE" for s in servers()))
        names = [found["name"] for found in servers()]
        assert load.made <= set(names) <= load.asked and len(names) == len(set(names))
        ports = client.call("GET", "/networking/v2.0/ports?device_owner=compute:nova")[1]["ports"]
        assert sorted(port["device_id"] for port in ports) == sorted(found["id"] for found in servers())
        assert trio.run(look, dsn, lambda db, now_us: db.read(complaints, now_us)) == []

        for found in servers():
            assert client.call("DELETE", f"{COMPUTE}/servers/{found['id']}")[0] == 204
        wait_until("all are gone", lambda: not servers())
        wait_until("nothing is left", lambda: trio.run(look, dsn, lambda db, now_us: db.read(find_leaks)) == {})


async def look(dsn: str, act: Callable[[PostgresDatabase, int], Any]) -> Any:
    """Beside the cloud."""
    world = World(random=random.Random(1))
    database = PostgresDatabase(world, dsn)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        found = await act(database, world.now_us())
        nursery.cancel_scope.cancel()
    database.close()
    return found
