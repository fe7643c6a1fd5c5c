"""The image service's limits over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ostro.services.identity.catalog import seed_limits
from ostro.testing.cloud import ApiClient, TestCloud

IMAGES = "/image/v2/images"
MIB = 1 << 20


@pytest.fixture
async def limited(cloud: TestCloud) -> TestCloud:
    await cloud.db.run(seed_limits, cloud.world)
    return cloud


async def limit(cloud: TestCloud, **numbers: int) -> None:
    """Limit the administrator's project."""
    admin = cloud.as_admin
    (service,) = (await admin.get("/identity/v3/services?type=image")).json["services"]
    (project,) = (await admin.get("/identity/v3/projects?name=admin")).json["projects"]
    key = {"service_id": service["id"], "project_id": project["id"]}
    limits = [{**key, "resource_name": name, "resource_limit": number} for name, number in numbers.items()]
    assert (await admin.post("/identity/v3/limits", {"limits": limits})).status == 201


async def create(client: ApiClient) -> Any:
    return await client.post(IMAGES, {"name": "i", "disk_format": "raw", "container_format": "bare"})


async def upload(client: ApiClient, image_id: str, size: int, **headers: str) -> int:
    path = f"{IMAGES}/{image_id}/file"
    sent = {"Content-Type": "application/octet-stream", **headers}
    return (await client.put(path, data=bytes(size), headers=sent)).status


async def usage(client: ApiClient) -> dict[str, int]:
    found = (await client.get("/image/v2/info/usage")).json["usage"]
    return {name: item["usage"] for name, item in found.items()}


async def test_images_and_their_size(limited: TestCloud) -> None:
    admin = limited.as_admin
    assert (await admin.get("/image/v2/info/usage")).json["usage"]["image_size_total"] == {"limit": -1, "usage": 0}
    await limit(limited, image_count_total=2, image_size_total=3)
    first, second = [(await create(admin)).json["id"] for _ in range(2)]
    refused = await create(admin)
    assert refused.status == 413
    assert "Resource image_count_total is over limit of 2 due to current usage 2 and delta 1" in refused.body.decode()
    assert await upload(admin, first, 2 * MIB) == 204
    assert await upload(admin, second, MIB + 1) == 413
    assert (await admin.get(f"{IMAGES}/{second}")).json["status"] == "queued", "as it was"
    assert await upload(admin, second, MIB + 1, **{"x-openstack-image-size": str(1)}) in (400, 413), "a lie"
    assert await upload(admin, second, MIB) == 204
    assert await usage(admin) == {
        "image_size_total": 3,
        "image_stage_total": 0,
        "image_count_total": 2,
        "image_count_uploading": 0,
    }
    assert (await admin.delete(f"{IMAGES}/{second}")).status == 204
    assert (await usage(admin))["image_size_total"] == 2
    assert (await create(await limited.add_user("eve", "evil"))).status == 201


async def test_uploads_side_by_side_never_pass_a_limit(limited: TestCloud) -> None:
    admin = limited.as_admin
    images = [(await create(admin)).json["id"] for _ in range(8)]
    await limit(limited, image_size_total=3)
    statuses: list[int] = []

    async def write(image_id: str) -> None:
        statuses.append(await upload(admin, image_id, MIB))

    async with trio.open_nursery() as nursery:
        for image_id in images:
            nursery.start_soon(write, image_id)
    assert sorted(statuses) == [204] * 3 + [413] * 5
    assert (await usage(admin))["image_size_total"] == 3


async def test_uploads_under_way(limited: TestCloud) -> None:
    await limit(limited, image_count_uploading=0)
    image_id = (await create(limited.as_admin)).json["id"]
    assert await upload(limited.as_admin, image_id, 1) == 413
