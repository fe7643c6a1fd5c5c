"""Role assignments over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"


@dataclass
class Scene:
    """A user without roles, a project and one below it."""

    cloud: TestCloud
    user_id: str
    top_id: str
    below_id: str
    roles: dict[str, str]

    def grant_path(self, where: str, role: str, *, suffix: str = "") -> str:
        return f"{V3}/{where}/users/{self.user_id}/roles/{self.roles[role]}{suffix}"

    async def listed(self, query: str) -> list[dict[str, Any]]:
        answer = await self.cloud.as_admin.get(f"{V3}/role_assignments?user.id={self.user_id}&{query}")
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.json["role_assignments"]
        return found

    async def login(self, project_id: str) -> int:
        identity = {"methods": ["password"], "password": {"user": {"id": self.user_id, "password": "pw"}}}
        body = {"auth": {"identity": identity, "scope": {"project": {"id": project_id}}}}
        return (await self.cloud.anonymous.post(f"{V3}/auth/tokens", body)).status


@pytest.fixture
async def scene(cloud: TestCloud) -> Scene:
    admin = cloud.as_admin
    top = (await admin.post(f"{V3}/projects", {"project": {"name": "top"}})).json["project"]["id"]
    below = (await admin.post(f"{V3}/projects", {"project": {"name": "below", "parent_id": top}})).json["project"]["id"]
    user = (await admin.post(f"{V3}/users", {"user": {"name": "ann", "password": "pw"}})).json["user"]["id"]
    roles = {role["name"]: role["id"] for role in (await admin.get(f"{V3}/roles")).json["roles"]}
    return Scene(cloud, user, top, below, roles)


@pytest.mark.parametrize("where", ["projects/{top}", "domains/default", "system"])
async def test_grant_check_list_revoke(scene: Scene, where: str) -> None:
    admin = scene.cloud.as_admin
    path = scene.grant_path(where.format(top=scene.top_id), "member")
    assert (await admin.request("HEAD", path)).status == 404
    assert (await admin.put(path)).status == 204
    assert (await admin.put(path)).status == 204, "again is no error"
    assert (await admin.request("HEAD", path)).status == 204
    assert (await admin.get(path)).status == 204
    roles = (await admin.get(path.rsplit("/", 1)[0])).json["roles"]
    assert [role["name"] for role in roles] == ["member"]
    assert (await admin.delete(path)).status == 204
    assert (await admin.delete(path)).status == 404
    assert (await admin.request("HEAD", path)).status == 404


async def test_grants_of_what_is_not_there_are_404(scene: Scene) -> None:
    admin, member = scene.cloud.as_admin, scene.roles["member"]
    for path in (
        f"{V3}/projects/nothing/users/{scene.user_id}/roles/{member}",
        f"{V3}/projects/{scene.top_id}/users/nothing/roles/{member}",
        f"{V3}/projects/{scene.top_id}/users/{scene.user_id}/roles/nothing",
        f"{V3}/domains/{scene.top_id}/users/{scene.user_id}/roles/{member}",
    ):
        assert (await admin.put(path)).status == 404, path


async def test_a_role_takes_effect_and_ends_at_once(scene: Scene) -> None:
    path = scene.grant_path(f"projects/{scene.top_id}", "member")
    assert await scene.login(scene.top_id) == 401
    await scene.cloud.as_admin.put(path)
    assert await scene.login(scene.top_id) == 201
    ann = await scene.cloud.login("ann", "pw", "top")
    assert (await ann.get(f"{V3}/auth/projects")).status == 200
    await scene.cloud.as_admin.delete(path)
    assert (await ann.get(f"{V3}/auth/projects")).status == 401


async def test_inherited_roles_hold_below_and_not_there(scene: Scene) -> None:
    where = f"OS-INHERIT/projects/{scene.top_id}"
    path = scene.grant_path(where, "member", suffix="/inherited_to_projects")
    assert (await scene.cloud.as_admin.put(path)).status == 204
    assert (await scene.cloud.as_admin.get(path)).status == 204
    assert await scene.login(scene.top_id) == 401
    assert await scene.login(scene.below_id) == 201
    (direct,) = await scene.listed("")
    assert direct["scope"] == {"project": {"id": scene.top_id}, "OS-INHERIT:inherited_to": "projects"}
    effective = await scene.listed("effective")
    assert {line["scope"]["project"]["id"] for line in effective} == {scene.below_id}
    assert await scene.listed("scope.OS-INHERIT:inherited_to=projects") == [direct]
    assert (await scene.cloud.as_admin.delete(path)).status == 204
    assert await scene.login(scene.below_id) == 401


async def test_a_domains_inherited_role_holds_on_all_its_projects(scene: Scene) -> None:
    path = scene.grant_path("OS-INHERIT/domains/default", "reader", suffix="/inherited_to_projects")
    assert (await scene.cloud.as_admin.put(path)).status == 204
    assert await scene.login(scene.top_id) == 201
    assert await scene.login(scene.below_id) == 201


async def test_the_list_and_its_filters(scene: Scene) -> None:
    admin = scene.cloud.as_admin
    await admin.put(scene.grant_path(f"projects/{scene.top_id}", "member"))
    await admin.put(scene.grant_path("system", "reader"))
    assert len(await scene.listed("")) == 2
    (on_system,) = await scene.listed("scope.system=all")
    assert on_system["scope"] == {"system": {"all": True}}
    assert on_system["role"] == {"id": scene.roles["reader"]}
    (on_project,) = await scene.listed(f"scope.project.id={scene.top_id}")
    link = scene.grant_path(f"projects/{scene.top_id}", "member")
    assert on_project["links"]["assignment"].endswith(link)
    assert await scene.listed(f"role.id={scene.roles['admin']}") == []
    effective = await scene.listed(f"scope.project.id={scene.top_id}&effective&include_names")
    assert [line["role"]["name"] for line in effective] == ["member", "reader"]
    assert effective[0]["user"] == {
        "id": scene.user_id,
        "name": "ann",
        "domain": {"id": "default", "name": "Default"},
    }
    assert effective[0]["scope"]["project"] == {
        "id": scene.top_id,
        "name": "top",
        "domain": {"id": "default", "name": "Default"},
    }


async def test_who_may_list(scene: Scene) -> None:
    await scene.cloud.as_admin.put(scene.grant_path(f"projects/{scene.top_id}", "member"))
    ann = await scene.cloud.login("ann", "pw", "top")
    assert (await ann.get(f"{V3}/role_assignments?user.id={scene.user_id}")).status == 403
    assert (await ann.get(f"{V3}/role_assignments")).status == 403
    assert (await ann.get(scene.grant_path(f"projects/{scene.top_id}", "member"))).status == 403
