"""OS-EP-FILTER over HTTP: what projects are tied to is all that their catalogues show."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import ApiClient, TestCloud

V3 = "/identity/v3"
ROOT = f"{V3}/OS-EP-FILTER"


async def types_in_catalog(client: ApiClient) -> set[str]:
    return {entry["type"] for entry in (await client.get(f"{V3}/auth/catalog")).json["catalog"]}


@pytest.fixture
async def ann(cloud: TestCloud) -> ApiClient:
    return await cloud.add_user("ann", "blue")


async def find(cloud: TestCloud, what: str) -> dict[str, Any]:
    found: dict[str, Any] = (await cloud.as_admin.get(f"{V3}/{what}")).json[what.partition("?")[0]][0]
    return found


async def test_groups_filter_the_catalogue(cloud: TestCloud, ann: ApiClient) -> None:
    admin, project = cloud.as_admin, (await find(cloud, "projects?name=blue"))["id"]
    service = await find(cloud, "services?type=image")
    given = {"endpoint_group": {"name": "pictures", "filters": {"service_id": service["id"], "interface": "public"}}}
    created = await admin.post(f"{ROOT}/endpoint_groups", given)
    assert created.status == 201, created.body
    group = created.json["endpoint_group"]
    one, tie = f"{ROOT}/endpoint_groups/{group['id']}", f"{ROOT}/endpoint_groups/{group['id']}/projects/{project}"
    wrong = {"endpoint_group": {"name": "x", "filters": {"url": "x"}}}
    assert (await admin.post(f"{ROOT}/endpoint_groups", wrong)).status == 400
    assert len((await admin.get(f"{one}/endpoints")).json["endpoints"]) == 1
    assert "compute" in await types_in_catalog(ann)
    assert (await admin.get(tie)).status == 404
    assert (await admin.put(tie)).status == 204
    assert (await admin.get(tie)).json["endpoint_group"]["id"] == group["id"]
    assert await types_in_catalog(ann) == {"image"}
    assert [p["id"] for p in (await admin.get(f"{one}/projects")).json["projects"]] == [project]
    assert len((await admin.get(f"{ROOT}/projects/{project}/endpoint_groups")).json["endpoint_groups"]) == 1
    assert len((await admin.get(f"{ROOT}/projects/{project}/endpoints")).json["endpoints"]) == 1
    assert (await ann.put(tie)).status == 403
    changed = await admin.patch(one, {"endpoint_group": {"filters": {"service_id": "another"}}})
    assert changed.status == 200
    assert await types_in_catalog(ann) == set(), "the group is empty now"
    assert (await admin.delete(tie)).status == 204
    assert (await admin.delete(tie)).status == 404
    assert "compute" in await types_in_catalog(ann)
    assert (await admin.delete(one)).status == 204


async def test_single_endpoints(cloud: TestCloud, ann: ApiClient) -> None:
    admin, project = cloud.as_admin, (await find(cloud, "projects?name=blue"))["id"]
    service = await find(cloud, "services?type=compute")
    endpoint = (await find(cloud, f"endpoints?service_id={service['id']}&interface=internal"))["id"]
    tie = f"{ROOT}/projects/{project}/endpoints/{endpoint}"
    assert (await admin.get(tie)).status == 404
    assert (await admin.put(tie)).status == 204
    assert (await admin.get(tie)).status == 204
    assert await types_in_catalog(ann) == {"compute"}
    listed = (await admin.get(f"{ROOT}/endpoints/{endpoint}/projects")).json["projects"]
    assert [p["id"] for p in listed] == [project]
    assert (await admin.delete(tie)).status == 204
    assert (await admin.delete(tie)).status == 404
