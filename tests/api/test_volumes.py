"""Volumes over HTTP, with a simulated host."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.wishes import Noun
from ostro.services.block.attachments import list_server_volumes, mark_attached, release, reserve
from ostro.store.allocations import list_by_provider
from ostro.store.hosts import HOSTS
from ostro.store.inventories import count_wrong_sums
from ostro.store.sagas import SAGAS
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge

VOLUMES = "/volume/v3/volumes"
NEWEST = {"OpenStack-API-Version": "volume 3.71"}


async def make(client: ApiClient, **more: Any) -> dict[str, Any]:
    answer = await client.post(VOLUMES, {"volume": {"size": 1, "name": "one", **more}})
    assert answer.status == 202, answer.body
    volume: dict[str, Any] = answer.json["volume"]
    return volume


async def show(client: ApiClient, volume: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"{VOLUMES}/{volume['id']}", headers=NEWEST)
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.json["volume"]
    return shown


async def act(client: ApiClient, volume: dict[str, Any], name: str, given: Any = None, **headers: str) -> Answer:
    return await client.post(f"{VOLUMES}/{volume['id']}/action", {name: given}, headers=headers)


async def ready(cloud: TestCloud, host: SimHost, **more: Any) -> dict[str, Any]:
    """An available volume."""
    volume = await make(cloud.as_admin, **more)
    await converge(cloud, host)
    shown = await show(cloud.as_admin, volume)
    assert shown["status"] == "available"
    return shown


async def image(cloud: TestCloud, *, min_disk: int = 0, data: bytes = b"x") -> str:
    body = {"name": "tiny", "disk_format": "raw", "container_format": "bare", "min_disk": min_disk}
    made = (await cloud.as_admin.post("/image/v2/images", body)).json["id"]
    headers = {"Content-Type": "application/octet-stream"}
    assert (await cloud.as_admin.put(f"/image/v2/images/{made}/file", data=data, headers=headers)).status == 204
    return str(made)


async def test_versions(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.get("/volume/")
    assert answer.status == 300
    version = answer.json["versions"][0]
    assert (version["id"], version["min_version"], version["version"]) == ("v3.0", "3.0", "3.71")
    assert (await cloud.anonymous.get("/volume/v3/")).json == answer.json


async def test_create_then_available(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await make(cloud.as_admin, description="d", metadata={"a": "b"})
    assert (volume["status"], volume["size"], volume["volume_type"]) == ("creating", 1, "local")
    await converge(cloud, host)
    shown = await show(cloud.as_admin, volume)
    assert (shown["status"], shown["bootable"], shown["attachments"]) == ("available", "false", [])
    assert (shown["description"], shown["metadata"]) == ("d", {"a": "b"})
    assert shown["os-vol-host-attr:host"] == "host-a@local#local"
    assert host.things[Noun.VOLUME, volume["id"]]["size_gb"] == 1


async def test_fields_by_microversion(cloud: TestCloud) -> None:
    await add_host(cloud)
    volume = await make(cloud.as_admin)
    newer = {
        "group_id",
        "service_uuid",
        "shared_targets",
        "volume_type_id",
        "consumes_quota",
        "provider_id",
        "cluster_name",
    }
    assert not newer & volume.keys()
    assert newer <= (await show(cloud.as_admin, volume)).keys()
    answer = await cloud.as_admin.get(f"{VOLUMES}/{volume['id']}", headers={"OpenStack-API-Version": "volume 3.13"})
    assert newer & answer.json["volume"].keys() == {"group_id"}
    assert answer.headers["OpenStack-API-Version"] == "volume 3.13"


async def test_the_project_may_stand_in_the_url(cloud: TestCloud) -> None:
    await add_host(cloud)
    alice = await cloud.add_user("alice", "red")
    volume = await make(alice)
    project_id = (await show(alice, volume))["os-vol-tenant-attr:tenant_id"]
    assert volume["links"][0]["href"].endswith(f"/volume/v3/{project_id}/volumes/{volume['id']}")
    assert (await alice.get(f"/volume/v3/{project_id}/volumes/{volume['id']}")).status == 200
    assert (await alice.get(f"/volume/v3/{project_id}/volumes/detail")).json["volumes"][0]["id"] == volume["id"]
    answer = await alice.get(f"/volume/v3/{'0' * 32}/volumes")
    assert (answer.status, answer.json["badRequest"]["message"]) == (400, "Malformed request url")
    for path in (f"/volume/v3/{project_id}", "/volume/v3/os-hosts", "/volume/v3/nonsense/volumes"):
        assert (await alice.get(path)).status == 404, path


async def test_another_projects_volume_is_not_there(cloud: TestCloud) -> None:
    await add_host(cloud)
    alice, bob = await cloud.add_user("alice", "red"), await cloud.add_user("bob", "blue")
    volume = await make(alice)
    answer = await bob.get(f"{VOLUMES}/{volume['id']}")
    assert answer.status == 404
    assert answer.json["itemNotFound"]["message"] == f"Volume {volume['id']} could not be found."
    assert (await bob.delete(f"{VOLUMES}/{volume['id']}")).status == 404
    assert (await bob.get(VOLUMES)).json["volumes"] == []
    assert (await cloud.as_admin.get(VOLUMES)).json["volumes"] == []
    assert len((await cloud.as_admin.get(f"{VOLUMES}?all_tenants=1")).json["volumes"]) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"size": 0}, 400),
        ({"size": -1}, 400),
        ({"size": "x"}, 400),
        ({"size": 1 << 20}, 400),
        ({"size": 1, "imageRef": "nothing"}, 400),
        ({"size": 1, "volume_type": "nothing"}, 404),
        ({"size": 1, "availability_zone": "nowhere"}, 400),
        ({"size": 1, "snapshot_id": "nothing"}, 404),
        ({"source_volid": "nothing"}, 404),
        ({"size": 1, "multiattach": True}, 400),
        ({"size": 1, "metadata": {"a": 5}}, 400),
        ({"size": 1, "name": "x" * 256}, 400),
    ],
)
async def test_what_create_refuses(cloud: TestCloud, body: dict[str, Any], status: int) -> None:
    answer = await cloud.as_admin.post(VOLUMES, {"volume": body})
    assert answer.status == status, answer.body


async def test_unknown_fields_are_refused_since_3_53(cloud: TestCloud) -> None:
    await add_host(cloud)
    body = {"volume": {"size": "2", "odd": 1}}
    old = await cloud.as_admin.post(VOLUMES, body)
    assert (old.status, old.json["volume"]["size"]) == (202, 2)
    assert (await cloud.as_admin.post(VOLUMES, body, headers=NEWEST)).status == 400


async def test_without_room_it_is_an_error_that_can_be_deleted(cloud: TestCloud) -> None:
    await add_host(cloud, disk_gb=10)
    volume = await make(cloud.as_admin, size=11)
    assert volume["status"] == "error"
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume['id']}")).status == 202
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume['id']}")).status == 404


async def test_a_host_that_gives_up(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await make(cloud.as_admin)
    host.failing[volume["id"]] = "disk full"
    await converge(cloud, host)
    assert (await show(cloud.as_admin, volume))["status"] == "error"
    host.failing.clear()
    await cloud.as_admin.delete(f"{VOLUMES}/{volume['id']}")
    await converge(cloud, host)
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume['id']}")).status == 404
    assert not host.things


async def test_delete_gives_everything_back(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    image_id = await image(cloud)
    volume = await ready(cloud, host, imageRef=image_id)
    assert (volume["bootable"], volume["volume_image_metadata"]["image_name"]) == ("true", "tiny")
    assert {noun for noun, _id in host.things} == {Noun.IMAGE, Noun.VOLUME}
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume['id']}")).status == 202
    assert (await show(cloud.as_admin, volume))["status"] == "deleting"
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume['id']}")).status == 202
    await converge(cloud, host)
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume['id']}")).status == 404
    assert host.things == {}
    assert await cloud.db.read(list_by_provider, volume["id"]) == {}
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_sizes_of_images(cloud: TestCloud) -> None:
    await add_host(cloud)
    answer = await cloud.as_admin.post(VOLUMES, {"volume": {"size": 1, "imageRef": await image(cloud, min_disk=2)}})
    assert (answer.status, "minDisk" in answer.json["badRequest"]["message"]) == (400, True)


async def test_copy(cloud: TestCloud) -> None:
    hosts = [await add_host(cloud, name) for name in ("host-a", "host-b", "host-c")]
    source = await make(cloud.as_admin, size=2)
    await converge(cloud, *hosts)
    copy = await make(cloud.as_admin, size=None, source_volid=source["id"])
    assert (copy["size"], copy["source_volid"]) == (2, source["id"])
    where = "os-vol-host-attr:host"
    assert (await show(cloud.as_admin, copy))[where] == (await show(cloud.as_admin, source))[where]
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{source['id']}")).status == 400
    await converge(cloud, *hosts)
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{source['id']}")).status == 202


async def test_lists(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    for name, metadata in (("a", {"k": "v"}), ("b", {"k": 'x"k":"v"'}), ("c", {"k": "v", "l": "%"})):
        await make(cloud.as_admin, name=name, metadata=metadata)
    await converge(cloud, host)

    async def names(query: str) -> list[str]:
        answer = await cloud.as_admin.get(f"{VOLUMES}/detail{query}", headers=NEWEST)
        assert answer.status == 200, answer.body
        return [v["name"] for v in answer.json["volumes"]]

    assert await names("?sort=name:asc") == ["a", "b", "c"]
    assert await names("") == ["c", "b", "a"]
    assert await names("?name=b") == ["b"]
    assert await names("?metadata={'k': 'v'}&sort=name:asc") == ["a", "c"]
    assert await names("?metadata={'l': '%'}") == ["c"]
    assert await names("?status=creating") == []
    assert await names("?name~=b") == ["b"]
    assert await names("?bootable=false&sort=name") == ["c", "b", "a"]
    assert await names("?created_at=lt:2020-01-01T00:00:00") == []
    first = (await cloud.as_admin.get(f"{VOLUMES}?limit=2&sort=name:asc&with_count=true", headers=NEWEST)).json
    assert (len(first["volumes"]), first["count"]) == (2, 3)
    href = first["volumes_links"][0]["href"]
    rest = (await cloud.as_admin.get(href.split("localhost", 1)[1], headers=NEWEST)).json
    assert [v["name"] for v in rest["volumes"]] == ["c"]
    assert "volumes_links" not in rest
    summary = (await cloud.as_admin.get(f"{VOLUMES}/summary", headers=NEWEST)).json["volume-summary"]
    assert (summary["total_count"], summary["total_size"]) == (3, 3)


async def test_update_and_metadata(cloud: TestCloud) -> None:
    await add_host(cloud)
    volume = await make(cloud.as_admin, metadata={"a": "1"})
    path = f"{VOLUMES}/{volume['id']}"
    assert (await cloud.as_admin.put(path, {"volume": {"name": "two"}})).json["volume"]["name"] == "two"
    assert (await cloud.as_admin.put(path, {"volume": {"size": 3}})).status == 400
    assert (await cloud.as_admin.post(f"{path}/metadata", {"metadata": {"b": "2"}})).json["metadata"] == {
        "a": "1",
        "b": "2",
    }
    assert (await cloud.as_admin.put(f"{path}/metadata", {"metadata": {"c": "3"}})).json["metadata"] == {"c": "3"}
    assert (await cloud.as_admin.put(f"{path}/metadata/d", {"meta": {"d": "4"}})).json == {"meta": {"d": "4"}}
    assert (await cloud.as_admin.put(f"{path}/metadata/d", {"meta": {"e": "4"}})).status == 400
    assert (await cloud.as_admin.get(f"{path}/metadata/c")).json == {"meta": {"c": "3"}}
    assert (await cloud.as_admin.delete(f"{path}/metadata/c")).status == 200
    assert (await cloud.as_admin.get(f"{path}/metadata/c")).status == 404
    assert (await cloud.as_admin.get(f"{path}/metadata")).json == {"metadata": {"d": "4"}}


async def test_extend(cloud: TestCloud) -> None:
    host = await add_host(cloud, disk_gb=10)
    volume = await ready(cloud, host)
    assert (await act(cloud.as_admin, volume, "os-extend", {"new_size": 1})).status == 400
    assert (await act(cloud.as_admin, volume, "os-extend", {"new_size": 11})).status == 403
    assert (await act(cloud.as_admin, volume, "os-extend", {"new_size": 3})).status == 202
    shown = await show(cloud.as_admin, volume)
    assert (shown["status"], shown["size"]) == ("extending", 1)
    await converge(cloud, host)
    shown = await show(cloud.as_admin, volume)
    assert (shown["status"], shown["size"]) == ("available", 3)
    assert await cloud.db.read(list_by_provider, volume["id"]) == {host.host_id: {"DISK_GB": 3}}
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_extend_that_fails(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await ready(cloud, host)
    host.failing[volume["id"]] = "no"
    await act(cloud.as_admin, volume, "os-extend", {"new_size": 2})
    await converge(cloud, host)
    assert (await show(cloud.as_admin, volume))["status"] == "error_extending"
    host.failing.clear()
    assert (await act(cloud.as_admin, volume, "os-reset_status", {"status": "available"})).status == 202
    await converge(cloud, host)
    assert (await show(cloud.as_admin, volume))["status"] == "available"
    assert await cloud.db.read(list_by_provider, volume["id"]) == {host.host_id: {"DISK_GB": 1}}
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_actions(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await ready(cloud, host)

    async def status_after(name: str, given: Any = None) -> tuple[int, str]:
        answer = await act(cloud.as_admin, volume, name, given)
        return answer.status, (await show(cloud.as_admin, volume))["status"]

    assert await status_after("os-reserve") == (202, "reserved")
    assert await status_after("os-reserve") == (400, "reserved")
    assert await status_after("os-unreserve") == (202, "available")
    assert await status_after("os-attach", {"instance_uuid": "s1", "mountpoint": "/dev/vdc"}) == (202, "in-use")
    shown = await show(cloud.as_admin, volume)
    assert (shown["attachments"][0]["server_id"], shown["attachments"][0]["device"]) == ("s1", "/dev/vdc")
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume['id']}")).status == 400
    assert await status_after("os-begin_detaching") == (202, "detaching")
    assert await status_after("os-roll_detaching") == (202, "in-use")
    assert await status_after("os-detach", {}) == (202, "available")
    assert await status_after("os-reset_status", {"status": "error"}) == (202, "error")
    assert await status_after("os-reset_status", {"status": "available"}) == (202, "available")
    assert (await act(cloud.as_admin, volume, "os-set_bootable", {"bootable": True})).status == 200
    assert (await show(cloud.as_admin, volume))["bootable"] == "true"
    set_ = await act(cloud.as_admin, volume, "os-set_image_metadata", {"metadata": {"os": "x"}})
    assert (set_.status, set_.json) == (200, {"metadata": {"os": "x"}})
    assert (await act(cloud.as_admin, volume, "os-show_image_metadata")).json == {"metadata": {"os": "x"}}
    assert (await act(cloud.as_admin, volume, "os-unset_image_metadata", {"key": "os"})).status == 200
    assert (await act(cloud.as_admin, volume, "os-retype", {"new_type": "x"})).status == 404
    assert (await act(cloud.as_admin, volume, "os-migrate_volume", {"host": "x"})).status == 501
    assert (await act(cloud.as_admin, volume, "os-nothing")).status == 400
    assert await status_after("os-force_delete") == (202, "deleting")


async def test_actions_have_policies_of_their_own(cloud: TestCloud) -> None:
    await add_host(cloud)
    alice = await cloud.add_user("alice", "red")
    volume = await make(alice)
    assert (await act(alice, volume, "os-force_delete")).status == 403
    assert (await act(alice, volume, "os-reset_status", {"status": "error"})).status == 403
    assert (await alice.delete(f"{VOLUMES}/{volume['id']}?force=true", headers=NEWEST)).status == 403
    reader = await cloud.add_user("rita", "red", "reader")
    assert (await act(reader, volume, "os-extend", {"new_size": 2})).status == 403
    assert (await act(reader, volume, "os-show_image_metadata")).status == 200


async def test_attachments(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await ready(cloud, host)
    path = "/volume/v3/attachments"
    body = {"attachment": {"volume_uuid": volume["id"], "instance_uuid": "s1", "mode": "ro"}}
    assert (await cloud.as_admin.post(path, body)).status == 404
    made = (await cloud.as_admin.post(path, body, headers=NEWEST)).json["attachment"]
    assert (made["status"], made["instance"], made["attach_mode"]) == ("reserved", "s1", "ro")
    assert (await show(cloud.as_admin, volume))["status"] == "reserved"
    one = f"{path}/{made['id']}"
    updated = await cloud.as_admin.put(one, {"attachment": {"connector": {"host": "h"}}}, headers=NEWEST)
    assert updated.json["attachment"]["status"] == "attaching"
    assert (await cloud.as_admin.post(f"{one}/action", {"os-complete": None}, headers=NEWEST)).status == 204
    assert (await show(cloud.as_admin, volume))["status"] == "in-use"
    listed = await cloud.as_admin.get(f"{path}?volume_id={volume['id']}", headers=NEWEST)
    assert [a["id"] for a in listed.json["attachments"]] == [made["id"]]
    assert (await cloud.as_admin.get(f"{path}/detail", headers=NEWEST)).json["attachments"][0]["attached_at"]
    assert (await cloud.as_admin.delete(one, headers=NEWEST)).json == {"attachments": []}
    assert (await cloud.as_admin.get(one, headers=NEWEST)).status == 404
    assert (await show(cloud.as_admin, volume))["status"] == "available"


async def test_a_servers_volume(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await ready(cloud, host)
    context = cloud.admin_context()
    await cloud.db.run(reserve, context, volume["id"], "s1", "/dev/vdb", host.host_id)
    assert (await show(cloud.as_admin, volume))["status"] == "attaching"
    await cloud.db.run(mark_attached, "s1", [volume["id"]], context.now_us)
    shown = await show(cloud.as_admin, volume)
    assert (shown["status"], shown["attachments"][0]["device"]) == ("in-use", "/dev/vdb")
    attached = await cloud.db.read(list_server_volumes, ["s1", "s2"])
    assert ([a.volume_id for a in attached["s1"]], attached["s2"]) == ([volume["id"]], [])
    assert (await act(cloud.as_admin, volume, "os-extend", {"new_size": 2})).status == 400
    grown = await act(cloud.as_admin, volume, "os-extend", {"new_size": 2}, **NEWEST)
    assert grown.status == 202
    await converge(cloud, host)
    shown = await show(cloud.as_admin, volume)
    assert (shown["status"], shown["size"]) == ("in-use", 2)
    await cloud.db.run(release, volume["id"], "s1", context.now_us)
    assert (await show(cloud.as_admin, volume))["status"] == "available"


async def test_what_there_is_beside_volumes(cloud: TestCloud) -> None:
    await add_host(cloud)
    await make(cloud.as_admin, size=3)
    admin = cloud.as_admin
    types = (await admin.get("/volume/v3/types")).json["volume_types"]
    assert [t["name"] for t in types] == ["local"]
    assert (await admin.get("/volume/v3/types/default")).json["volume_type"] == types[0]
    assert (await admin.get(f"/volume/v3/types/{types[0]['id']}")).json["volume_type"] == types[0]
    assert (await admin.get("/volume/v3/types/local")).status == 200
    assert (await admin.get("/volume/v3/types/nothing")).status == 404
    limits = (await admin.get("/volume/v3/limits")).json["limits"]["absolute"]
    assert (limits["maxTotalVolumes"], limits["totalGigabytesUsed"]) == (-1, 3)
    quota = (await admin.get("/volume/v3/os-quota-sets/x?usage=true")).json["quota_set"]
    assert quota["volumes"] == {"limit": -1, "in_use": 0, "reserved": 0}
    services = (await admin.get("/volume/v3/os-services?binary=cinder-volume")).json["services"]
    assert [(s["host"], s["state"]) for s in services] == [("host-a@local", "up")]
    pools = (await admin.get("/volume/v3/scheduler-stats/get_pools?detail=true")).json["pools"]
    assert pools[0]["capabilities"]["free_capacity_gb"] == 197
    zones = (await admin.get("/volume/v3/os-availability-zone")).json["availabilityZoneInfo"]
    assert zones == [{"zoneName": "nova", "zoneState": {"available": True}}]
    assert (await admin.get("/volume/v3/backups/detail")).json == {"backups": []}
    assert (await admin.post("/volume/v3/backups", {"backup": {}})).status == 501
    assert (await admin.get("/volume/v3/backups/x")).status == 404
    assert (await admin.get("/volume/v3/extensions")).json["extensions"]
    assert (await admin.get("/volume/v3/resource_filters", headers=NEWEST)).json["resource_filters"]


async def test_what_only_showing_a_volume_tells(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    volume = await make(cloud.as_admin)
    extra = {"os-vol-tenant-attr:tenant_id", "os-vol-host-attr:host"}
    assert not extra & volume.keys()
    changed = await cloud.as_admin.put(f"{VOLUMES}/{volume['id']}", {"volume": {"name": "two"}})
    assert not extra & changed.json["volume"].keys()
    assert extra <= (await show(cloud.as_admin, volume)).keys()
    await converge(cloud, host)


async def test_an_empty_id_is_no_volume(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.get(f"{VOLUMES}/")).status == 404
    assert (await cloud.as_admin.delete(f"{VOLUMES}/")).status == 404
    assert (await cloud.as_admin.put(f"{VOLUMES}/", {"volume": {"name": "x"}})).status == 404


@pytest.mark.parametrize(("silent_s", "status"), [(7200, "creating"), (0, "error")], ids=["silent", "slow"])
async def test_a_silent_host_stops_the_clock(cloud: TestCloud, silent_s: int, status: str) -> None:
    host = await add_host(cloud)
    volume = await make(cloud.as_admin)
    await cloud.sagas.step()
    seen_at_us = cloud.world.now_us() - silent_s * 1_000_000
    await cloud.db.run(lambda tx: HOSTS.update(tx, host.host_id, seen_at_us=seen_at_us))
    await cloud.db.run(lambda tx: SAGAS.update_where(tx, {"due_us": 1, "deadline_us": 1}, object_id=volume["id"]))
    await cloud.sagas.step()
    assert (await show(cloud.as_admin, volume))["status"] == status


async def test_a_full_page_has_a_next_one(cloud: TestCloud) -> None:
    await add_host(cloud)
    await make(cloud.as_admin)
    full = (await cloud.as_admin.get(f"{VOLUMES}?limit=1")).json
    href = full["volumes_links"][0]["href"]
    assert (await cloud.as_admin.get(href[href.index("/volume/") :])).json == {"volumes": []}
    assert "volumes_links" not in (await cloud.as_admin.get(f"{VOLUMES}?limit=2")).json
