"""Roles and implications over HTTP."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud

PATH = "/identity/v3/roles"


async def role_id(cloud: TestCloud, name: str) -> str:
    found: str = (await cloud.as_admin.get(f"{PATH}?name={name}")).json["roles"][0]["id"]
    return found


async def test_create_show_update_delete(cloud: TestCloud) -> None:
    made = await cloud.as_admin.post(PATH, {"role": {"name": "auditor"}})
    assert made.status == 201
    role = made.json["role"]
    assert (role["domain_id"], role["description"], role["options"]) == (None, None, {})
    url = f"{PATH}/{role['id']}"
    assert (await cloud.as_admin.get(url)).json["role"] == role
    assert (await cloud.as_admin.post(PATH, {"role": {"name": "auditor"}})).status == 409
    changed = await cloud.as_admin.patch(url, {"role": {"description": "reads"}})
    assert changed.json["role"] == {**role, "description": "reads"}
    assert (await cloud.as_admin.delete(url)).status == 204
    assert (await cloud.as_admin.get(url)).status == 404


async def test_list(cloud: TestCloud) -> None:
    roles = (await cloud.as_admin.get(PATH)).json["roles"]
    assert [role["name"] for role in roles] == ["admin", "manager", "member", "reader", "service"]
    assert (await cloud.as_admin.get(PATH + "?domain_id=default")).json["roles"] == []


async def test_implications(cloud: TestCloud) -> None:
    member = await role_id(cloud, "member")
    implied = (await cloud.as_admin.get(f"{PATH}/{member}/implies")).json["role_inference"]
    assert implied["prior_role"]["name"] == "member"
    assert [role["name"] for role in implied["implies"]] == ["reader"]
    rules = (await cloud.as_admin.get("/identity/v3/role_inferences")).json["role_inferences"]
    assert {rule["prior_role"]["name"] for rule in rules} == {"admin", "manager", "member"}


async def test_an_implication_takes_effect_and_ends_at_once(cloud: TestCloud) -> None:
    auditor = (await cloud.as_admin.post(PATH, {"role": {"name": "auditor"}})).json["role"]["id"]
    ann = await cloud.add_user("ann", "blue", "auditor")
    member, admin = await role_id(cloud, "member"), await role_id(cloud, "admin")
    url = f"{PATH}/{auditor}/implies/{member}"
    networks = "/networking/v2.0/networks"
    assert (await ann.get(networks)).status == 403
    assert (await cloud.as_admin.get(url)).status == 404
    assert (await cloud.as_admin.put(url)).status == 201
    assert (await cloud.as_admin.request("HEAD", url)).status == 204
    assert (await ann.get(networks)).status == 200, "a member is a reader"
    assert (await cloud.as_admin.put(f"{PATH}/{member}/implies/{admin}")).status == 403, "that would be a circle"
    assert (await cloud.as_admin.delete(url)).status == 204
    assert (await ann.get(networks)).status == 403
