"""Trusts over HTTP: what is lent, for how long, and that it can't be widened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ostro.testing.cloud import Answer, ApiClient, TestCloud

V3 = "/identity/v3"
PATH = f"{V3}/OS-TRUST/trusts"


@dataclass
class Scene:
    """Ann has roles on blue, Bob and Carol have none there."""

    cloud: TestCloud
    ann: ApiClient
    bob: ApiClient
    carol: ApiClient
    ids: dict[str, str]
    project: str

    async def lend(self, giver: str = "ann", taker: str = "bob", **more: Any) -> Answer:
        client: ApiClient = getattr(self, giver)
        trust = {
            "trustor_user_id": self.ids[giver],
            "trustee_user_id": self.ids[taker],
            "impersonation": False,
            "project_id": self.project,
            "roles": [{"name": "member"}],
        }
        return await client.post(PATH, {"trust": {**trust, **more}})

    async def use(self, trust_id: str, name: str = "bob") -> Answer:
        user = {"id": self.ids[name], "password": name}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"OS-TRUST:trust": {"id": trust_id}},
        }
        return await self.cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": auth})


@pytest.fixture
async def scene(cloud: TestCloud) -> Scene:
    clients = {
        name: await cloud.add_user(name, place) for name, place in (("ann", "blue"), ("bob", "red"), ("carol", "red"))
    }
    users = (await cloud.as_admin.get(f"{V3}/users")).json["users"]
    (project,) = (await cloud.as_admin.get(f"{V3}/projects?name=blue")).json["projects"]
    return Scene(cloud, **clients, ids={user["name"]: user["id"] for user in users}, project=project["id"])


@pytest.mark.parametrize("impersonation", [False, True])
async def test_what_is_lent_can_be_used(scene: Scene, impersonation: bool) -> None:
    answer = await scene.lend(impersonation=impersonation)
    assert answer.status == 201, answer.body
    trust = answer.json["trust"]
    assert [role["name"] for role in trust["roles"]] == ["member"]
    used = await scene.use(trust["id"])
    token = used.json["token"]
    assert token["user"]["id"] == scene.ids["ann" if impersonation else "bob"]
    assert token["project"]["id"] == scene.project
    assert token["OS-TRUST:trust"]["impersonation"] is impersonation
    client = ApiClient(scene.cloud.app, used.headers["X-Subject-Token"])
    assert (await client.get("/networking/v2.0/networks")).status == 200
    again = {"auth": {"identity": {"methods": ["token"], "token": {"id": client.token}}}}
    assert (await scene.cloud.anonymous.post(f"{V3}/auth/tokens", again)).status == 403, "it can't be exchanged"
    assert (await scene.ann.delete(f"{PATH}/{trust['id']}")).status == 204
    assert (await client.get("/networking/v2.0/networks")).status == 401, "its tokens end with it"
    assert (await scene.ann.get(f"{PATH}/{trust['id']}")).status == 404


async def test_who_may(scene: Scene) -> None:
    trust = (await scene.lend()).json["trust"]["id"]
    assert (await scene.use(trust, "carol")).status == 403, "it is not hers"
    assert (await scene.bob.get(f"{PATH}/{trust}")).status == 200
    assert (await scene.carol.get(f"{PATH}/{trust}")).status == 403
    assert (await scene.bob.delete(f"{PATH}/{trust}")).status == 403
    assert (await scene.bob.get(PATH)).status == 403
    listed = await scene.bob.get(f"{PATH}?trustee_user_id={scene.ids['bob']}")
    assert [line["id"] for line in listed.json["trusts"]] == [trust]
    assert (await scene.carol.get(f"{PATH}?trustee_user_id={scene.ids['bob']}")).status == 403
    assert (await scene.lend("bob", trustor_user_id=scene.ids["ann"])).status == 403, "nobody lends another's roles"
    roles = (await scene.bob.get(f"{PATH}/{trust}/roles")).json["roles"]
    assert (await scene.bob.get(f"{PATH}/{trust}/roles/{roles[0]['id']}")).status == 200
    assert (await scene.bob.get(f"{PATH}/{trust}/roles/nothing")).status == 404


async def test_what_one_does_not_have_can_not_be_lent(scene: Scene) -> None:
    assert (await scene.lend(roles=[{"name": "admin"}])).status == 404
    assert (await scene.lend(roles=[])).status == 403
    assert (await scene.lend(expires_at="2001-01-01T00:00:00Z")).status == 400
    assert (await scene.lend(expires_at="soon")).status == 400


async def test_it_ends_with_the_role(scene: Scene) -> None:
    trust = (await scene.lend()).json["trust"]["id"]
    client = ApiClient(scene.cloud.app, (await scene.use(trust)).headers["X-Subject-Token"])
    (role,) = (await scene.cloud.as_admin.get(f"{V3}/roles?name=member")).json["roles"]
    await scene.cloud.as_admin.delete(f"{V3}/projects/{scene.project}/users/{scene.ids['ann']}/roles/{role['id']}")
    assert (await client.get("/networking/v2.0/networks")).status == 401
    assert (await scene.use(trust)).status == 403


async def test_it_ends_with_the_trustor(scene: Scene) -> None:
    trust = (await scene.lend()).json["trust"]["id"]
    client = ApiClient(scene.cloud.app, (await scene.use(trust)).headers["X-Subject-Token"])
    await scene.cloud.as_admin.patch(f"{V3}/users/{scene.ids['ann']}", {"user": {"enabled": False}})
    assert (await client.get("/networking/v2.0/networks")).status == 401
    assert (await scene.use(trust)).status == 403


async def test_uses_are_counted(scene: Scene) -> None:
    trust = (await scene.lend(remaining_uses=2)).json["trust"]["id"]
    assert [(await scene.use(trust)).status for _ in range(3)] == [201, 201, 403]
    assert (await scene.ann.get(f"{PATH}/{trust}")).status == 404


async def test_lending_on_keeps_within_bounds(scene: Scene) -> None:
    plain = (await scene.lend(impersonation=True)).json["trust"]["id"]
    scene.bob = ApiClient(scene.cloud.app, (await scene.use(plain)).headers["X-Subject-Token"])
    onward = {"trustor_user_id": scene.ids["ann"], "impersonation": True}
    assert (await scene.lend("bob", "carol", **onward)).status == 403, "it may not be lent on"
    source = (
        await scene.lend(
            impersonation=True,
            allow_redelegation=True,
            redelegation_count=1,
            roles=[{"name": "reader"}],
            expires_at="2999-01-01T00:00:00Z",
        )
    ).json["trust"]["id"]
    scene.bob = ApiClient(scene.cloud.app, (await scene.use(source)).headers["X-Subject-Token"])
    assert (await scene.lend("bob", "carol", **onward, roles=[{"name": "member"}])).status == 403, "more roles"
    onward["roles"] = [{"name": "reader"}]
    assert (await scene.lend("bob", "carol", **onward, expires_at="3000-01-01T00:00:00Z")).status == 403, "longer"
    assert (await scene.lend("bob", "carol", **onward, remaining_uses=5)).status == 403
    below = (await scene.lend("bob", "carol", **onward)).json["trust"]
    assert below["redelegated_trust_id"] == source and below["redelegation_count"] == 0
    assert below["expires_at"].startswith("2999-01-01")
    assert (await scene.use(below["id"], "carol")).status == 201
    assert (await scene.ann.delete(f"{PATH}/{source}")).status == 204
    assert (await scene.use(below["id"], "carol")).status == 403, "it ends with the one that it was made from"
