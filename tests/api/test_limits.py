"""Unified limits over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"


@pytest.fixture
async def place(cloud: TestCloud) -> dict[str, Any]:
    (compute,) = (await cloud.as_admin.get(f"{V3}/services?type=compute")).json["services"]
    return {"service_id": compute["id"], "region_id": "RegionOne", "resource_name": "cores"}


async def test_registered_limits_and_limits(cloud: TestCloud, place: dict[str, Any]) -> None:
    admin = cloud.as_admin
    body = {"registered_limits": [{**place, "default_limit": 10}]}
    (registered,) = (await admin.post(f"{V3}/registered_limits", body)).json["registered_limits"]
    assert (await admin.post(f"{V3}/registered_limits", body)).status == 409
    blue = await cloud.add_user("ann", "blue")
    (project,) = (await admin.get(f"{V3}/projects?name=blue")).json["projects"]
    given = {"limits": [{**place, "project_id": project["id"], "resource_limit": 5}]}
    (limit,) = (await admin.post(f"{V3}/limits", given)).json["limits"]
    assert (limit["domain_id"], limit["resource_limit"]) == (None, 5)
    assert (await admin.post(f"{V3}/limits", given)).status == 409
    assert (await blue.get(f"{V3}/limits")).json["limits"] == [limit]
    assert (await blue.get(f"{V3}/limits/{limit['id']}")).status == 200
    red = await cloud.add_user("bob", "red")
    assert (await red.get(f"{V3}/limits")).json["limits"] == []
    assert (await red.get(f"{V3}/limits/{limit['id']}")).status == 403
    assert (await red.get(f"{V3}/registered_limits")).json["registered_limits"] == [registered]
    one = f"{V3}/registered_limits/{registered['id']}"
    assert (await admin.delete(one)).status == 403, "a project has its own"
    moved = {"registered_limit": {"resource_name": "ram"}}
    assert (await admin.patch(one, moved)).status == 403
    changed = await admin.patch(one, {"registered_limit": {"default_limit": 20}})
    assert changed.json["registered_limit"]["default_limit"] == 20
    changed = await admin.patch(f"{V3}/limits/{limit['id']}", {"limit": {"resource_limit": 7, "description": "d"}})
    assert (changed.json["limit"]["resource_limit"], changed.json["limit"]["description"]) == (7, "d")
    assert (await blue.patch(f"{V3}/limits/{limit['id']}", {"limit": {"resource_limit": 99}})).status == 403
    assert (await admin.delete(f"{V3}/limits/{limit['id']}")).status == 204
    assert (await admin.patch(one, moved)).json["registered_limit"]["resource_name"] == "ram"
    assert (await admin.delete(one)).status == 204
    assert (await admin.get(one)).status == 404
    assert (await blue.get(f"{V3}/limits/model")).json["model"]["name"] == "flat"


async def test_refusals(cloud: TestCloud, place: dict[str, Any]) -> None:
    admin = cloud.as_admin
    body = {"registered_limits": [{**place, "default_limit": 1}, {**place, "service_id": "x", "default_limit": 1}]}
    assert (await admin.post(f"{V3}/registered_limits", body)).status == 400
    assert (await admin.get(f"{V3}/registered_limits")).json["registered_limits"] == [], "all or none"
    (project,) = (await admin.get(f"{V3}/projects?name=admin")).json["projects"]
    loose = {"limits": [{**place, "project_id": project["id"], "resource_limit": 5}]}
    assert (await admin.post(f"{V3}/limits", loose)).status == 403, "nothing is registered"
    both = {"limits": [{**place, "project_id": project["id"], "domain_id": "default", "resource_limit": 5}]}
    assert (await admin.post(f"{V3}/limits", both)).status == 400
