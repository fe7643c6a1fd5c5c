"""Volumes that become what they were at their latest snapshot, over HTTP with a simulated host."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.wishes import Noun
from ostro.services.block.attachments import mark_attached, release, reserve
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge

VOLUMES = "/volume/v3/volumes"
SNAPSHOTS = "/volume/v3/snapshots"
SINCE = {"OpenStack-API-Version": "volume 3.40"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    return await add_host(cloud)


async def make(cloud: TestCloud, host: SimHost, client: ApiClient | None = None) -> str:
    """An available volume of 1 GB."""
    answer = await (client or cloud.as_admin).post(VOLUMES, {"volume": {"size": 1}})
    await converge(cloud, host)
    return str(answer.json["volume"]["id"])


async def snapshot(cloud: TestCloud, host: SimHost, volume_id: str, client: ApiClient | None = None) -> str:
    """An available snapshot."""
    answer = await (client or cloud.as_admin).post(SNAPSHOTS, {"snapshot": {"volume_id": volume_id}})
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    return str(answer.json["snapshot"]["id"])


async def act(client: ApiClient, volume_id: str, action: str, given: Any) -> Answer:
    return await client.post(f"{VOLUMES}/{volume_id}/action", {action: given}, headers=SINCE)


async def revert(client: ApiClient, volume_id: str, snapshot_id: str) -> Answer:
    return await act(client, volume_id, "revert", {"snapshot_id": snapshot_id})


async def statuses(cloud: TestCloud, volume_id: str, snapshot_id: str) -> tuple[str, str]:
    volume = (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).json["volume"]
    return volume["status"], (await cloud.as_admin.get(f"{SNAPSHOTS}/{snapshot_id}")).json["snapshot"]["status"]


async def test_a_volume_becomes_what_it_was(cloud: TestCloud, host: SimHost) -> None:
    member = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, member)
    await snapshot(cloud, host, volume_id, member)
    latest = await snapshot(cloud, host, volume_id, member)
    for _twice in range(2):
        answer = await revert(member, volume_id, latest)
        assert (answer.status, answer.body) == (202, b"")
        assert await statuses(cloud, volume_id, latest) == ("reverting", "restoring")
        await host.read_wishes()
        _generation, body = host.wished[Noun.VOLUME, volume_id]
        assert body["revert"]["snapshot_id"] == latest
        await converge(cloud, host)
        assert await statuses(cloud, volume_id, latest) == ("available", "available")
        assert host.things[Noun.VOLUME, volume_id].get("revert") is None, "it isn't told any more"


@pytest.mark.parametrize(
    "given", [{}, {"snapshot_id": None}, {"snapshot_id": ""}, {"snapshot_id": 3}, {"id": "x"}, None]
)
async def test_it_is_said_to_which_snapshot(cloud: TestCloud, host: SimHost, given: Any) -> None:
    volume_id = await make(cloud, host)
    latest = await snapshot(cloud, host, volume_id)
    assert (await act(cloud.as_admin, volume_id, "revert", given)).status == 400
    assert await statuses(cloud, volume_id, latest) == ("available", "available")


async def test_only_to_the_latest_snapshot_of_its_size(cloud: TestCloud, host: SimHost) -> None:
    member, other = await cloud.add_user("ann", "red"), await cloud.add_user("bob", "blue")
    volume_id, second = await make(cloud, host, member), await make(cloud, host, member)
    answer = await revert(member, volume_id, "none")
    assert answer.status == 400 and b"no snapshots" in answer.body
    first, latest = [await snapshot(cloud, host, volume_id, member) for _ in range(2)]
    foreign = await snapshot(cloud, host, second, member)
    for snapshot_id in (first, foreign, "none"):
        answer = await revert(member, volume_id, snapshot_id)
        assert answer.status == 400 and b"not the latest one" in answer.body
    assert (await revert(other, volume_id, latest)).status == 404
    assert (await revert(member, "none", latest)).status == 404
    body = {"revert": {"snapshot_id": latest}}
    old = {"OpenStack-API-Version": "volume 3.39"}
    assert (await member.post(f"{VOLUMES}/{volume_id}/action", body, headers=old)).status == 404
    await act(member, volume_id, "os-extend", {"new_size": 2})
    await converge(cloud, host)
    answer = await revert(member, volume_id, latest)
    assert answer.status == 400 and b"equal to the snapshot size" in answer.body
    assert await statuses(cloud, volume_id, latest) == ("available", "available")


async def test_both_must_be_available(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    latest = await snapshot(cloud, host, volume_id)
    await cloud.db.run(reserve, cloud.admin_context(), volume_id, "server-1", "/dev/vdb", host.host_id)
    await cloud.db.run(mark_attached, "server-1", [volume_id], 5)
    answer = await revert(cloud.as_admin, volume_id, latest)
    assert answer.status == 409 and b"Volume's status must be 'available'" in answer.body
    await cloud.db.run(release, volume_id, "server-1", 6)
    assert (await cloud.as_admin.delete(f"{SNAPSHOTS}/{latest}")).status == 202
    answer = await revert(cloud.as_admin, volume_id, latest)
    assert answer.status == 409 and b"Snapshot's status must be 'available'" in answer.body


async def test_nothing_else_happens_to_them_meanwhile(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    latest = await snapshot(cloud, host, volume_id)
    admin = cloud.as_admin
    assert (await revert(admin, volume_id, latest)).status == 202
    assert (await revert(admin, volume_id, latest)).status == 409
    for action, given in (
        ("os-extend", {"new_size": 2}),
        ("os-reserve", {}),
        ("os-volume_upload_image", {"image_name": "made"}),
        ("os-retype", {"new_type": "ceph", "migration_policy": "on-demand"}),
    ):
        assert (await act(admin, volume_id, action, given)).status in (400, 404), action
    for body in ({"size": 1, "snapshot_id": latest}, {"size": 1, "source_volid": volume_id}):
        assert (await admin.post(VOLUMES, {"volume": body})).status == 400
    assert (await admin.post(SNAPSHOTS, {"snapshot": {"volume_id": volume_id, "force": True}})).status == 400
    for path in (f"{SNAPSHOTS}/{latest}", f"{VOLUMES}/{volume_id}", f"{VOLUMES}/{volume_id}?cascade=true"):
        assert (await admin.delete(path)).status == 400, path
    assert (await admin.post(f"{SNAPSHOTS}/{latest}/action", {"os-force_delete": {}})).status == 400
    assert (await admin.delete(f"{VOLUMES}/{volume_id}?cascade=true&force=true")).status == 400
    await converge(cloud, host)
    assert await statuses(cloud, volume_id, latest) == ("available", "available")


async def test_a_host_that_gives_up_leaves_the_volume_in_error(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    latest = await snapshot(cloud, host, volume_id)
    host.failing[volume_id] = "The snapshot is lost."
    assert (await revert(cloud.as_admin, volume_id, latest)).status == 202
    await converge(cloud, host)
    assert await statuses(cloud, volume_id, latest) == ("error", "available")
    host.failing.clear()
    await converge(cloud, host)
    assert (await act(cloud.as_admin, volume_id, "os-reset_status", {"status": "available"})).status == 202
    assert (await revert(cloud.as_admin, volume_id, latest)).status == 202
    await converge(cloud, host)
    assert await statuses(cloud, volume_id, latest) == ("available", "available")


async def test_an_administrator_resets_a_volume_that_is_reverted(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    latest = await snapshot(cloud, host, volume_id)
    assert (await revert(cloud.as_admin, volume_id, latest)).status == 202
    assert (await act(cloud.as_admin, volume_id, "os-reset_status", {"status": "available"})).status == 202
    assert await statuses(cloud, volume_id, latest) == ("available", "available")
    await converge(cloud, host)
    assert host.things[Noun.VOLUME, volume_id].get("revert") is None
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume_id}?cascade=true")).status == 202
    await converge(cloud, host)
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).status == 404
