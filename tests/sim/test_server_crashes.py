"""The control plane dies at every named point of a server's life and is started again: it converges, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostro.model.wishes import Noun
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.crashes import Life, Sites, crash_at_every_point, each_point_once
from ostro.testing.hosts import SimHost, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks
from ostro.testing.postgres import PostgresServer

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"
KEPT = (Noun.NETWORK, Noun.SECURITY_GROUP)
"""A host may keep these as long as the network is there."""


def compute(cloud: TestCloud) -> ApiClient:
    return cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")


async def prepare(cloud: TestCloud, host: SimHost) -> None:
    """An image, a flavor and a network with a subnet."""
    await cloud.db.run(put_image)
    client = compute(cloud)
    await client.post(f"{COMPUTE}/flavors", {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}})
    answer = await client.post(f"{NETWORK}/networks", {"network": {"name": "net"}})
    subnet = {"network_id": answer.json["network"]["id"], "ip_version": 4, "cidr": "10.0.0.0/29"}
    assert (await client.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201


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
async def sites(tmp_path: Path) -> Sites:
    sites = Sites(tmp_path)
    await sites.prepare(prepare)
    return sites


@pytest.mark.parametrize("life", LIVES)
async def test_crash_at_every_point(sites: Sites, life: Life) -> None:
    passed = await crash_at_every_point(sites, life, settle_and_check)
    assert EXPECTED[life.__name__] <= passed


async def test_crash_on_postgres(tmp_path: Path, postgres: PostgresServer, postgres_template: str) -> None:
    sites = Sites(tmp_path, postgres, postgres_template)
    await sites.prepare(prepare)
    passed = await crash_at_every_point(sites, live, settle_and_check, each_point_once)
    assert EXPECTED["live"] <= passed
    sites.close()
