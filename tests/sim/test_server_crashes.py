"""The control plane dies at every named point of a server's life and is started again: it converges, and nothing is left behind."""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from quart_trio import QuartTrio

from ostro.model.wishes import Noun
from ostro.runtime.faults import Crash, CrashAt, Faults, NoFaults, RecordFaults
from ostro.runtime.world import World
from ostro.store.postgres import PostgresDatabase
from ostro.testing.cloud import ApiClient, TestCloud, open_cloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks
from ostro.testing.postgres import PostgresServer

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"
KEPT = (Noun.NETWORK, Noun.SECURITY_GROUP)
"""A host may keep these as long as the network is there."""
Life = Callable[[TestCloud, SimHost], Awaitable[None]]


def compute(cloud: TestCloud) -> ApiClient:
    return cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")


async def prepare(cloud: TestCloud) -> SimHost:
    """A host, an image, a flavor and a network with a subnet."""
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    client = compute(cloud)
    await client.post(f"{COMPUTE}/flavors", {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}})
    answer = await client.post(f"{NETWORK}/networks", {"network": {"name": "net"}})
    subnet = {"network_id": answer.json["network"]["id"], "ip_version": 4, "cidr": "10.0.0.0/29"}
    assert (await client.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201
    return host


async def create(cloud: TestCloud) -> None:
    network = (await cloud.as_admin.get(f"{NETWORK}/networks?name=net")).json["networks"][0]
    server: dict[str, Any] = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "user_data": "aGVsbG8="}
    server["networks"] = [{"uuid": network["id"]}]
    answer = await compute(cloud).post(f"{COMPUTE}/servers", {"server": server})
    assert answer.status == 202, answer.body


async def list_servers(cloud: TestCloud) -> list[dict[str, Any]]:
    return list((await compute(cloud).get(f"{COMPUTE}/servers/detail")).json["servers"])


async def delete_all(cloud: TestCloud) -> None:
    for server in await list_servers(cloud):
        await compute(cloud).delete(f"{COMPUTE}/servers/{server['id']}")


async def give_up_on_all(cloud: TestCloud, host: SimHost) -> None:
    for server in await list_servers(cloud):
        host.failing[server["id"]] = "No such disk."


async def live(cloud: TestCloud, host: SimHost) -> None:
    """Created, run, deleted."""
    await create(cloud)
    await converge(cloud, host)
    await delete_all(cloud)
    await converge(cloud, host)


async def fail(cloud: TestCloud, host: SimHost) -> None:
    """Created, given up by the host, deleted."""
    await create(cloud)
    await give_up_on_all(cloud, host)
    await converge(cloud, host)
    await delete_all(cloud)
    await converge(cloud, host)


async def overtake(cloud: TestCloud, host: SimHost) -> None:
    """Deleted before the host has even heard of it."""
    await create(cloud)
    await delete_all(cloud)
    await converge(cloud, host)


async def be_overtaken(cloud: TestCloud, host: SimHost) -> None:
    """Deleted while what a failed creation left is still being cleared away."""
    await create(cloud)
    await give_up_on_all(cloud, host)
    await host.sync()
    await cloud.sagas.step()
    await delete_all(cloud)
    await converge(cloud, host)


LIVES: tuple[Life, ...] = (live, fail, overtake, be_overtaken)
_CREATE = {"server.create.claimed", "server.create.bound", "server.create.stored", "server.create.committed"}
_DELETE = {"server.delete.stored", "server.delete.committed", "saga.server.delete.buried"}
EXPECTED = {
    "live": _CREATE | _DELETE | {"saga.server.create.running", "saga.server.create.finished"},
    "fail": _CREATE | _DELETE - {"saga.server.delete.buried"} | {"saga.server.abandon.left"},
    "overtake": _CREATE | _DELETE,
    "be_overtaken": _CREATE | _DELETE | {"saga.server.create.wished.undone"},
}
"""Points that each life must at least pass, or the test tests less than it says."""


def has_crash(error: BaseException) -> bool:
    """Whether the error is the crash that was asked for, however deep."""
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return isinstance(error, Crash) or any(has_crash(part) for part in parts)


class Site:
    """A state directory and a host, over several lives of the control plane."""

    def __init__(self, state_dir: Path, host: SimHost) -> None:
        self._state_dir = state_dir
        self._host = host
        self._starts = 1

    async def during(self, life: Life, faults: Faults | None = None) -> None:
        """Start the control plane and live. A process that starts again draws other ids."""
        self._starts += 1
        async with open_cloud(self._state_dir, seed=self._starts, faults=faults or NoFaults()) as cloud:
            self._host.client = cloud.as_agent
            self._host.restart()
            await self._host.register()
            await life(cloud, self._host)

    async def until_crash(self, life: Life, faults: Faults) -> None:
        """Live with these faults, and perhaps die."""
        try:
            await self.during(life, faults)
        except BaseException as error:
            if not has_crash(error):
                raise


async def make_template(state_dir: Path) -> None:
    """A prepared state, to be copied for each crash."""
    async with open_cloud(state_dir) as cloud:
        await prepare(cloud)


def copy_site(template: Path, state_dir: Path) -> Site:
    shutil.copytree(template, state_dir)
    return Site(state_dir, SimHost(ApiClient(QuartTrio(__name__)), "host-a"))


async def settle_and_check(cloud: TestCloud, host: SimHost) -> None:
    """Whatever was going on comes to its end, and then everything can be deleted without a trace."""
    await converge(cloud, host)
    states = {(s["status"], s["OS-EXT-STS:task_state"]) for s in await list_servers(cloud)}
    assert states <= {("ACTIVE", None), ("ERROR", None)}, states
    await delete_all(cloud)
    await converge(cloud, host)
    assert await list_servers(cloud) == []
    assert await cloud.db.read(find_leaks) == {}
    assert [key for key in host.things if key[0] not in KEPT] == []


@pytest.fixture
def template(tmp_path: Path) -> Path:
    directory = tmp_path / "template"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("life", LIVES)
async def test_crash_at_every_point(tmp_path: Path, template: Path, life: Life) -> None:
    await make_template(template)
    recorded = RecordFaults()
    site = copy_site(template, tmp_path / "recorded")
    await site.until_crash(life, recorded)
    await site.during(settle_and_check)
    assert EXPECTED[life.__name__] <= set(recorded.seen)
    points = [(name, recorded.seen[: i + 1].count(name)) for i, name in enumerate(recorded.seen)]
    for number, (name, nth) in enumerate(points):
        site = copy_site(template, tmp_path / str(number))
        await site.until_crash(life, CrashAt(name, nth))
        await site.during(settle_and_check)


async def test_lives_on_postgres(tmp_path: Path, postgres: PostgresServer, postgres_template: str) -> None:
    database = PostgresDatabase(
        World(random=random.Random(1)), postgres.dsn(postgres.create_database(postgres_template))
    )
    async with open_cloud(tmp_path, db=database) as cloud:
        host = await prepare(cloud)
        await live(cloud, host)
        await fail(cloud, host)
        await settle_and_check(cloud, host)
