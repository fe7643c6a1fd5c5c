"""Groups over HTTP: their members have their roles, at once and no longer than they are members."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"


@dataclass
class Scene:
    """A group without members or roles, a user, and a project."""

    cloud: TestCloud
    group: str
    user: str
    project: str
    member: str

    async def login(self) -> int:
        identity = {"methods": ["password"], "password": {"user": {"id": self.user, "password": "pw"}}}
        body = {"auth": {"identity": identity, "scope": {"project": {"id": self.project}}}}
        return (await self.cloud.anonymous.post(f"{V3}/auth/tokens", body)).status


@pytest.fixture
async def scene(cloud: TestCloud) -> Scene:
    admin = cloud.as_admin
    group = (await admin.post(f"{V3}/groups", {"group": {"name": "crew", "colour": "red"}})).json["group"]
    assert (group["domain_id"], group["description"], group["colour"]) == ("default", "", "red")
    user = (await admin.post(f"{V3}/users", {"user": {"name": "ann", "password": "pw"}})).json["user"]["id"]
    project = (await admin.post(f"{V3}/projects", {"project": {"name": "ship"}})).json["project"]["id"]
    (role,) = (await admin.get(f"{V3}/roles?name=member")).json["roles"]
    return Scene(cloud, group["id"], user, project, role["id"])


async def test_a_members_roles_come_and_go(scene: Scene) -> None:
    admin = scene.cloud.as_admin
    grant = f"{V3}/projects/{scene.project}/groups/{scene.group}/roles/{scene.member}"
    membership = f"{V3}/groups/{scene.group}/users/{scene.user}"
    assert (await admin.put(grant)).status == 204
    assert await scene.login() == 401
    assert (await admin.get(membership)).status == 404
    assert (await admin.put(membership)).status == 204
    assert (await admin.put(membership)).status == 204, "again is no error"
    assert (await admin.request("HEAD", membership)).status == 204
    assert await scene.login() == 201
    ann = await scene.cloud.login("ann", "pw", "ship")
    assert [p["id"] for p in (await ann.get(f"{V3}/auth/projects")).json["projects"]] == [scene.project]
    assert [u["id"] for u in (await admin.get(f"{V3}/groups/{scene.group}/users")).json["users"]] == [scene.user]
    assert [g["id"] for g in (await ann.get(f"{V3}/users/{scene.user}/groups")).json["groups"]] == [scene.group]
    assert (await admin.delete(membership)).status == 204
    assert (await admin.delete(membership)).status == 404
    assert (await ann.get(f"{V3}/auth/projects")).status == 401, "the token is worth nothing at once"


async def test_a_deleted_groups_roles_are_gone(scene: Scene) -> None:
    admin = scene.cloud.as_admin
    await admin.put(f"{V3}/system/groups/{scene.group}/roles/{scene.member}")
    await admin.put(f"{V3}/groups/{scene.group}/users/{scene.user}")
    listed = (await admin.get(f"{V3}/role_assignments?group.id={scene.group}")).json["role_assignments"]
    assert [line["group"] for line in listed] == [{"id": scene.group}]
    effective = (await admin.get(f"{V3}/role_assignments?user.id={scene.user}&effective&include_names")).json
    line = effective["role_assignments"][0]
    assert line["user"]["name"] == "ann" and line["links"]["membership"].endswith(f"/users/{scene.user}")
    assert (await admin.delete(f"{V3}/groups/{scene.group}")).status == 204
    assert (await admin.get(f"{V3}/role_assignments?user.id={scene.user}&effective")).json["role_assignments"] == []
    assert (await admin.get(f"{V3}/groups/{scene.group}")).status == 404


async def test_change_list_and_refusals(scene: Scene) -> None:
    admin = scene.cloud.as_admin
    assert (await admin.post(f"{V3}/groups", {"group": {"name": "crew"}})).status == 409
    assert (await admin.post(f"{V3}/groups", {"group": {"name": " "}})).status == 400
    changed = await admin.patch(f"{V3}/groups/{scene.group}", {"group": {"name": "hands", "colour": None}})
    assert changed.json["group"]["name"] == "hands" and "colour" not in changed.json["group"]
    moved = {"group": {"domain_id": "elsewhere"}}
    assert (await admin.patch(f"{V3}/groups/{scene.group}", moved)).status == 403
    assert [g["name"] for g in (await admin.get(f"{V3}/groups?name__startswith=ha")).json["groups"]] == ["hands"]
    assert (await admin.get(f"{V3}/role_assignments?group.id={scene.group}&effective")).status == 400
    bob = await scene.cloud.add_user("bob", "ship")
    assert (await bob.get(f"{V3}/groups")).status == 403
    assert (await bob.put(f"{V3}/groups/{scene.group}/users/{scene.user}")).status == 403


async def test_a_domains_manager_keeps_to_its_domain(scene: Scene) -> None:
    admin = scene.cloud.as_admin
    domain = (await admin.post(f"{V3}/domains", {"domain": {"name": "fleet"}})).json["domain"]["id"]
    boss = {"user": {"name": "boss", "password": "pw", "domain_id": domain}}
    user = (await admin.post(f"{V3}/users", boss)).json["user"]["id"]
    (manager,) = (await admin.get(f"{V3}/roles?name=manager")).json["roles"]
    await admin.put(f"{V3}/domains/{domain}/users/{user}/roles/{manager['id']}")
    identity = {"methods": ["password"], "password": {"user": {"id": user, "password": "pw"}}}
    body = {"auth": {"identity": identity, "scope": {"domain": {"id": domain}}}}
    token = (await scene.cloud.anonymous.post(f"{V3}/auth/tokens", body)).headers["X-Subject-Token"]
    as_boss = scene.cloud.anonymous.with_headers(X_Auth_Token=token)
    assert (await as_boss.post(f"{V3}/groups", {"group": {"name": "mine", "domain_id": domain}})).status == 201
    assert (await as_boss.post(f"{V3}/groups", {"group": {"name": "mine", "domain_id": "default"}})).status == 403
    assert [g["name"] for g in (await as_boss.get(f"{V3}/groups")).json["groups"]] == ["mine"]
    assert (await as_boss.put(f"{V3}/groups/{scene.group}/users/{user}")).status == 403
    (administrator,) = (await admin.get(f"{V3}/roles?name=admin")).json["roles"]
    widened = f"{V3}/domains/{domain}/users/{user}/roles/{administrator['id']}"
    assert (await as_boss.put(widened)).status == 403, "a manager can't make itself an administrator"
