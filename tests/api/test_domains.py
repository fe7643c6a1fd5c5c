"""Domains over HTTP."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud

PATH = "/identity/v3/domains"


async def test_create_list_update_delete(cloud: TestCloud) -> None:
    made = await cloud.as_admin.post(PATH, {"domain": {"name": "heroes", "description": "d", "tags": ["a"]}})
    assert made.status == 201
    domain = made.json["domain"]
    assert domain["tags"] == ["a"]
    url = f"{PATH}/{domain['id']}"
    listed = await cloud.as_admin.get(PATH + "?name=heroes")
    assert listed.json["domains"] == [domain]
    assert {d["name"] for d in (await cloud.as_admin.get(PATH)).json["domains"]} == {"Default", "heroes"}
    assert (await cloud.as_admin.post(PATH, {"domain": {"name": "heroes"}})).status == 409
    assert (await cloud.as_admin.delete(url)).status == 403, "it is enabled"
    off = await cloud.as_admin.patch(url, {"domain": {"enabled": False}})
    assert off.json["domain"] == {**domain, "enabled": False}
    assert (await cloud.as_admin.delete(url)).status == 204
    assert (await cloud.as_admin.get(url)).status == 404


async def test_the_same_names_may_be_used_in_another_domain(cloud: TestCloud) -> None:
    domain = (await cloud.as_admin.post(PATH, {"domain": {"name": "heroes"}})).json["domain"]
    project = {"name": "admin", "domain_id": domain["id"]}
    assert (await cloud.as_admin.post("/identity/v3/projects", {"project": project})).status == 201
    user = {"name": "admin", "domain_id": domain["id"]}
    assert (await cloud.as_admin.post("/identity/v3/users", {"user": user})).status == 201


async def test_a_domain_takes_all_that_it_holds_with_it(cloud: TestCloud) -> None:
    domain_id = (await cloud.as_admin.post(PATH, {"domain": {"name": "heroes"}})).json["domain"]["id"]
    made = await cloud.as_admin.post("/identity/v3/projects", {"project": {"name": "cave", "domain_id": domain_id}})
    project_id = made.json["project"]["id"]
    below = {"name": "tunnel", "domain_id": domain_id, "parent_id": project_id}
    await cloud.as_admin.post("/identity/v3/projects", {"project": below})
    made = await cloud.as_admin.post(
        "/identity/v3/users", {"user": {"name": "bruce", "domain_id": domain_id, "password": "bat"}}
    )
    user_id = made.json["user"]["id"]
    roles = (await cloud.as_admin.get("/identity/v3/roles?name=member")).json["roles"]
    grant = f"/identity/v3/projects/{project_id}/users/{user_id}/roles/{roles[0]['id']}"
    assert (await cloud.as_admin.put(grant)).status == 204
    bruce = await cloud.login("bruce", "bat", "cave", domain_id)
    assert (await bruce.get("/identity/v3/auth/projects")).status == 200
    await cloud.as_admin.patch(f"{PATH}/{domain_id}", {"domain": {"enabled": False}})
    assert (await bruce.get("/identity/v3/auth/projects")).status == 401
    assert (await cloud.as_admin.delete(f"{PATH}/{domain_id}")).status == 204
    assert (await cloud.as_admin.get(f"/identity/v3/projects/{project_id}")).status == 404
    assert (await cloud.as_admin.get(f"/identity/v3/users/{user_id}")).status == 404
    assignments = await cloud.as_admin.get(f"/identity/v3/role_assignments?user.id={user_id}")
    assert assignments.json["role_assignments"] == []


async def test_the_default_domain_stays(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.delete(f"{PATH}/default")).status == 403
