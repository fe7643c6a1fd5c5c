"""Servers that move between hosts, over the API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ostro.model.volumes import CEPH, storage_trait
from ostro.model.wishes import MigrationState, Noun, Power, ServerWish
from ostro.services.block.types import ensure_ceph_type
from ostro.services.sweeps import confirm_resizes
from ostro.store.hosts import HOSTS
from ostro.store.inventories import count_wrong_sums
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge, meet
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"


def at(client: ApiClient, version: str) -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


class Lab:
    """Three hosts that can send each other servers, and one server."""

    def __init__(self, cloud: TestCloud, hosts: list[SimHost]) -> None:
        self.cloud = cloud
        self.hosts = {host.name: host for host in hosts}
        self.client = at(cloud.as_admin, "2.95")
        self.id = ""

    async def boot(self, **more: Any) -> str:
        server = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "auto", **more}
        answer = await self.client.post(f"{COMPUTE}/servers", {"server": server})
        assert answer.status == 202, answer.body
        self.id = answer.json["server"]["id"]
        await self.settle()
        return self.id

    async def settle(self) -> None:
        await converge(self.cloud, *self.hosts.values())

    async def sagas(self) -> None:
        while await self.cloud.sagas.step():
            pass

    async def show(self) -> dict[str, Any]:
        return dict((await self.client.get(f"{COMPUTE}/servers/{self.id}")).json["server"])

    async def where(self) -> str:
        return str((await self.show())["OS-EXT-SRV-ATTR:host"])

    async def state(self) -> tuple[str, str | None]:
        server = await self.show()
        return server["status"], server["OS-EXT-STS:task_state"]

    async def act(self, name: str, value: Any = None, version: str = "2.95") -> Any:
        return await at(self.cloud.as_admin, version).post(f"{COMPUTE}/servers/{self.id}/action", {name: value})

    async def migrate_live(self, host: str | None = None, block: Any = "auto") -> Any:
        return await self.act("os-migrateLive", {"host": host, "block_migration": block})

    async def migrations(self, query: str = "") -> list[dict[str, Any]]:
        return list((await self.client.get(f"{COMPUTE}/os-migrations{query}")).json["migrations"])

    def others(self, name: str) -> list[SimHost]:
        return [host for host in self.hosts.values() if host.name != name]

    async def used(self) -> dict[str, int]:
        """VCPUs claimed, by host."""
        answer = await at(self.cloud.as_admin, "2.87").get(f"{COMPUTE}/os-hypervisors/detail")
        return {h["hypervisor_hostname"]: h["vcpus_used"] for h in answer.json["hypervisors"]}

    async def check_whole(self) -> None:
        """The server runs where it is said to be, and nowhere else is anything of it; then it can be deleted without a trace."""
        host = await self.where()
        for other in self.others(host):
            assert {noun for noun, _ in other.things} <= set(), (other.name, other.things)
        assert self.id in self.hosts[host].running
        assert await self.used() == {name: int(name == host) for name in self.hosts}
        assert await self.cloud.db.read(count_wrong_sums) == 0
        await self.client.delete(f"{COMPUTE}/servers/{self.id}")
        await self.settle()
        assert await self.cloud.db.read(find_leaks) == {}


@pytest.fixture
async def lab(cloud: TestCloud) -> Lab:
    hosts = [await add_host(cloud, name, tunnel_ip=f"10.9.0.{i}") for i, name in enumerate(("a", "b", "c"), 1)]
    meet(*hosts)
    await cloud.db.run(put_image)
    lab = Lab(cloud, hosts)
    for name, vcpus, disk in (("f", 1, 1), ("g", 2, 2), ("huge", 100, 1)):
        flavor = {"name": name, "id": name, "ram": 64, "vcpus": vcpus, "disk": disk}
        assert (await lab.client.post(f"{COMPUTE}/flavors", {"flavor": flavor})).status == 200
    answer = await lab.client.post(f"{NETWORK}/networks", {"network": {"name": "net"}})
    subnet = {"network_id": answer.json["network"]["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    assert (await lab.client.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201
    await lab.boot()
    return lab


async def test_a_server_goes_live_to_a_host_that_placement_chooses(lab: Lab) -> None:
    source = await lab.where()
    assert (await lab.migrate_live()).status == 202
    assert await lab.state() == ("MIGRATING", "migrating")
    [port] = (await lab.client.get(f"{NETWORK}/ports?device_id={lab.id}")).json["ports"]
    assert port["binding:host_id"] == source
    target = lab.hosts[port["binding:profile"]["migrating_to"]]
    assert (await lab.used())[target.name] == 1 and (await lab.used())[source] == 1
    await target.sync()
    await lab.sagas()
    [shown] = (await lab.client.get(f"{COMPUTE}/servers/{lab.id}/migrations")).json["migrations"]
    assert (shown["status"], shown["source_compute"], shown["dest_compute"]) == ("running", source, target.name)
    # The source says that the guest has gone; from that moment on everybody finds its port on the target.
    await lab.hosts[source].sync()
    await lab.sagas()
    assert await lab.where() == target.name
    [port] = (await lab.client.get(f"{NETWORK}/ports?device_id={lab.id}")).json["ports"]
    assert (port["binding:host_id"], port["binding:profile"], port["status"]) == (target.name, {}, "ACTIVE")
    await lab.settle()
    assert await lab.state() == ("ACTIVE", None)
    [migration] = await lab.migrations()
    assert (migration["status"], migration["migration_type"]) == ("completed", "live-migration")
    actions = (await lab.client.get(f"{COMPUTE}/servers/{lab.id}/os-instance-actions")).json["instanceActions"]
    assert actions[0]["action"] == "live-migration" and actions[0]["message"] is None
    assert (await lab.client.get(f"{COMPUTE}/servers/{lab.id}/migrations")).json["migrations"] == []
    await lab.check_whole()


async def test_a_target_can_be_named_and_is_checked(lab: Lab) -> None:
    source = await lab.where()
    other = lab.others(source)[0].name
    for host, words in ((source, "current host"), ("nowhere", "could not be found")):
        answer = await lab.migrate_live(host)
        assert answer.status == 400 and words in answer.json["badRequest"]["message"], answer.body
    await lab.cloud.db.run(lambda tx: HOSTS.update(tx, lab.hosts[other].host_id, seen_at_us=1))
    answer = await lab.migrate_live(other)
    assert answer.status == 400 and "unavailable" in answer.json["badRequest"]["message"]
    await lab.hosts[other].sync()
    answer = await lab.migrate_live(other, block=False)
    assert answer.status == 400 and "shared storage" in answer.json["badRequest"]["message"]
    assert await lab.state() == ("ACTIVE", None)
    assert (await lab.migrate_live(other, block=True)).status == 202
    answer = await lab.migrate_live(other)
    assert answer.status == 409 and "migrating" in answer.json["conflictingRequest"]["message"]
    await lab.settle()
    assert await lab.where() == other
    await lab.check_whole()


async def test_who_may_and_what_bodies_look_like(lab: Lab) -> None:
    old = {"host": None, "block_migration": False, "disk_over_commit": False}
    assert (await lab.act("os-migrateLive", {**old, "force": True}, "2.1")).status == 400
    assert (await lab.act("os-migrateLive", {"host": None, "block_migration": "auto"}, "2.1")).status == 400
    assert (
        await lab.act("os-migrateLive", {"host": None, "block_migration": "auto", "force": True}, "2.68")
    ).status == 400
    member = at(await lab.cloud.add_user("user", "project"), "2.95")
    answer = await member.post(
        f"{COMPUTE}/servers/{lab.id}/action", {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    )
    assert answer.status == 403
    assert (await member.get(f"{COMPUTE}/os-migrations")).status == 403
    assert (await lab.act("os-migrateLive", {**old, "block_migration": True}, "2.1")).status == 202
    await lab.settle()
    [migration] = await lab.migrations()
    assert migration["status"] == "completed"


async def test_no_host_has_room(lab: Lab) -> None:
    for host in lab.others(await lab.where()):
        service = (await lab.client.get(f"{COMPUTE}/os-services?host={host.name}")).json["services"][0]
        await lab.client.put(f"{COMPUTE}/os-services/{service['id']}", {"status": "disabled"})
    answer = await lab.migrate_live()
    assert answer.status == 400 and "No valid host" in answer.json["badRequest"]["message"]
    assert await lab.state() == ("ACTIVE", None)
    await lab.check_whole()


@pytest.mark.parametrize("stage", ["preparing", "running"])
async def test_a_migration_is_aborted(lab: Lab, stage: str) -> None:
    source = await lab.where()
    lab.hosts[source].sending[lab.id] = MigrationState.RUNNING
    await lab.migrate_live()
    if stage == "running":
        await lab.settle()
    [migration] = await lab.migrations()
    assert migration["status"] == stage
    path = f"{COMPUTE}/servers/{lab.id}/migrations/{migration['id']}"
    shown = (await lab.client.get(path)).json["migration"]
    assert shown["memory_total_bytes"] == (100 if stage == "running" else None)
    assert (await at(lab.cloud.as_admin, "2.23").delete(path)).status == 404
    early = await at(lab.cloud.as_admin, "2.64").delete(path)
    assert early.status == (202 if stage == "running" else 400)
    assert (await lab.client.delete(path)).status == 202
    await lab.settle()
    assert await lab.where() == source
    assert await lab.state() == ("ACTIVE", None)
    [migration] = await lab.migrations()
    assert migration["status"] == "cancelled"
    assert (await lab.client.get(path)).status == 404
    assert (await lab.client.delete(path)).status == 409
    await lab.check_whole()


async def test_a_migration_is_forced_to_its_end(lab: Lab) -> None:
    source = await lab.where()
    lab.hosts[source].sending[lab.id] = MigrationState.RUNNING
    await lab.migrate_live()
    [migration] = await lab.migrations()
    path = f"{COMPUTE}/servers/{lab.id}/migrations/{migration['id']}/action"
    assert (await lab.client.post(path, {"force_complete": None})).status == 400
    await lab.settle()
    assert (
        await lab.client.post(f"{COMPUTE}/servers/{lab.id}/migrations/99/action", {"force_complete": None})
    ).status == 404
    assert (await lab.client.post(path, {"force_complete": None})).status == 202
    await lab.settle()
    assert await lab.where() != source
    await lab.check_whole()


@pytest.mark.parametrize("state", [MigrationState.FAILED, MigrationState.UNKNOWN])
async def test_a_migration_that_fails_leaves_the_server_where_it_is(lab: Lab, state: MigrationState) -> None:
    source = await lab.where()
    lab.hosts[source].sending[lab.id] = state
    await lab.migrate_live()
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source, ("ACTIVE", None))
    [migration] = await lab.migrations()
    assert migration["status"] == "error"
    actions = (await lab.client.get(f"{COMPUTE}/servers/{lab.id}/os-instance-actions")).json["instanceActions"]
    assert actions[0]["message"] == "Error"
    lab.hosts[source].sending.clear()
    await lab.migrate_live()
    await lab.settle()
    assert await lab.where() != source
    await lab.check_whole()


async def test_the_target_decides_when_the_source_lost_track(lab: Lab) -> None:
    source = lab.hosts[await lab.where()]
    source.sending[lab.id] = MigrationState.UNKNOWN
    await lab.migrate_live()
    [migration] = await lab.migrations()
    target = lab.hosts[migration["dest_compute"]]
    await target.sync()
    await lab.sagas()
    target.welcome(lab.id, migration["uuid"])
    source.running.discard(lab.id)
    await lab.settle()
    assert await lab.where() == target.name
    await lab.check_whole()


async def test_a_target_that_fails_or_falls_silent_before_anything_is_sent(lab: Lab) -> None:
    source = await lab.where()
    for host in lab.others(source):
        host.failing[lab.id] = "No such image."
    await lab.migrate_live()
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source, ("ACTIVE", None))
    for host in lab.others(source):
        host.failing.clear()
    await lab.settle()
    await lab.migrate_live()
    [migration, _] = await lab.migrations()
    target = lab.hosts[migration["dest_compute"]]
    await lab.cloud.db.run(lambda tx: HOSTS.update(tx, target.host_id, seen_at_us=1))
    await lab.cloud.sagas.step()
    assert await lab.state() == ("ACTIVE", None)
    await lab.settle()
    await lab.check_whole()


async def test_a_guest_that_goes_off_before_anything_is_sent_is_found_off(lab: Lab) -> None:
    source = lab.hosts[await lab.where()]
    await lab.migrate_live()
    assert await lab.state() == ("MIGRATING", "migrating")
    source.powers[lab.id] = Power.OFF
    source.wished[Noun.SERVER, lab.id] = source.known[Noun.SERVER, lab.id]
    await source.sync()
    [migration] = await lab.migrations()
    target = lab.hosts[migration["dest_compute"]]
    target.failing[lab.id] = "No such image."
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source.name, ("SHUTOFF", None))


@pytest.mark.parametrize("syncs", range(4))
async def test_a_server_is_deleted_on_its_way(lab: Lab, syncs: int) -> None:
    await lab.migrate_live()
    for _ in range(syncs):
        for host in lab.hosts.values():
            await host.sync()
        await lab.cloud.sagas.step()
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")).status == 204
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}
    for host in lab.hosts.values():
        assert host.running == set() and host.things == {}
    [migration] = await lab.migrations()
    assert migration["status"] in ("completed", "cancelled")


async def test_a_host_that_is_yet_to_be_left_is_no_target(lab: Lab) -> None:
    source = lab.hosts[await lab.where()]
    await lab.migrate_live()
    target = lab.hosts[(await lab.migrations())[0]["dest_compute"]]
    for host in (target, source, target):
        await host.sync()
        await lab.sagas()
    answer = await lab.migrate_live(source.name)
    assert answer.status == 409 and "clear away" in answer.json["conflictingRequest"]["message"]
    await lab.settle()
    assert (await lab.migrate_live(source.name)).status == 202
    await lab.settle()
    assert await lab.where() == source.name
    await lab.check_whole()


async def test_hosts_are_wished_what_the_contract_says(lab: Lab) -> None:
    source = lab.hosts[await lab.where()]
    await lab.migrate_live()
    [migration] = await lab.migrations()
    target = lab.hosts[migration["dest_compute"]]
    await target.sync()
    coming = target.things[Noun.SERVER, lab.id]["coming"]
    assert coming["migration_id"] == migration["uuid"] and coming["copy"] and not coming["closed"]
    assert (
        target.things[Noun.PORT, (await lab.client.get(f"{NETWORK}/ports?device_id={lab.id}")).json["ports"][0]["id"]][
            "admin_up"
        ]
        is False
    )
    await lab.sagas()
    await source.read_wishes()
    going = source.wished[Noun.SERVER, lab.id][1]["going"]
    assert (going["landing"], going["timeout_s"]) == (target.name, 1600)
    await lab.settle()
    assert ServerWish.__struct_fields__  # the wish of the target is an ordinary one again
    assert target.things[Noun.SERVER, lab.id]["coming"] is None


async def test_lists_of_migrations_are_filtered_and_paged(lab: Lab) -> None:
    for _ in range(3):
        await lab.migrate_live()
        await lab.settle()
    rows = await lab.migrations()
    assert [row["id"] for row in rows] == [3, 2, 1]
    assert len(await lab.migrations(f"?instance_uuid={lab.id}&status=completed")) == 3
    assert await lab.migrations("?migration_type=evacuation") == []
    assert await lab.migrations("?source_compute=nowhere") == []
    assert {row["id"] for row in await lab.migrations(f"?host={rows[0]['source_compute']}")} >= {3}
    page = await lab.client.get(f"{COMPUTE}/os-migrations?limit=2")
    assert [row["id"] for row in page.json["migrations"]] == [3, 2]
    link = page.json["migrations_links"][0]["href"].partition("localhost")[2]
    rest = await lab.client.get(link)
    assert [row["id"] for row in rest.json["migrations"]] == [1] and "migrations_links" not in rest.json
    assert len(await lab.migrations(f"?changes-since={rows[0]['updated_at']}")) == 1
    assert (await lab.client.get(f"{COMPUTE}/os-migrations?nonsense=1")).status == 400
    assert (await lab.client.get(f"{COMPUTE}/os-migrations?changes-since=soon")).status == 400
    assert (await lab.client.get(f"{COMPUTE}/os-migrations?migration_type=walk")).status == 400
    old = (await at(lab.cloud.as_admin, "2.1").get(f"{COMPUTE}/os-migrations")).json["migrations"][0]
    assert not {"uuid", "links", "migration_type", "user_id"} & set(old)
    assert {"uuid", "migration_type", "user_id", "project_id"} <= set(rows[0])


# ---- evacuation ----------------------------------------------------------------------------------------------------


async def lose(lab: Lab, name: str, *, long: bool = False) -> SimHost:
    """The host falls silent, for long enough to be fenced if ``long``."""
    host = lab.hosts.pop(name)
    silent_us = 600_000_000 if long else 60_000_000
    seen_at_us = lab.cloud.world.now_us() - silent_us
    await lab.cloud.db.run(lambda tx: HOSTS.update(tx, host.host_id, seen_at_us=seen_at_us, fence_ms=20_000))
    return host


async def test_a_server_is_evacuated_from_a_host_that_is_down(lab: Lab) -> None:
    source = await lab.where()
    answer = await lab.act("evacuate", {})
    assert answer.status == 400 and "still in use" in answer.json["badRequest"]["message"]
    lost = await lose(lab, source, long=True)
    assert (await lab.act("evacuate", {"host": source})).status == 400
    assert (await lab.act("evacuate", {"host": "nowhere"})).status == 400
    answer = await lab.act("evacuate", {}, "2.94")
    assert (answer.status, answer.body) == (200, b"")
    assert await lab.state() == ("REBUILD", "rebuilding")
    await lab.settle()
    assert await lab.state() == ("ACTIVE", None)
    target = await lab.where()
    assert target != source
    [migration] = await lab.migrations()
    assert (migration["status"], migration["migration_type"]) == ("done", "evacuation")
    assert lab.hosts[target].things[Noun.SERVER, lab.id]["taken_from"] == source
    # The host comes back: it finds that it has to let go, and does.
    lost.running.discard(lab.id)  # its fence has seen to that
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert (await lab.migrations())[0]["status"] == "completed"
    await lab.check_whole()


async def test_nothing_is_placed_before_the_host_is_fenced(lab: Lab) -> None:
    source = await lab.where()
    lost = await lose(lab, source)
    await lab.cloud.db.run(lambda tx: HOSTS.update(tx, lost.host_id, fence_ms=0))
    assert (await lab.act("evacuate", {"onSharedStorage": False}, "2.1")).json == {"adminPass": ""}
    await lab.settle()
    assert await lab.where() == source and await lab.state() == ("REBUILD", "rebuilding")
    assert all(lab.id not in host.running for host in lab.hosts.values())
    # It comes back and says that it has let go.
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert await lab.where() != source and await lab.state() == ("ACTIVE", None)
    await lab.check_whole()


async def test_a_server_that_was_off_stays_off_and_newer_versions_leave_it_off(lab: Lab) -> None:
    source = await lab.where()
    await lose(lab, source, long=True)
    assert (await lab.act("evacuate", {"host": sorted(lab.hosts)[0]})).status == 200
    await lab.settle()
    assert await lab.state() == ("SHUTOFF", None)


async def test_an_evacuation_overtakes_a_migration_and_ends_in_error_when_the_target_fails(lab: Lab) -> None:
    source = await lab.where()
    lab.hosts[source].sending[lab.id] = MigrationState.RUNNING
    await lab.migrate_live()
    await lab.settle()
    [migration] = await lab.migrations()
    lost = await lose(lab, source, long=True)
    other = next(name for name in lab.hosts if name != migration["dest_compute"])
    lab.hosts[other].failing[lab.id] = "No such image."
    assert (await lab.act("evacuate", {}, "2.68")).status == 200
    await lab.settle()
    assert (await lab.where(), (await lab.state())[0]) == (other, "ERROR")
    assert [m["status"] for m in await lab.migrations()] == ["failed", "cancelled"]
    lab.hosts[other].failing.clear()
    await lose(lab, other, long=True)
    assert (await lab.act("evacuate", {}, "2.68")).status == 200
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (migration["dest_compute"], ("ACTIVE", None))
    assert lost.name == source


async def test_an_evacuation_is_asked_for_again_before_anything_is_placed(lab: Lab) -> None:
    source = await lab.where()
    lost = await lose(lab, source)
    for _twice in range(2):
        assert (await lab.act("evacuate", {}, "2.94")).status == 200
    assert await lab.where() == source and sum((await lab.used()).values()) == 3
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert await lab.where() != source and await lab.state() == ("ACTIVE", None)
    await lab.check_whole()


async def test_a_host_that_is_left_keeps_no_loan_of_a_volume(lab: Lab) -> None:
    """Whether it lets go of the server before that is placed elsewhere, or is fenced and comes back later."""
    await lab.cloud.db.run(ensure_ceph_type, 1)
    for host in lab.hosts.values():
        await host.register(traits=[storage_trait(CEPH)])
    answer = await lab.client.post("/volume/v3/volumes", {"volume": {"size": 1}})
    volume_id = answer.json["volume"]["id"]
    await lab.settle()
    body = {"volumeAttachment": {"volumeId": volume_id}}
    assert (await lab.client.post(f"{COMPUTE}/servers/{lab.id}/os-volume_attachments", body)).status == 200
    await lab.settle()
    for long in (False, True):
        source = await lab.where()
        lost = await lose(lab, source, long=long)
        assert (await lab.act("evacuate", {}, "2.94")).status == 200
        if long:
            lost.running.discard(lab.id)  # its fence has seen to that
            await lab.settle()
        lab.hosts[source] = lost
        await lost.register(traits=[storage_trait(CEPH)])
        await lab.settle()
        assert await lab.where() != source and await lab.state() == ("ACTIVE", None)
        wishes = {name: host.things.get((Noun.VOLUME, volume_id)) for name, host in lab.hosts.items()}
        assert {name for name, wish in wishes.items() if wish and wish["borrowed"]} <= {await lab.where()}


async def test_a_server_is_deleted_while_it_is_evacuated(lab: Lab) -> None:
    source = await lab.where()
    lost = await lose(lab, source)
    assert (await lab.act("evacuate", {})).status == 200
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")).status == 204
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}


# ---- resizing and cold migration -----------------------------------------------------------------------------------


async def flavor_of(lab: Lab) -> tuple[str, int]:
    flavor = (await lab.show())["flavor"]
    return flavor["original_name"], flavor["vcpus"]


async def test_a_server_migrates_cold_and_is_confirmed(lab: Lab) -> None:
    source = await lab.where()
    assert (await lab.act("migrate", None, "2.1")).status == 202
    assert await lab.state() == ("RESIZE", "resize_prep")
    await lab.settle()
    target = await lab.where()
    assert target != source and await lab.state() == ("VERIFY_RESIZE", None)
    assert lab.hosts[source].things[Noun.SERVER, lab.id]["power"] == "off"
    assert {name: used for name, used in (await lab.used()).items() if used} == {source: 1, target: 1}
    assert (await lab.act("os-stop")).status == 409
    assert (await lab.act("confirmResize")).status == 204
    assert await lab.state() == ("ACTIVE", None)
    assert (await lab.act("confirmResize")).status == 409
    await lab.settle()
    [migration] = await lab.migrations()
    assert (migration["status"], migration["migration_type"]) == ("confirmed", "migration")
    await lab.check_whole()


async def test_a_cold_migration_to_a_named_host_is_reverted(lab: Lab) -> None:
    source = await lab.where()
    target = lab.others(source)[0].name
    assert (await lab.act("migrate", {"host": target}, "2.55")).status == 400
    assert (await lab.act("migrate", {"host": source})).status == 400
    assert (await lab.act("migrate", {"host": target})).status == 202
    await lab.settle()
    assert await lab.where() == target
    assert (await lab.act("revertResize")).status == 202
    assert await lab.state() == ("REVERT_RESIZE", "resize_reverting")
    # The target has not let go yet, so nothing starts at the source.
    await lab.hosts[source].sync()
    await lab.sagas()
    assert lab.id not in lab.hosts[source].running
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source, ("ACTIVE", None))
    assert (await lab.migrations())[0]["status"] == "reverted"
    actions = (await lab.client.get(f"{COMPUTE}/servers/{lab.id}/os-instance-actions")).json["instanceActions"]
    assert [action["action"] for action in actions] == ["revertResize", "migrate", "create"]
    await lab.check_whole()


async def test_a_server_that_is_off_is_resized_and_stays_off(lab: Lab) -> None:
    await lab.act("os-stop")
    await lab.settle()
    assert (await lab.act("resize", {"flavorRef": "g"})).status == 202
    await lab.settle()
    assert await lab.state() == ("VERIFY_RESIZE", None) and await flavor_of(lab) == ("g", 2)
    assert all(lab.id not in host.running for host in lab.hosts.values())
    await lab.act("revertResize")
    await lab.settle()
    assert await lab.state() == ("SHUTOFF", None) and await flavor_of(lab) == ("f", 1)
    await lab.act("os-start")
    await lab.settle()
    await lab.check_whole()


@pytest.mark.parametrize("answer", ["confirmResize", "revertResize"])
@pytest.mark.parametrize("stays", [True, False])
async def test_a_server_is_resized(lab: Lab, answer: str, stays: bool) -> None:
    source = await lab.where()
    for host in lab.others(source) if stays else [lab.hosts[source]]:
        service = (await lab.client.get(f"{COMPUTE}/os-services?host={host.name}")).json["services"][0]
        await lab.client.put(f"{COMPUTE}/os-services/{service['id']}", {"status": "disabled"})
    assert (await lab.act("resize", {"flavorRef": "g"})).status == 202
    await lab.settle()
    target = await lab.where()
    assert (target == source) is stays and await lab.state() == ("VERIFY_RESIZE", None)
    assert await flavor_of(lab) == ("g", 2)
    assert lab.hosts[target].things[Noun.SERVER, lab.id]["disk_gb"] == 2
    assert sum((await lab.used()).values()) == 3
    assert (await lab.act(answer)).status in (202, 204)
    await lab.settle()
    confirmed = answer == "confirmResize"
    assert await lab.state() == ("ACTIVE", None)
    assert await flavor_of(lab) == (("g", 2) if confirmed else ("f", 1))
    assert await lab.where() == (target if confirmed else source)
    assert sum((await lab.used()).values()) == (2 if confirmed else 1)
    [migration] = await lab.migrations()
    assert migration["migration_type"] == "resize"
    await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}


async def test_what_resizing_refuses(lab: Lab) -> None:
    for value, status in (
        ({"flavorRef": "f"}, 400),
        ({"flavorRef": "nowhere"}, 400),
        ({"flavorRef": "huge"}, 400),
        ({}, 400),
        ({"flavorRef": "g", "nonsense": 1}, 400),
    ):
        assert (await lab.act("resize", value)).status == status, value
    assert (await lab.act("revertResize")).status == 409
    await lab.act("resize", {"flavorRef": "g"})
    assert (await lab.act("resize", {"flavorRef": "f"})).status == 409
    await lab.settle()
    await lab.act("confirmResize")
    await lab.settle()
    answer = await lab.act("resize", {"flavorRef": "f"})
    assert answer.status == 400 and "resize disk down" in answer.json["badRequest"]["message"]


async def test_a_target_that_cannot_take_the_disk_leaves_the_server_as_it_was(lab: Lab) -> None:
    source = await lab.where()
    for host in lab.others(source):
        host.failing[lab.id] = "The disk is full."
    assert (await lab.act("migrate")).status == 202
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source, ("ACTIVE", None))
    assert (await lab.migrations())[0]["status"] == "error"
    await lab.check_whole()


@pytest.mark.parametrize("syncs", range(7))
async def test_a_server_is_deleted_while_it_is_resized(lab: Lab, syncs: int) -> None:
    await lab.act("migrate")
    for _ in range(syncs):
        for host in lab.hosts.values():
            await host.sync()
        await lab.cloud.sagas.step()
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")).status == 204
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}
    assert all(host.things == {} for host in lab.hosts.values())


async def test_what_nobody_confirms_is_confirmed_in_time(lab: Lab) -> None:
    await lab.act("migrate")
    await lab.settle()
    cloud = lab.cloud.cloud
    await confirm_resizes(cloud)
    assert await lab.state() == ("VERIFY_RESIZE", None)
    impatient = replace(cloud, config=replace(cloud.config, resize_confirm_window_s=1e-6))
    await confirm_resizes(impatient)
    await lab.settle()
    assert await lab.state() == ("ACTIVE", None)
    await lab.check_whole()
