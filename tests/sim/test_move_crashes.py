"""The control plane dies at every named point of a server's move and is started again: one host ends up with it, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostro.model.wishes import MigrationState, Noun
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS as HOSTS_TABLE
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.crashes import Life, Sites, crash_at_every_point, each_point_once
from ostro.testing.hosts import SimHost, converge, find_twins
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks
from ostro.testing.postgres import PostgresServer

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"
HOSTS = ("host-a", "host-b", "host-c")
KEPT = (Noun.NETWORK, Noun.SECURITY_GROUP)
"""A host may keep these as long as the network is there."""


def compute(cloud: TestCloud) -> ApiClient:
    return cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.94")


def everybody(host: SimHost) -> list[SimHost]:
    return [host, *host.neighbours.values()]


async def get_server(cloud: TestCloud) -> dict[str, Any] | None:
    servers = (await compute(cloud).get(f"{COMPUTE}/servers/detail")).json["servers"]
    return dict(servers[0]) if servers else None


async def act(cloud: TestCloud, name: str, value: Any = None) -> None:
    server = await get_server(cloud)
    assert server is not None
    answer = await compute(cloud).post(f"{COMPUTE}/servers/{server['id']}/action", {name: value})
    assert answer.status in (200, 202, 204), answer.body


async def go_live(cloud: TestCloud) -> None:
    await act(cloud, "os-migrateLive", {"host": None, "block_migration": "auto"})


async def prepare(cloud: TestCloud, host: SimHost) -> None:
    """A server with a port, on the first host."""
    await cloud.db.run(put_image)
    client = compute(cloud)
    for name, vcpus in (("f", 1), ("g", 2)):
        flavor = {"name": name, "id": name, "ram": 64, "vcpus": vcpus, "disk": 1}
        await client.post(f"{COMPUTE}/flavors", {"flavor": flavor})
    answer = await client.post(f"{NETWORK}/networks", {"network": {"name": "net"}})
    network_id = answer.json["network"]["id"]
    subnet = {"network_id": network_id, "ip_version": 4, "cidr": "10.0.0.0/29"}
    assert (await client.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201
    server: dict[str, Any] = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "host": host.name}
    server["networks"] = [{"uuid": network_id}]
    assert (await client.post(f"{COMPUTE}/servers", {"server": server})).status == 202
    await converge(cloud, *everybody(host))


async def go(cloud: TestCloud, host: SimHost) -> None:
    """To another host."""
    await go_live(cloud)
    await converge(cloud, *everybody(host))


async def _end(cloud: TestCloud, host: SimHost, state: MigrationState) -> None:
    server = await get_server(cloud)
    assert server is not None
    for one in everybody(host):
        one.sending[server["id"]] = state
    await go_live(cloud)
    await converge(cloud, *everybody(host))


async def fail(cloud: TestCloud, host: SimHost) -> None:
    """The source says that it failed."""
    await _end(cloud, host, MigrationState.FAILED)


async def lose_track(cloud: TestCloud, host: SimHost) -> None:
    """The source doesn't know how it ended."""
    await _end(cloud, host, MigrationState.UNKNOWN)


async def be_deleted(cloud: TestCloud, host: SimHost) -> None:
    """Deleted while it is being sent."""
    server = await get_server(cloud)
    assert server is not None
    await _end(cloud, host, MigrationState.RUNNING)
    await compute(cloud).delete(f"{COMPUTE}/servers/{server['id']}")
    await converge(cloud, *everybody(host))


async def confirm(cloud: TestCloud, host: SimHost) -> None:
    """Resized on another host, because its own takes no more servers, and so confirmed."""
    server = await get_server(cloud)
    assert server is not None
    named = {"host": server["OS-EXT-SRV-ATTR:host"], "binary": "nova-compute"}
    assert (await cloud.as_admin.put("/compute/v2.1/os-services/disable", named)).status == 200
    await act(cloud, "resize", {"flavorRef": "g"})
    await converge(cloud, *everybody(host))
    await act(cloud, "confirmResize")
    await converge(cloud, *everybody(host))


async def revert(cloud: TestCloud, host: SimHost) -> None:
    """Migrated cold, and taken back."""
    await act(cloud, "migrate")
    await converge(cloud, *everybody(host))
    await act(cloud, "revertResize")
    await converge(cloud, *everybody(host))


async def be_refused(cloud: TestCloud, host: SimHost) -> None:
    """Migrated cold, and the target can't take it."""
    server = await get_server(cloud)
    assert server is not None
    for one in host.neighbours.values():
        one.failing[server["id"]] = "The disk is full."
    await act(cloud, "migrate")
    await converge(cloud, *everybody(host))


async def be_evacuated(cloud: TestCloud, host: SimHost) -> None:
    """The host falls silent, its server is started on another, and it comes back."""
    await cloud.db.run(_silence, host.host_id, cloud.world.now_us())
    host.running.clear()
    await act(cloud, "evacuate", {})
    await converge(cloud, *host.neighbours.values())
    await host.register()
    await converge(cloud, *everybody(host))


def _silence(tx: Tx, host_id: str, now_us: int) -> None:
    HOSTS_TABLE.update(tx, host_id, seen_at_us=now_us - 600_000_000, fence_ms=20_000)


LIVES: tuple[Life, ...] = (go, fail, lose_track, be_deleted, confirm, revert, be_refused, be_evacuated)
_LIVE = "saga.server.live_migrate"
EXPECTED = {
    "go": {f"{_LIVE}.{s}" for s in ("prepared", "sending", "ended", "switched", "finished")}
    | {"saga.server.leave.left"},
    "fail": {f"{_LIVE}.begun.undone", "saga.server.leave.let_go", "saga.server.leave.left"},
    "lose_track": {f"{_LIVE}.closed", f"{_LIVE}.begun.undone", "saga.server.leave.left"},
    "confirm": {f"saga.server.resize.{s}" for s in ("off", "moving", "moved", "changed", "settled", "finished")}
    | {"saga.server.leave.left"},
    "revert": {f"saga.server.revert.{s}" for s in ("let_go", "taken_back", "finished")} | {"saga.server.leave.left"},
    "be_refused": {"saga.server.resize.begun.undone", "saga.server.leave.left"},
    "be_evacuated": {f"saga.server.evacuate.{s}" for s in ("safe", "placed", "there", "finished")}
    | {"saga.server.leave.left"},
    "be_deleted": {f"{_LIVE}.sending", "saga.server.leave.left", "saga.server.delete.buried"},
}
"""Points that each life must at least pass, or the test tests less than it says."""


async def settle_and_check(cloud: TestCloud, host: SimHost) -> None:
    """Whatever was going on comes to its end: one host has the server. Then it can be deleted without a trace."""
    hosts = everybody(host)
    for one in hosts:
        one.sending.clear()
        one.failing.clear()
    await converge(cloud, *hosts)
    server = await get_server(cloud)
    if server is not None and server["status"] == "VERIFY_RESIZE":
        await act(cloud, "confirmResize")
    if server is not None and server["status"] == "MIGRATING":
        path = f"{COMPUTE}/servers/{server['id']}/migrations"
        for migration in (await compute(cloud).get(path)).json["migrations"]:
            await compute(cloud).post(f"{path}/{migration['id']}/action", {"force_complete": None})
    await converge(cloud, *hosts)
    assert not find_twins(*hosts)
    server = await get_server(cloud)
    if server is not None:
        assert (server["status"], server["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
        assert [h.name for h in hosts if server["id"] in h.running] == [server["OS-EXT-SRV-ATTR:host"]]
        away = [h for h in hosts if h.name != server["OS-EXT-SRV-ATTR:host"]]
        assert [key for h in away for key in h.things if key[0] not in KEPT] == []
        await compute(cloud).delete(f"{COMPUTE}/servers/{server['id']}")
        await converge(cloud, *hosts)
    assert await cloud.db.read(find_leaks) == {}
    assert [key for one in hosts for key in one.things if key[0] not in KEPT] == []


async def make_sites(root: Path, postgres: PostgresServer | None = None, template: str = "") -> Sites:
    sites = Sites(root, postgres, template, hosts=HOSTS)
    await sites.prepare(prepare)
    return sites


@pytest.mark.parametrize("life", LIVES)
async def test_crash_at_every_point(tmp_path: Path, life: Life) -> None:
    sites = await make_sites(tmp_path)
    passed = await crash_at_every_point(sites, life, settle_and_check)
    assert EXPECTED[life.__name__] <= passed, sorted(EXPECTED[life.__name__] - passed)


async def test_crash_on_postgres(tmp_path: Path, postgres: PostgresServer, postgres_template: str) -> None:
    sites = await make_sites(tmp_path, postgres, postgres_template)
    passed = await crash_at_every_point(sites, go, settle_and_check, each_point_once)
    assert EXPECTED["go"] <= passed
    sites.close()
