"""Snapshots of volumes over HTTP, with a simulated host."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import Noun
from ostro.services.block.attachments import mark_attached, reserve
from ostro.services.block.types import ensure_ceph_type
from ostro.store.allocations import list_by_provider
from ostro.store.inventories import count_wrong_sums
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge

VOLUMES = "/volume/v3/volumes"
SNAPSHOTS = "/volume/v3/snapshots"
NEWEST = {"OpenStack-API-Version": "volume 3.71"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host with Ceph, in a cloud that has it."""
    await cloud.db.run(ensure_ceph_type, 1)
    return await add_host(cloud, traits=[storage_trait(CEPH), storage_trait(LOCAL)])


async def make_volume(cloud: TestCloud, host: SimHost, **more: Any) -> str:
    answer = await cloud.as_admin.post(VOLUMES, {"volume": {"size": 1, **more}})
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    return str(answer.json["volume"]["id"])


async def ask(client: ApiClient, volume_id: str, **more: Any) -> Answer:
    return await client.post(SNAPSHOTS, {"snapshot": {"volume_id": volume_id, "name": "first", **more}})


async def ready(cloud: TestCloud, host: SimHost, volume_id: str) -> str:
    """The id of an available snapshot."""
    answer = await ask(cloud.as_admin, volume_id)
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    snapshot_id = str(answer.json["snapshot"]["id"])
    assert (await show(cloud, snapshot_id))["status"] == "available"
    return snapshot_id


async def show(cloud: TestCloud, snapshot_id: str) -> dict[str, Any]:
    answer = await cloud.as_admin.get(f"{SNAPSHOTS}/{snapshot_id}", headers=NEWEST)
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.json["snapshot"]
    return shown


async def show_volume(cloud: TestCloud, volume_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).json["volume"]
    return shown


async def test_a_snapshot_is_made_listed_changed_and_deleted(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    volume_id = await make_volume(cloud, host)
    answer = await ask(admin, volume_id, description="d", metadata={"a": "b"})
    made = answer.json["snapshot"]
    assert (made["status"], made["size"], made["volume_id"]) == ("creating", 1, volume_id)
    await converge(cloud, host)
    shown = await show(cloud, made["id"])
    assert (shown["status"], shown["metadata"], shown["description"]) == ("available", {"a": "b"}, "d")
    assert shown["os-extended-snapshot-attributes:progress"] == "100%"
    assert host.things[Noun.SNAPSHOT, made["id"]] == {"id": made["id"], "volume_id": volume_id}
    for query, count in (("", 1), (f"?volume_id={volume_id}", 1), ("?volume_id=other", 0), ("?name=first", 1)):
        assert len((await admin.get(f"{SNAPSHOTS}/detail{query}")).json["snapshots"]) == count
    assert (await admin.get("/volume/v3/limits")).json["limits"]["absolute"]["totalSnapshotsUsed"] == 1

    changed = await admin.put(f"{SNAPSHOTS}/{made['id']}", {"snapshot": {"name": "other"}})
    assert (changed.json["snapshot"]["name"], changed.json["snapshot"]["description"]) == ("other", "d")
    metadata = f"{SNAPSHOTS}/{made['id']}/metadata"
    assert (await admin.post(metadata, {"metadata": {"c": "d"}})).json["metadata"] == {"a": "b", "c": "d"}
    assert (await admin.get(f"{metadata}/c")).json == {"meta": {"c": "d"}}
    assert (await admin.put(f"{metadata}/c", {"meta": {"c": "e"}})).status == 200
    assert (await admin.delete(f"{metadata}/c")).status == 200
    assert (await admin.delete(f"{metadata}/c")).status == 404
    assert (await admin.put(metadata, {"metadata": {}})).json == (await admin.get(metadata)).json == {"metadata": {}}

    assert (await admin.delete(f"{SNAPSHOTS}/{made['id']}")).status == 202
    assert (await show(cloud, made["id"]))["status"] == "deleting"
    assert (await admin.delete(f"{SNAPSHOTS}/{made['id']}")).status == 202
    await converge(cloud, host)
    assert (await admin.get(f"{SNAPSHOTS}/{made['id']}")).status == 404
    assert (Noun.SNAPSHOT, made["id"]) not in host.things


async def test_volumes_are_made_from_a_snapshot(cloud: TestCloud, host: SimHost) -> None:
    source = await make_volume(cloud, host, volume_type=LOCAL)
    snapshot_id = await ready(cloud, host, source)
    volume_id = await make_volume(cloud, host, snapshot_id=snapshot_id, size=2)
    shown = await show_volume(cloud, volume_id)
    assert (shown["status"], shown["snapshot_id"], shown["source_volid"]) == ("available", snapshot_id, None)
    assert (shown["size"], shown["volume_type"]) == (2, LOCAL)
    wish = host.things[Noun.VOLUME, volume_id]
    assert (wish["source_volume_id"], wish["source_snapshot_id"]) == (source, snapshot_id)
    same_size = await cloud.as_admin.post(VOLUMES, {"volume": {"snapshot_id": snapshot_id}})
    assert same_size.json["volume"]["size"] == 1
    assert (await cloud.as_admin.delete(f"{SNAPSHOTS}/{snapshot_id}")).status == 400
    await converge(cloud, host)
    assert (await cloud.as_admin.delete(f"{SNAPSHOTS}/{snapshot_id}")).status == 202
    gone = await cloud.as_admin.post(VOLUMES, {"volume": {"snapshot_id": snapshot_id}})
    assert gone.status == 400
    for body in ({"snapshot_id": "nothing"}, {"snapshot_id": snapshot_id, "source_volid": source, "size": 1}):
        assert (await cloud.as_admin.post(VOLUMES, {"volume": body})).status in (400, 404)


async def test_a_volume_with_snapshots_stays_unless_all_shall_go(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make_volume(cloud, host, volume_type=LOCAL)
    snapshot_id = await ready(cloud, host, volume_id)
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume_id}")).status == 400
    retype = {"os-retype": {"new_type": CEPH, "migration_policy": "on-demand"}}
    assert (await cloud.as_admin.post(f"{VOLUMES}/{volume_id}/action", retype)).status == 400
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume_id}?cascade=true")).status == 202
    await converge(cloud, host)
    assert (await cloud.as_admin.get(f"{SNAPSHOTS}/{snapshot_id}")).status == 404
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).status == 404
    assert not host.things


@pytest.mark.parametrize(("kind", "status"), [(LOCAL, 400), (CEPH, 202)])
async def test_a_volume_in_use(cloud: TestCloud, host: SimHost, kind: str, status: int) -> None:
    volume_id = await make_volume(cloud, host, volume_type=kind)
    await cloud.db.run(reserve, cloud.admin_context(), volume_id, "server-1", "/dev/vdb", host.host_id)
    await cloud.db.run(mark_attached, "server-1", [volume_id], 5)
    assert (await ask(cloud.as_admin, volume_id)).status == 400
    assert (await ask(cloud.as_admin, volume_id, force=True)).status == status
    body = {"snapshot": {"volume_id": volume_id}}
    assert (await cloud.as_admin.post(SNAPSHOTS, body, headers=NEWEST)).status == status
    body["snapshot"]["force"] = "false"
    assert (await cloud.as_admin.post(SNAPSHOTS, body, headers=NEWEST)).status == 400


@pytest.mark.parametrize(("kind", "claimed"), [(LOCAL, True), (CEPH, False)])
async def test_a_copy_claims_room(cloud: TestCloud, host: SimHost, kind: str, claimed: bool) -> None:
    snapshot_id = await ready(cloud, host, await make_volume(cloud, host, volume_type=kind))
    assert bool(await cloud.db.read(list_by_provider, snapshot_id)) is claimed
    await cloud.as_admin.delete(f"{SNAPSHOTS}/{snapshot_id}")
    await converge(cloud, host)
    assert not await cloud.db.read(list_by_provider, snapshot_id)
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_a_host_that_gives_up(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make_volume(cloud, host)
    snapshot_id = (await ask(cloud.as_admin, volume_id)).json["snapshot"]["id"]
    host.failing[snapshot_id] = "The disk is full."
    await converge(cloud, host)
    assert (await show(cloud, snapshot_id))["status"] == "error"
    assert (await cloud.as_admin.post(VOLUMES, {"volume": {"snapshot_id": snapshot_id}})).status == 400
    action = f"{SNAPSHOTS}/{snapshot_id}/action"
    assert (await cloud.as_admin.post(action, {"os-reset_status": {"status": "available"}})).status == 400
    assert (await cloud.as_admin.post(action, {"os-no": {}})).status == 400
    assert (await cloud.as_admin.post(action, {"os-force_delete": {}})).status == 202
    await converge(cloud, host)
    assert (await cloud.as_admin.get(f"{SNAPSHOTS}/{snapshot_id}")).status == 404


async def test_a_snapshot_without_room_is_in_error(cloud: TestCloud) -> None:
    host = await add_host(cloud, disk_gb=1)
    snapshot_id = (await ask(cloud.as_admin, await make_volume(cloud, host))).json["snapshot"]["id"]
    assert (await show(cloud, snapshot_id))["status"] == "error"
    assert (await cloud.as_admin.delete(f"{SNAPSHOTS}/{snapshot_id}")).status == 202
    assert (await cloud.as_admin.get(f"{SNAPSHOTS}/{snapshot_id}")).status == 404


async def test_another_tenants_snapshots_do_not_exist(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make_volume(cloud, host)
    snapshot_id = await ready(cloud, host, volume_id)
    stranger = await cloud.add_user("bob", "blue")
    assert (await ask(stranger, volume_id)).status == 404
    assert (await stranger.get(f"{SNAPSHOTS}/{snapshot_id}")).status == 404
    assert (await stranger.delete(f"{SNAPSHOTS}/{snapshot_id}")).status == 404
    assert (await stranger.get(f"{SNAPSHOTS}/detail?all_tenants=1")).json["snapshots"] == []
    assert (await stranger.post(VOLUMES, {"volume": {"snapshot_id": snapshot_id}})).status == 404
