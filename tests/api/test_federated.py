"""Signing in by access tokens of a real OpenID provider, and who one is then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import yaml

from ostro.store.groups import list_group_ids_of
from ostro.testing.cloud import Answer, ApiClient, TestCloud, open_cloud
from ostro.testing.federated import AUTH, ROOT, V3, add_group, add_provider, bring, scope, set_rules
from ostro.testing.oidc import OidcServer


async def test_an_access_token_becomes_a_token_and_that_a_scoped_one(federation: TestCloud, oidc: OidcServer) -> None:
    group, project = await add_group(federation, "ops", "web", "member")
    made = await bring(federation, oidc.access_token())
    assert made.status == 201, made.body
    token, unscoped = made.json["token"], made.headers["X-Subject-Token"]
    assert token["methods"] == ["openid"] and "project" not in token and "roles" not in token
    user = token["user"]
    assert user["name"] == "Ann A." and "password_expires_at" not in user
    assert user["OS-FEDERATION"] == {
        "groups": [{"id": group}],
        "identity_provider": {"id": "acme"},
        "protocol": {"id": "openid"},
    }
    ann = ApiClient(federation.app, unscoped)
    for path in (f"{ROOT}/projects", f"{V3}/auth/projects"):
        assert [p["name"] for p in (await ann.get(path)).json["projects"]] == ["web"]
    assert (await ann.get(f"{ROOT}/domains")).json["domains"] == []
    for method in ("token", "mapped"):
        scoped = await scope(federation, unscoped, project, method)
        assert scoped.status == 201, scoped.body
        assert {role["name"] for role in scoped.json["token"]["roles"]} == {"member", "reader"}
        assert scoped.json["token"]["user"]["OS-FEDERATION"]["groups"] == [{"id": group}]
        assert scoped.json["token"]["audit_ids"][1] == token["audit_ids"][0]
        validated = await federation.as_admin.get(
            f"{V3}/auth/tokens", headers={"X-Subject-Token": scoped.headers["X-Subject-Token"]}
        )
        assert validated.json["token"]["user"] == scoped.json["token"]["user"]
    shown = (await federation.as_admin.get(f"{V3}/users/{user['id']}")).json["user"]
    assert (shown["name"], shown["email"], len(shown["id"])) == ("Ann A.", "ann@acme.example", 64)
    assert shown["federated"] == [{"idp_id": "acme", "protocols": [{"protocol_id": "openid", "unique_id": "sub-ann"}]}]
    named = await federation.as_admin.get(f"{V3}/users?name=Ann A.")
    assert [one["id"] for one in named.json["users"]] == [user["id"]]
    assert (await federation.as_admin.delete(f"{V3}/groups/{group}")).status == 204
    assert (await scope(federation, unscoped, project)).status == 401, "the group's roles went with it"


async def test_the_same_person_is_the_same_user(federation: TestCloud, oidc: OidcServer) -> None:
    first = (await bring(federation, oidc.access_token())).json["token"]["user"]
    again = (await bring(federation, oidc.sign({"name": "Ann Married"}))).json["token"]["user"]
    assert again["id"] == first["id"] and again["name"] == "Ann Married"
    bob = (await bring(federation, oidc.sign({"sub": "sub-bob", "name": "Ann Married"}))).json["token"]["user"]
    assert bob["id"] != first["id"], "a name that somebody has already is nobody's way in"
    get = await bring(federation, oidc.access_token(), AUTH)
    assert get.status == 201
    by_get = await federation.anonymous.get(AUTH, headers={"Authorization": f"Bearer {oidc.access_token()}"})
    assert by_get.status == 201 and by_get.json["token"]["user"]["id"] == first["id"]


async def test_first_logins_at_once(federation: TestCloud, oidc: OidcServer) -> None:
    answers: list[Answer] = []

    async def log_in() -> None:
        answers.append(await bring(federation, token))

    token = oidc.access_token()
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(log_in)
    assert [answer.status for answer in answers] == [201] * 8
    assert len({answer.json["token"]["user"]["id"] for answer in answers}) == 1


async def test_roles_of_its_own_like_any_user(federation: TestCloud, oidc: OidcServer) -> None:
    made = await bring(federation, oidc.access_token())
    user, admin = made.json["token"]["user"]["id"], federation.as_admin
    project = (await admin.post(f"{V3}/projects", {"project": {"name": "own"}})).json["project"]["id"]
    role = (await admin.get(f"{V3}/roles?name=reader")).json["roles"][0]["id"]
    assert (await admin.put(f"{V3}/projects/{project}/users/{user}/roles/{role}")).status == 204
    scoped = await scope(federation, made.headers["X-Subject-Token"], project)
    assert scoped.status == 201
    credential = {"application_credential": {"name": "robot"}}
    client = ApiClient(federation.app, scoped.headers["X-Subject-Token"])
    assert (await client.post(f"{V3}/users/{user}/application_credentials", credential)).status == 201


async def test_projects_are_made_and_roles_given(federation: TestCloud, oidc: OidcServer) -> None:
    project = {"name": "home of {0}", "roles": [{"name": "member"}]}
    rules = [{"remote": [{"type": "OIDC-sub"}], "local": [{"user": {"name": "{0}"}, "projects": [project]}]}]
    await set_rules(federation, rules)
    for _ in range(2):
        made = await bring(federation, oidc.access_token())
        assert made.status == 201, made.body
    ann = ApiClient(federation.app, made.headers["X-Subject-Token"])
    (found,) = (await ann.get(f"{ROOT}/projects")).json["projects"]
    assert found["name"] == "home of sub-ann"
    assert found["domain_id"] == made.json["token"]["user"]["domain"]["id"]
    assert (await scope(federation, ann.token, found["id"])).status == 201
    project["roles"].append({"name": "nonsense"})  # type: ignore[attr-defined]
    project["name"] = "second of {0}"
    await set_rules(federation, rules)
    assert (await bring(federation, oidc.access_token())).status == 404
    assert len((await ann.get(f"{ROOT}/projects")).json["projects"]) == 1, "nothing is made halfway"


async def test_local_users(federation: TestCloud, oidc: OidcServer) -> None:
    local = {"user": {"name": "{0}", "type": "local", "domain": {"id": "default"}}}
    await set_rules(federation, [{"remote": [{"type": "OIDC-sub"}], "local": [local]}])
    assert (await bring(federation, oidc.access_token())).status == 401, "no such user"
    await federation.add_user("sub-ann", "blue")
    made = await bring(federation, oidc.access_token())
    assert made.status == 201 and "OS-FEDERATION" not in made.json["token"]["user"]
    assert made.json["token"]["user"]["name"] == "sub-ann"


async def test_memberships_that_expire(federation: TestCloud, oidc: OidcServer) -> None:
    group, project = await add_group(federation, "ops", "web", "member")
    idp = {"identity_provider": {"authorization_ttl": 60}}
    assert (await federation.as_admin.patch(f"{ROOT}/identity_providers/acme", idp)).status == 200
    made = await bring(federation, oidc.access_token())
    user = made.json["token"]["user"]["id"]
    found = await federation.as_admin.get(f"{V3}/users/{user}/projects")
    assert [one["id"] for one in found.json["projects"]] == [project], "the user's own, for an hour"
    later = federation.world.now_us() + 61 * 60 * 1_000_000
    (shown,) = (await federation.as_admin.get(f"{V3}/users/{user}/groups")).json["groups"]
    assert shown["id"] == group and shown["membership_expires_at"]
    members = (await federation.as_admin.get(f"{V3}/groups/{group}/users")).json["users"]
    assert [one["id"] for one in members] == [user]
    lines = await federation.as_admin.get(f"{V3}/role_assignments?effective&user.id={user}")
    assert {line["scope"]["project"]["id"] for line in lines.json["role_assignments"]} == {project}
    assert await federation.db.read(list_group_ids_of, user, federation.world.now_us()) == [group]
    assert await federation.db.read(list_group_ids_of, user, later) == []


async def test_users_that_are_linked_by_hand(federation: TestCloud, oidc: OidcServer) -> None:
    await federation.add_user("ann", "blue")
    user = (await federation.as_admin.get(f"{V3}/users?name=ann")).json["users"][0]["id"]
    link = [{"idp_id": "acme", "protocols": [{"protocol_id": "openid", "unique_id": "sub-ann"}]}]
    changed = await federation.as_admin.patch(f"{V3}/users/{user}", {"user": {"federated": link}})
    assert changed.status == 200, changed.body
    assert (await federation.as_admin.get(f"{V3}/users/{user}")).json["user"]["federated"] == link
    for query, ids in (("unique_id=sub-ann", [user]), ("idp_id=acme", [user]), ("protocol_id=saml2", [])):
        found = await federation.as_admin.get(f"{V3}/users?{query}")
        assert [one["id"] for one in found.json["users"]] == ids
    made = await bring(federation, oidc.access_token())
    assert made.json["token"]["user"]["id"] == user and made.json["token"]["user"]["name"] == "ann"
    ann = ApiClient(federation.app, made.headers["X-Subject-Token"])
    assert [one["name"] for one in (await ann.get(f"{ROOT}/projects")).json["projects"]] == ["blue"]
    twin = {"user": {"name": "twin", "federated": link}}
    assert (await federation.as_admin.post(f"{V3}/users", twin)).status == 409
    link[0]["protocols"][0]["protocol_id"] = "saml2"  # type: ignore[index]
    assert (await federation.as_admin.post(f"{V3}/users", twin)).status == 400


async def test_by_the_methods_of_the_token_api(federation: TestCloud, oidc: OidcServer) -> None:
    for method in ("mapped", "openid"):
        given = {"identity_provider": "acme", "protocol": "openid"}
        body = {"auth": {"identity": {"methods": [method], method: given}}}
        headers = {"Authorization": f"Bearer {oidc.access_token()}"}
        made = await federation.anonymous.post(f"{V3}/auth/tokens", body, headers=headers)
        assert made.status == 201, made.body
        assert made.json["token"]["methods"] == [method]
        assert (await federation.anonymous.post(f"{V3}/auth/tokens", body)).status == 401
    own = await scope(federation, federation.as_admin.token, "x", "mapped")
    assert own.status == 401, "a password's token is none of a provider"


async def test_introspection_and_userinfo(
    settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest, oidc: OidcServer
) -> None:
    del request
    settings["providers"][0] |= {"introspect": True, "userinfo": True}
    place = tmp_path / "second"
    place.mkdir()
    (place / "identity.yaml").write_text(yaml.safe_dump({"federation": settings}))
    async with open_cloud(place) as cloud:
        await add_provider(cloud, "acme", [oidc.issuer])
        remote = [{"type": "OIDC-nickname"}]
        await set_rules(cloud, [{"remote": remote, "local": [{"user": {"name": "{0}"}}]}])
        made = await bring(cloud, oidc.access_token(opaque="1"))
        assert made.status == 201, made.body
        assert made.json["token"]["user"]["name"] == "nick-sub-ann"
        assert (await bring(cloud, "opaque-unknown")).status == 401
        assert (await bring(cloud, oidc.sign())).status == 401, "rightly signed, but the provider doesn't know it"
        oidc.set(audience="somebody")
        assert (await bring(cloud, oidc.access_token(opaque="1"))).status == 401


async def test_a_provider_that_does_not_answer(
    settings: dict[str, Any], cloud: TestCloud, oidc: OidcServer, tmp_path: Path
) -> None:
    place = tmp_path / "second"
    place.mkdir()
    settings["providers"][0]["issuer"] = "http://127.0.0.1:1"
    (place / "identity.yaml").write_text(yaml.safe_dump({"federation": settings}))
    async with open_cloud(place) as lonely:
        await add_provider(lonely, "acme", ["http://127.0.0.1:1"])
        for _ in range(2):
            refused = await bring(lonely, oidc.sign({"iss": "http://127.0.0.1:1"}))
            assert refused.status == 503 and refused.headers["Retry-After"]
        assert (await lonely.as_admin.get(f"{V3}/projects")).status == 200
