"""Flavors over HTTP."""

from __future__ import annotations

from typing import Any

from ostro.testing.cloud import ApiClient, TestCloud

COMPUTE = "/compute/v2.1"


def at(client: ApiClient, version: str) -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


def flavor(id_: str | None = None, **more: Any) -> dict[str, Any]:
    return {"flavor": {"name": id_ or "auto", "id": id_, "ram": 128, "vcpus": 1, "disk": 0, **more}}


async def test_create_show_list_delete(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    made = (await admin.post(f"{COMPUTE}/flavors", flavor("a", swap=64))).json["flavor"]
    assert (made["id"], made["swap"], made["OS-FLV-EXT-DATA:ephemeral"]) == ("a", 64, 0)
    drawn = (await admin.post(f"{COMPUTE}/flavors", flavor())).json["flavor"]
    assert len(drawn["id"]) == 36
    assert drawn["swap"] == "" and "description" not in drawn
    assert (await admin.post(f"{COMPUTE}/flavors", flavor("a"))).status == 409
    assert (await admin.post(f"{COMPUTE}/flavors", flavor("b", name="a"))).status == 409
    assert (await admin.post(f"{COMPUTE}/flavors", flavor("b", ram=0))).status == 400
    assert (await admin.post(f"{COMPUTE}/flavors", flavor("b", bogus=1))).status == 400
    assert (await admin.post(f"{COMPUTE}/flavors", flavor("b", description="x"))).status == 400
    shown = (await at(admin, "2.75").get(f"{COMPUTE}/flavors/{drawn['id']}")).json["flavor"]
    assert (shown["swap"], shown["description"], shown["extra_specs"]) == (0, None, {})
    listed = (await admin.get(f"{COMPUTE}/flavors")).json["flavors"]
    assert {f["id"] for f in listed} == {"a", drawn["id"]}
    assert (await admin.delete(f"{COMPUTE}/flavors/a")).status == 202
    assert (await admin.get(f"{COMPUTE}/flavors/a")).status == 404
    assert (await admin.delete(f"{COMPUTE}/flavors/a")).status == 404


async def test_only_administrators_make_flavors(cloud: TestCloud) -> None:
    member = await cloud.add_user("ann", "alpha")
    assert (await member.post(f"{COMPUTE}/flavors", flavor("a"))).status == 403


async def test_list_filters_sorts_and_pages(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    for id_, ram in (("a", 512), ("b", 128), ("c", 256)):
        await admin.post(f"{COMPUTE}/flavors", flavor(id_, ram=ram))

    async def ids(query: str) -> list[str]:
        return [f["id"] for f in (await admin.get(f"{COMPUTE}/flavors/detail{query}")).json["flavors"]]

    assert await ids("?minRam=200") == ["a", "c"]
    assert await ids("?sort_key=memory_mb&sort_dir=asc") == ["b", "c", "a"]
    first = (await admin.get(f"{COMPUTE}/flavors?limit=2")).json
    assert [f["id"] for f in first["flavors"]] == ["a", "b"]
    assert "marker=b" in first["flavors_links"][0]["href"]
    assert await ids("?marker=b") == ["c"]
    assert (await admin.get(f"{COMPUTE}/flavors?minRam=x")).status == 400
    assert (await admin.get(f"{COMPUTE}/flavors?marker=nope")).status == 400


async def test_access_to_private_flavors(cloud: TestCloud) -> None:
    member = await cloud.add_user("ann", "alpha")
    token = (await member.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": member.token})).json
    project_id = token["token"]["project"]["id"]
    await cloud.as_admin.post(f"{COMPUTE}/flavors", {**flavor("p", **{"os-flavor-access:is_public": False})})
    assert (await member.get(f"{COMPUTE}/flavors/p")).status == 404
    assert (await member.get(f"{COMPUTE}/flavors")).json["flavors"] == []
    action = f"{COMPUTE}/flavors/p/action"
    given = await cloud.as_admin.post(action, {"addTenantAccess": {"tenant": project_id}})
    assert given.json == {"flavor_access": [{"flavor_id": "p", "tenant_id": project_id}]}
    assert (await cloud.as_admin.post(action, {"addTenantAccess": {"tenant": project_id}})).status == 409
    assert (await member.get(f"{COMPUTE}/flavors/p")).status == 200
    assert [f["id"] for f in (await member.get(f"{COMPUTE}/flavors")).json["flavors"]] == ["p"]
    taken = await cloud.as_admin.post(action, {"removeTenantAccess": {"tenant": project_id}})
    assert taken.json == {"flavor_access": []}
    assert (await cloud.as_admin.post(action, {"removeTenantAccess": {"tenant": project_id}})).status == 404


async def test_extra_specs(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    await admin.post(f"{COMPUTE}/flavors", flavor("a"))
    path = f"{COMPUTE}/flavors/a/os-extra_specs"
    assert (await admin.post(path, {"extra_specs": {"hw:x": "1", "b": "2"}})).status == 200
    assert (await admin.put(f"{path}/b", {"b": "3"})).json == {"b": "3"}
    assert (await admin.put(f"{path}/b", {"c": "3"})).status == 400
    assert (await admin.get(path)).json == {"extra_specs": {"hw:x": "1", "b": "3"}}
    assert (await admin.delete(f"{path}/b")).status == 200
    assert (await admin.get(f"{path}/b")).status == 404


async def test_description_by_microversion(cloud: TestCloud) -> None:
    admin = at(cloud.as_admin, "2.55")
    await admin.post(f"{COMPUTE}/flavors", flavor("a", description="old"))
    answer = await admin.put(f"{COMPUTE}/flavors/a", {"flavor": {"description": "new"}})
    assert answer.json["flavor"]["description"] == "new"
    assert (await cloud.as_admin.put(f"{COMPUTE}/flavors/a", {"flavor": {"description": "x"}})).status == 404
