"""Block storage's quotas over HTTP: shown, changed, and held."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ostro.services.identity.catalog import seed_limits
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

ROOT = "/volume/v3"
SETS = f"{ROOT}/os-quota-sets"
NEWEST = {"OpenStack-API-Version": "volume 3.70"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host in a cloud with upstream's default limits."""
    await cloud.db.run(seed_limits, cloud.world)
    return await add_host(cloud)


async def project_of(cloud: TestCloud, name: str = "admin") -> str:
    (project,) = (await cloud.as_admin.get(f"/identity/v3/projects?name={name}")).json["projects"]
    return str(project["id"])


async def limit(cloud: TestCloud, **numbers: int) -> str:
    """Limit the administrator's project; its id."""
    project = await project_of(cloud)
    answer = await cloud.as_admin.put(f"{SETS}/{project}", {"quota_set": numbers})
    assert answer.status == 200, answer.body
    return project


async def make(client: ApiClient, size: int = 1, **more: Any) -> Any:
    return await client.post(f"{ROOT}/volumes", {"volume": {"size": size, **more}})


def refusal(answer: Any, message: str) -> None:
    assert answer.status == 413, answer.body
    assert answer.json == {"overLimit": {"code": 413, "message": message, "retryAfter": "0"}}
    assert answer.headers["Retry-After"] == "0"


async def used(cloud: TestCloud) -> dict[str, int]:
    answer = await cloud.as_admin.get(f"{SETS}/{await project_of(cloud)}?usage=True")
    return {name: item["in_use"] for name, item in answer.json["quota_set"].items() if name != "id" and item["in_use"]}


async def test_show_update_delete(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    project = await limit(cloud, volumes=3, gigabytes_local=50)
    shown = (await admin.get(f"{SETS}/{project}")).json["quota_set"]
    assert shown == {
        "id": project,
        "volumes": 3,
        "gigabytes": 1000,
        "snapshots": 10,
        "backups": 10,
        "backup_gigabytes": 1000,
        "groups": 10,
        "per_volume_gigabytes": -1,
        "volumes_local": -1,
        "gigabytes_local": 50,
        "snapshots_local": -1,
    }
    assert (await admin.get(f"{SETS}/{project}/defaults")).json["quota_set"]["volumes"] == 10
    absolute = (await admin.get(f"{ROOT}/limits")).json["limits"]["absolute"]
    assert (absolute["maxTotalVolumes"], absolute["maxTotalVolumeGigabytes"]) == (3, 1000)
    eve = await cloud.add_user("eve", "evil")
    for refused in (eve.get(f"{SETS}/{project}"), eve.put(f"{SETS}/{project}", {"quota_set": {"volumes": 99}})):
        assert (await refused).status == 403
    assert (await admin.put(f"{SETS}/{project}", {"quota_set": {"lemons": 1}})).status == 400
    assert (await admin.put(f"{SETS}/{project}", {"quota_set": {"volumes": -2}})).status == 400
    assert (await make(admin)).status == 202
    less = {"quota_set": {"volumes": 0}}
    assert (await admin.put(f"{SETS}/{project}?skip_validation=false", less)).status == 400
    assert (await admin.put(f"{SETS}/{project}", less)).status == 200
    assert (await admin.delete(f"{SETS}/{project}")).status == 200
    assert (await admin.get(f"{SETS}/{project}")).json["quota_set"]["volumes"] == 10
    classes = f"{ROOT}/os-quota-class-sets"
    assert (await admin.put(f"{classes}/default", {"quota_class_set": {"volumes": 1}})).status == 200
    assert (await admin.get(f"{classes}/default")).json["quota_class_set"]["volumes"] == 1
    refusal(await make(admin), "Maximum number of volumes allowed (1) exceeded for quota 'volumes'.")


async def test_volumes_snapshots_and_gigabytes(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    await limit(cloud, volumes=2, snapshots=1, gigabytes=5, per_volume_gigabytes=4)
    refusal(await make(admin, 5), "Requested volume size 5G is larger than maximum allowed limit 4G.")
    volume_id = (await make(admin, 2)).json["volume"]["id"]
    await converge(cloud, host)
    over = "Requested volume or snapshot exceeds allowed gigabytes quota. Requested {}G, quota is 5G and {}G has been consumed."
    refusal(await make(admin, 4), over.format(4, 2))
    snapshot = {"snapshot": {"volume_id": volume_id}}
    assert (await admin.post(f"{ROOT}/snapshots", snapshot)).status == 202
    await converge(cloud, host)
    assert await used(cloud) == {
        "volumes": 1,
        "gigabytes": 4,
        "snapshots": 1,
        "volumes_local": 1,
        "gigabytes_local": 4,
        "snapshots_local": 1,
    }
    extend = f"{ROOT}/volumes/{volume_id}/action"
    refusal(await admin.post(extend, {"os-extend": {"new_size": 4}}), over.format(2, 4))
    refusal(
        await admin.post(extend, {"os-extend": {"new_size": 6}}),
        "Requested volume size 6G is larger than maximum allowed limit 4G.",
    )
    assert (await admin.post(extend, {"os-extend": {"new_size": 3}})).status == 202
    assert (await used(cloud))["gigabytes"] == 5, "what it shall have counts from now on"
    await converge(cloud, host)
    await limit(cloud, gigabytes=-1)
    refusal(await admin.post(f"{ROOT}/snapshots", snapshot), "Maximum number of snapshots allowed (1) exceeded")
    assert (await make(admin)).status == 202
    refusal(await make(admin), "Maximum number of volumes allowed (2) exceeded for quota 'volumes'.")


async def test_types_have_quotas_of_their_own(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    await limit(cloud, volumes_local=1, gigabytes_local=3)
    over = "Requested volume or snapshot exceeds allowed gigabytes_local quota. Requested 4G, quota is 3G and 0G has been consumed."
    refusal(await make(admin, 4), over)
    assert (await make(admin, 2)).status == 202
    refusal(await make(admin, 1), "Maximum number of volumes allowed (1) exceeded for quota 'volumes_local'.")


async def test_a_server_needs_room_for_its_volume(cloud: TestCloud, host: SimHost) -> None:
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post("/compute/v2.1/flavors", flavor)).status == 200
    await limit(cloud, volumes=0)
    source = {"source_type": "image", "destination_type": "volume", "uuid": IMAGE_ID, "boot_index": 0, "volume_size": 1}
    server = {"name": "s", "flavorRef": "f", "block_device_mapping_v2": [source], "networks": "none"}
    at = {"OpenStack-API-Version": "compute 2.79"}
    refused = await cloud.as_admin.post("/compute/v2.1/servers", {"server": server}, headers=at)
    assert refused.status == 403
    assert refused.json["forbidden"]["message"].startswith("Maximum number of volumes allowed (0) exceeded")
    assert (await cloud.as_admin.get("/compute/v2.1/servers")).json["servers"] == []


async def test_sixteen_writers_never_pass_a_quota(cloud: TestCloud, host: SimHost) -> None:
    await limit(cloud, volumes=9, gigabytes=10)
    statuses: list[int] = []

    async def write() -> None:
        statuses.append((await make(cloud.as_admin, 2)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(write)
    assert sorted(statuses) == [202] * 5 + [413] * 11
    assert (await used(cloud))["gigabytes"] == 10


async def test_extensions_side_by_side_never_pass_a_quota(cloud: TestCloud, host: SimHost) -> None:
    volumes = [(await make(cloud.as_admin, 1)).json["volume"]["id"] for _ in range(8)]
    await converge(cloud, host)
    await limit(cloud, gigabytes=11)
    statuses: list[int] = []

    async def extend(volume_id: str) -> None:
        action = {"os-extend": {"new_size": 2}}
        statuses.append((await cloud.as_admin.post(f"{ROOT}/volumes/{volume_id}/action", action)).status)

    async with trio.open_nursery() as nursery:
        for volume_id in volumes:
            nursery.start_soon(extend, volume_id)
    assert sorted(statuses) == [202] * 3 + [413] * 5
    assert (await used(cloud))["gigabytes"] == 11


async def test_a_retype_asks_for_room_in_the_new_type_alone(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    assert (await admin.post(f"{ROOT}/types", {"volume_type": {"name": "fast"}})).status == 200
    await limit(cloud, volumes=1, gigabytes=2, volumes_fast=1, gigabytes_fast=1)
    volume_id = (await make(admin, 2)).json["volume"]["id"]
    await converge(cloud, host)
    retype = {"os-retype": {"new_type": "fast", "migration_policy": "never"}}
    refusal(
        await admin.post(f"{ROOT}/volumes/{volume_id}/action", retype),
        "Requested volume or snapshot exceeds allowed gigabytes_fast quota. Requested 2G, quota is 1G and 0G has been consumed.",
    )
    assert (await used(cloud))["volumes_local"] == 1, "nothing has changed"
    await limit(cloud, gigabytes_fast=2)
    assert (await admin.post(f"{ROOT}/volumes/{volume_id}/action", retype)).status == 202
    assert await used(cloud) == {"volumes": 1, "gigabytes": 2, "volumes_fast": 1, "gigabytes_fast": 2}
