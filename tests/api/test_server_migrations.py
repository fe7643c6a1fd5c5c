"""Live migration of servers over the API."""

from __future__ import annotations

import pytest

from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import MigrationState, Noun, Power, ServerWish
from ostro.store.hosts import HOSTS
from ostro.testing.leaks import find_leaks
from ostro.testing.moving import COMPUTE, NETWORK, Lab, at


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


@pytest.mark.parametrize("root", [LOCAL, CEPH])
async def test_whether_disks_are_copied_is_judged_by_the_servers_own(lab: Lab, root: str) -> None:
    """Its host may have been told since to make others elsewhere."""
    source = lab.hosts[await lab.where()]
    source.root_backend = root
    await lab.act("reboot", {"type": "HARD"})
    await lab.settle()
    other = CEPH if root == LOCAL else LOCAL
    for host in lab.hosts.values():
        await host.register(traits=[storage_trait(other), storage_trait(root)])
    refused = await lab.migrate_live(block=root == CEPH)
    assert refused.status == 400 and "shared storage" in refused.json["badRequest"]["message"]
    assert (await lab.migrate_live(block=root == LOCAL)).status == 202
    await lab.settle()
    assert await lab.where() != source.name and await lab.state() == ("ACTIVE", None)


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
    if stage == "preparing":
        assert "Cannot abort live migration while the migration is" in early.json["badRequest"]["message"]
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}/migrations/99")).status == 404
    assert (await lab.client.delete(path)).status == 202
    await lab.settle()
    assert await lab.where() == source
    assert await lab.state() == ("ACTIVE", None)
    [migration] = await lab.migrations()
    assert migration["status"] == "cancelled"
    assert (await lab.client.get(path)).status == 404
    late = await lab.client.delete(path)
    assert late.status == 409 and "Cannot 'abort live migration' instance" in late.json["conflictingRequest"]["message"]
    await lab.check_whole()


async def test_a_migration_is_forced_to_its_end(lab: Lab) -> None:
    source = await lab.where()
    lab.hosts[source].sending[lab.id] = MigrationState.RUNNING
    await lab.migrate_live()
    [migration] = await lab.migrations()
    path = f"{COMPUTE}/servers/{lab.id}/migrations/{migration['id']}/action"
    assert (await lab.client.post(path, {"force_complete": None})).status == 400
    await lab.settle()
    unknown = await lab.client.post(f"{COMPUTE}/servers/{lab.id}/migrations/99/action", {"force_complete": None})
    assert unknown.status == 400 and "99 not found for instance" in unknown.json["badRequest"]["message"]
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
