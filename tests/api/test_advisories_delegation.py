"""Escalations known from Keystone's advisories of 2026, and older ones about keys and trusts: none of them works here.

What is delegated (a trust, an application credential, OAuth, a signature) speaks for one project, and leads to nothing beyond.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import pytest

from ostro.testing.cloud import Answer, ApiClient, TestCloud

V3 = "/identity/v3"
TOKENS = f"{V3}/auth/tokens"
TRUSTS = f"{V3}/OS-TRUST/trusts"
CREDENTIALS = f"{V3}/credentials"


@dataclass
class Scene:
    """Ann has roles on blue and on red, Bob has one on blue."""

    cloud: TestCloud
    ann: ApiClient
    bob: ApiClient
    ann_id: str
    bob_id: str
    blue: str
    red: str

    async def log_in(self, identity: dict[str, Any], **scope: Any) -> Answer:
        auth = {"identity": identity, **({"scope": scope} if scope else {})}
        return await self.cloud.anonymous.post(TOKENS, {"auth": auth})

    async def token(self, identity: dict[str, Any], **scope: Any) -> ApiClient:
        answer = await self.log_in(identity, **scope)
        assert answer.status == 201, answer.body
        return ApiClient(self.cloud.app, answer.headers["X-Subject-Token"])

    async def by_application_credential(self, *, unrestricted: bool) -> ApiClient:
        """Ann's program on blue."""
        given = {"application_credential": {"name": f"robot-{unrestricted}", "unrestricted": unrestricted}}
        made = (await self.ann.post(f"{V3}/users/{self.ann_id}/application_credentials", given)).json
        shown = {key: made["application_credential"][key] for key in ("id", "secret")}
        return await self.token({"methods": ["application_credential"], "application_credential": shown})

    async def by_trust(self) -> ApiClient:
        """Bob as Ann on blue."""
        trust = {
            "trustor_user_id": self.ann_id,
            "trustee_user_id": self.bob_id,
            "impersonation": True,
            "project_id": self.blue,
            "roles": [{"name": "member"}],
        }
        made = await self.ann.post(TRUSTS, {"trust": trust})
        return await self.token(password("bob"), **{"OS-TRUST:trust": {"id": made.json["trust"]["id"]}})

    async def keys(self, project: str, client: ApiClient | None = None) -> Answer:
        """A pair of EC2 keys of Ann's."""
        return await (client or self.ann).post(f"{V3}/users/{self.ann_id}/credentials/OS-EC2", {"tenant_id": project})


def password(name: str) -> dict[str, Any]:
    user = {"name": name, "domain": {"id": "default"}, "password": name}
    return {"methods": ["password"], "password": {"user": user}}


@pytest.fixture
async def scene(cloud: TestCloud) -> Scene:
    ann, bob = await cloud.add_user("ann", "blue"), await cloud.add_user("bob", "blue")
    await cloud.add_user("rita", "red")
    ids = {
        name: (await cloud.as_admin.get(f"{V3}/{kind}?name={name}")).json[kind][0]["id"]
        for name, kind in (("ann", "users"), ("bob", "users"), ("blue", "projects"), ("red", "projects"))
    }
    role = (await cloud.as_admin.get(f"{V3}/roles?name=member")).json["roles"][0]["id"]
    given = await cloud.as_admin.put(f"{V3}/projects/{ids['red']}/users/{ids['ann']}/roles/{role}")
    assert given.status == 204
    return Scene(cloud, ann, bob, ids["ann"], ids["bob"], ids["blue"], ids["red"])


async def exchange(scene: Scene, keys: dict[str, Any]) -> Answer:
    """A token for a signature, as Swift's service asks for it."""
    params = {"AWSAccessKeyId": keys["access"], "SignatureVersion": "2", "SignatureMethod": "HmacSHA256"}
    query = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
    digest = hmac.digest(keys["secret"].encode(), f"GET\nlocalhost\n/\n{query}".encode(), hashlib.sha256)
    given = {"access": keys["access"], "host": "localhost", "verb": "GET", "path": "/", "params": params}
    body = {"credentials": {**given, "signature": base64.b64encode(digest).decode()}}
    return await scene.cloud.as_admin.post(f"{V3}/ec2tokens", body)


async def test_cve_2012_5571_keys_end_with_the_role_and_the_project(scene: Scene) -> None:
    admin = scene.cloud.as_admin
    keys = (await scene.keys(scene.red)).json["credential"]
    assert (await exchange(scene, keys)).status == 200
    project = f"{V3}/projects/{scene.red}"
    await admin.patch(project, {"project": {"enabled": False}})
    assert (await exchange(scene, keys)).status == 401
    await admin.patch(project, {"project": {"enabled": True}})
    role = (await admin.get(f"{V3}/roles?name=member")).json["roles"][0]["id"]
    await admin.delete(f"{project}/users/{scene.ann_id}/roles/{role}")
    assert (await exchange(scene, keys)).status == 401


async def test_cve_2013_6391_no_keys_by_what_is_delegated(scene: Scene) -> None:
    for client in (await scene.by_trust(), await scene.by_application_credential(unrestricted=False)):
        assert (await scene.keys(scene.blue, client)).status == 403
        assert (await scene.keys(scene.red, client)).status == 403


async def test_cve_2014_3520_a_trusts_token_is_for_its_project(scene: Scene) -> None:
    trusted = await scene.by_trust()
    shown = await scene.cloud.as_admin.get(TOKENS, headers={"X-Subject-Token": trusted.token})
    token = shown.json["token"]
    assert token["project"]["id"] == scene.blue
    trust = {"OS-TRUST:trust": {"id": token["OS-TRUST:trust"]["id"]}}
    both = await scene.log_in(password("bob"), **trust, project={"id": scene.red})
    assert both.status in (400, 401, 403)
    rescoped = await scene.log_in({"methods": ["token"], "token": {"id": trusted.token}}, project={"id": scene.red})
    assert rescoped.status in (401, 403)


async def test_delegated_tokens_reach_no_credentials_of_other_projects(scene: Scene) -> None:
    """Keystone's bug 2150089: keys of another project, and what guards the user's own logins."""
    theirs = (await scene.keys(scene.red)).json["credential"]["access"]
    mine = (await scene.keys(scene.blue)).json["credential"]["access"]
    seed = {"type": "totp", "blob": "ONSWG4TFOQ", "user_id": scene.ann_id}
    totp = (await scene.ann.post(CREDENTIALS, {"credential": seed})).json["credential"]["id"]
    ids = [hashlib.sha256(access.encode()).hexdigest() for access in (mine, theirs)]
    ec2 = f"{V3}/users/{scene.ann_id}/credentials/OS-EC2"
    for client in (
        await scene.by_trust(),
        await scene.by_application_credential(unrestricted=False),
        await scene.by_application_credential(unrestricted=True),
    ):
        assert [one["id"] for one in (await client.get(CREDENTIALS)).json["credentials"]] == [ids[0]]
        assert [one["access"] for one in (await client.get(ec2)).json["credentials"]] == [mine]
        assert (await client.get(f"{ec2}/{mine}")).status == 200
        for path in (f"{ec2}/{theirs}", f"{CREDENTIALS}/{ids[1]}", f"{CREDENTIALS}/{totp}"):
            assert (await client.get(path)).status == 403, path
            assert (await client.delete(path)).status == 403, path
        assert (await client.patch(f"{CREDENTIALS}/{totp}", {"credential": {"blob": "x"}})).status == 403
        assert (await scene.keys(scene.red, client)).status == 403
    unrestricted = await scene.token(password("ann"), project={"id": scene.blue})
    assert len((await unrestricted.get(CREDENTIALS)).json["credentials"]) == 3, "a login's token reaches all"
    cant = {"credential": {"type": "cert", "blob": "x", "project_id": scene.red}}
    assert (await client.post(CREDENTIALS, cant)).status == 403


async def test_what_is_lent_reaches_no_application_credentials(scene: Scene) -> None:
    """Nor access rules, nor what was given to consumers."""
    path = f"{V3}/users/{scene.ann_id}"
    made = await scene.ann.post(f"{path}/application_credentials", {"application_credential": {"name": "own"}})
    id_ = made.json["application_credential"]["id"]
    trusted = await scene.by_trust()
    for place in (
        f"application_credentials/{id_}",
        "application_credentials",
        "access_rules",
        "OS-OAUTH1/access_tokens",
    ):
        assert (await trusted.get(f"{path}/{place}")).status == 403, place
    assert (await trusted.delete(f"{path}/application_credentials/{id_}")).status == 403
    assert (await scene.ann.get(f"{path}/application_credentials/{id_}")).status == 200


async def test_cve_2026_42998_a_program_is_nobody_but_its_owner(scene: Scene) -> None:
    given = {"application_credential": {"name": "robot"}}
    made = (await scene.ann.post(f"{V3}/users/{scene.ann_id}/application_credentials", given)).json
    shown = {key: made["application_credential"][key] for key in ("id", "secret")}
    admin = (await scene.cloud.as_admin.get(f"{V3}/users?name=admin")).json["users"][0]["id"]
    for user in ({"id": admin}, {"id": scene.bob_id}, {"name": "admin", "domain": {"id": "default"}}):
        answer = await scene.log_in(
            {"methods": ["application_credential"], "application_credential": {**shown, "user": user}}
        )
        assert answer.status in (400, 401) or answer.json["token"]["user"]["id"] == scene.ann_id, answer.body


async def test_cve_2026_42999_what_a_body_says_is_no_target(scene: Scene) -> None:
    """Neither a body nor a query takes the place of what the database knows."""
    made = await scene.ann.post(CREDENTIALS, {"credential": {"type": "cert", "blob": "hush"}})
    id_ = made.json["credential"]["id"]
    mine = {"user_id": scene.bob_id}
    lie = {"target": {"credential": mine, "user": {"id": scene.bob_id}, "token": mine, "trust": mine}, **mine}
    for query in ("", f"?user_id={scene.bob_id}", f"?target.credential.user_id={scene.bob_id}"):
        assert (await scene.bob.get(CREDENTIALS + query, json=lie)).json["credentials"] == []
        for method in ("GET", "DELETE"):
            assert (await scene.bob.request(method, f"{CREDENTIALS}/{id_}{query}", lie)).status == 403
    assert (await scene.bob.patch(f"{CREDENTIALS}/{id_}", {**lie, "credential": {"blob": "x"}})).status in (400, 403)
    ec2 = f"{V3}/users/{scene.ann_id}/credentials/OS-EC2"
    assert (await scene.bob.post(ec2, {"tenant_id": scene.blue, **lie})).status in (400, 403)
    taken = await scene.bob.request("DELETE", TOKENS, lie, headers={"X-Subject-Token": scene.ann.token})
    assert taken.status == 403
    assert (await scene.ann.get(f"{CREDENTIALS}/{id_}")).json["credential"]["blob"] == "hush"
    role = (await scene.cloud.as_admin.get(f"{V3}/roles?name=admin")).json["roles"][0]["id"]
    inherited = f"{V3}/OS-INHERIT/domains/default/users/{scene.bob_id}/roles/{role}/inherited_to_projects"
    assert (await scene.bob.put(inherited, {"target": {"domain": {"id": None}}})).status == 403


@pytest.mark.parametrize("unrestricted", [True, False])
async def test_cve_2026_43000_no_trusts_by_an_application_credential(scene: Scene, unrestricted: bool) -> None:
    await scene.by_trust()
    (trust,) = (await scene.ann.get(f"{TRUSTS}?trustor_user_id={scene.ann_id}")).json["trusts"]
    robot = await scene.by_application_credential(unrestricted=unrestricted)
    more = {
        "trustor_user_id": scene.ann_id,
        "trustee_user_id": scene.bob_id,
        "impersonation": True,
        "project_id": scene.blue,
        "roles": [{"name": "member"}],
    }
    assert (await robot.post(TRUSTS, {"trust": more})).status == 403
    assert (await robot.get(f"{TRUSTS}?trustor_user_id={scene.ann_id}")).status == 403
    for path in (f"{TRUSTS}/{trust['id']}", f"{TRUSTS}/{trust['id']}/roles"):
        assert (await robot.get(path)).status == 403
    assert (await robot.delete(f"{TRUSTS}/{trust['id']}")).status == 403


async def test_a_signatures_token_is_for_other_services_only(scene: Scene) -> None:
    """Identity tells what it is worth and takes it back, and nothing else; upstream bars it since 2026."""
    keys = (await scene.keys(scene.blue)).json["credential"]
    signed = ApiClient(scene.cloud.app, (await exchange(scene, keys)).headers["X-Subject-Token"])
    for path in ("auth/projects", "auth/catalog", "credentials", f"users/{scene.ann_id}", f"projects/{scene.blue}"):
        assert (await signed.get(f"{V3}/{path}")).status == 403, path
    given = {"application_credential": {"name": "robot"}}
    assert (await signed.post(f"{V3}/users/{scene.ann_id}/application_credentials", given)).status == 403
    again = {"methods": ["token"], "token": {"id": signed.token}}
    renewed = await scene.log_in(again, project={"id": scene.blue})
    if renewed.status == 201:
        same = ApiClient(scene.cloud.app, renewed.headers["X-Subject-Token"])
        assert (await same.get(f"{V3}/credentials")).status == 403, "it stays what it is"
    assert (await signed.get("/networking/v2.0/networks")).status == 200
    assert (await signed.get(TOKENS, headers={"X-Subject-Token": signed.token})).status == 200
    assert (await signed.delete(TOKENS, headers={"X-Subject-Token": signed.token})).status == 204


async def test_cve_2026_22797_headers_that_speak_of_an_identity_are_nothing(scene: Scene) -> None:
    claimed = {
        "X-Roles": "admin",
        "X-Role": "admin",
        "X-Is-Admin-Project": "True",
        "X-User-Id": scene.ann_id,
        "X-Project-Id": scene.red,
        "X-Tenant-Id": scene.red,
        "X-Identity-Status": "Confirmed",
        "X-Service-Roles": "admin",
        "OpenStack-System-Scope": "all",
    }
    assert (await scene.cloud.anonymous.get(f"{V3}/users", headers=claimed)).status == 401
    for path in (f"{V3}/users", "/compute/v2.1/os-hypervisors", "/placement/resource_providers"):
        assert (await scene.bob.get(path, headers=claimed)).status == 403, path
