"""Signing in by a real OpenID provider: access tokens, browsers, and everything that must be refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
import trio
import yaml

from ostro.store.audit import Search, search_records
from ostro.store.groups import list_group_ids_of
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.oidc import OidcServer

V3 = "/identity/v3"
ROOT = f"{V3}/OS-FEDERATION"
AUTH = f"{ROOT}/identity_providers/acme/protocols/openid/auth"
WEBSSO = f"{V3}/auth/OS-FEDERATION/websso/openid"
CALLBACK = f"{V3}/auth/OS-FEDERATION/oidc/callback"
DASHBOARD = "https://dashboard.example/auth/websso/"
RULES = [
    {
        "remote": [{"type": "OIDC-sub"}, {"type": "OIDC-name"}, {"type": "OIDC-email"}],
        "local": [{"user": {"id": "{0}", "name": "{1}", "email": "{2}"}}],
    },
    {
        "remote": [{"type": "OIDC-groups", "whitelist": ["ops"]}],
        "local": [{"groups": "{0}", "domain": {"id": "default"}}],
    },
]


@pytest.fixture(scope="module")
def oidc() -> Iterator[OidcServer]:
    """A running provider."""
    with OidcServer() as server:
        yield server


@pytest.fixture
def settings(oidc: OidcServer, tmp_path: Path) -> dict[str, Any]:
    """What the operator wrote down before the start."""
    oidc.set()
    provider = {"issuer": oidc.issuer, "client_id": "ostro", "client_secret": "hush"}
    federation = {"trusted_dashboards": [DASHBOARD], "providers": [provider]}
    (tmp_path / "identity.yaml").write_text(yaml.safe_dump({"federation": federation}))
    return federation


@pytest.fixture
async def federation(settings: dict[str, Any], cloud: TestCloud, oidc: OidcServer) -> TestCloud:
    """A cloud that knows the provider as ``acme``."""
    await add_provider(cloud, "acme", [oidc.issuer])
    return cloud


async def add_provider(cloud: TestCloud, name: str, remote_ids: list[str], **more: Any) -> str:
    """The id of the provider's domain."""
    body = {"identity_provider": {"remote_ids": remote_ids, "enabled": True, **more}}
    made = await cloud.as_admin.put(f"{ROOT}/identity_providers/{name}", body)
    assert made.status == 201, made.body
    mapping = await cloud.as_admin.put(f"{ROOT}/mappings/{name}", {"mapping": {"rules": RULES}})
    assert mapping.status == 201, mapping.body
    path = f"{ROOT}/identity_providers/{name}/protocols/openid"
    assert (await cloud.as_admin.put(path, {"protocol": {"mapping_id": name}})).status == 201
    return str(made.json["identity_provider"]["domain_id"])


async def set_rules(cloud: TestCloud, rules: list[dict[str, Any]], version: str = "1.0") -> None:
    body = {"mapping": {"rules": rules, "schema_version": version}}
    answer = await cloud.as_admin.patch(f"{ROOT}/mappings/acme", body)
    assert answer.status == 200, answer.body


async def bring(cloud: TestCloud, token: str, path: str = AUTH) -> Answer:
    return await cloud.anonymous.post(path, headers={"Authorization": f"Bearer {token}"})


async def add_group(cloud: TestCloud, name: str, project: str, role: str) -> tuple[str, str]:
    """(group, project): a group of the default domain with a role on a project."""
    admin = cloud.as_admin
    made = await admin.post(f"{V3}/groups", {"group": {"name": name, "domain_id": "default"}})
    group = made.json["group"]["id"]
    target = (await admin.post(f"{V3}/projects", {"project": {"name": project}})).json["project"]["id"]
    role_id = (await admin.get(f"{V3}/roles?name={role}")).json["roles"][0]["id"]
    assert (await admin.put(f"{V3}/projects/{target}/groups/{group}/roles/{role_id}")).status == 204
    return group, target


async def scope(cloud: TestCloud, token: str, project: str, method: str = "token") -> Answer:
    auth = {"identity": {"methods": [method], method: {"id": token}}, "scope": {"project": {"id": project}}}
    return await cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": auth})


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


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"aud": "other"}, {}),
        ({"aud": None}, {}),
        ({"iss": "https://elsewhere.example"}, {}),
        ({"iss": None}, {}),
        ({"exp": 1}, {}),
        ({"exp": None}, {}),
        ({"nbf": 99_999_999_999}, {}),
        ({"sub": None}, {}),
        ({"nonce": "n"}, {}),
        ({}, {"typ": "logout+jwt"}),
        ({}, {"kid": "nobody"}),
    ],
)
async def test_tokens_that_are_refused(
    federation: TestCloud, oidc: OidcServer, claims: dict[str, Any], header: dict[str, Any]
) -> None:
    assert (await bring(federation, oidc.sign())).status == 201
    refused = await bring(federation, oidc.sign(claims, **header))
    assert refused.status == 401, refused.body
    assert refused.json == {
        "error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}
    }


async def test_signatures_that_are_none(federation: TestCloud, oidc: OidcServer) -> None:
    head, body, signature = oidc.sign().split(".")
    forged = [
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        f"{_encode({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        f"{_encode({'alg': 'HS256', 'typ': 'at+jwt'})}.{body}.{signature}",
        "",
        "opaque",
        "a.b.c",
        "x" * 20_000,
    ]
    for token in forged:
        assert (await bring(federation, token)).status == 401, token[:60]
    assert (await federation.anonymous.post(AUTH)).status == 401


def _encode(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


async def test_new_keys_are_found(federation: TestCloud, oidc: OidcServer, monkeypatch: pytest.MonkeyPatch) -> None:
    old = oidc.sign()
    assert (await bring(federation, old)).status == 201
    oidc.set(rotate=True)
    monkeypatch.setattr("ostro.services.identity.oidc.KEYS_LEAST_S", 0.0)
    assert (await bring(federation, oidc.sign())).status == 201
    assert (await bring(federation, old)).status == 401, "the provider took its old key back"


async def test_another_providers_tokens(federation: TestCloud, oidc: OidcServer) -> None:
    """A token is good at the provider whose issuer signed it, and at no other."""
    await add_provider(federation, "rival", ["https://rival.example"])
    path = AUTH.replace("acme", "rival")
    assert (await bring(federation, oidc.sign(), path)).status == 401
    assert (await bring(federation, oidc.sign({"iss": "https://rival.example"}), path)).status == 401
    attribute = {"protocol": {"remote_id_attribute": "HTTP_OIDC_ISS"}}
    assert (await federation.as_admin.patch(AUTH.removesuffix("/auth"), attribute)).status == 200
    assert (await bring(federation, oidc.sign())).status == 201
    attribute = {"protocol": {"remote_id_attribute": "OIDC-email"}}
    assert (await federation.as_admin.patch(AUTH.removesuffix("/auth"), attribute)).status == 200
    assert (await bring(federation, oidc.sign())).status == 403


async def test_who_is_switched_off_is_out_at_once(federation: TestCloud, oidc: OidcServer) -> None:
    admin, idp = federation.as_admin, f"{ROOT}/identity_providers/acme"

    async def is_good() -> bool:
        return (await ApiClient(federation.app, token).get(f"{V3}/auth/projects")).status == 200

    made = await bring(federation, oidc.access_token())
    token, domain = made.headers["X-Subject-Token"], made.json["token"]["user"]["domain"]["id"]
    switches = [
        (idp, {"identity_provider": {"enabled": False}}, {"identity_provider": {"enabled": True}}),
        (f"{V3}/domains/{domain}", {"domain": {"enabled": False}}, {"domain": {"enabled": True}}),
        (f"{V3}/users/{made.json['token']['user']['id']}", {"user": {"enabled": False}}, {"user": {"enabled": True}}),
    ]
    for path, off, on in switches:
        assert await is_good()
        assert (await admin.patch(path, off)).status == 200
        assert not await is_good()
        assert (await bring(federation, oidc.access_token())).status in (401, 403)
        assert (await admin.patch(path, on)).status == 200
    assert await is_good()
    assert (await admin.delete(f"{idp}/protocols/openid")).status == 204
    assert not await is_good()
    assert (await bring(federation, oidc.access_token())).status == 404
    assert (await admin.put(f"{idp}/protocols/openid", {"protocol": {"mapping_id": "acme"}})).status == 201
    again = await bring(federation, oidc.access_token())
    assert again.json["token"]["user"]["id"] == made.json["token"]["user"]["id"]
    assert (await admin.delete(idp)).status == 204
    assert not await is_good()


async def test_another_provider_in_the_same_domain_is_not_taken_at_its_word(
    federation: TestCloud, oidc: OidcServer
) -> None:
    """The same name in the same domain, said by another: upstream refuses, and so is its roles' owner safe."""
    first = await bring(federation, oidc.access_token())
    domain = first.json["token"]["user"]["domain"]["id"]
    assert (await federation.as_admin.delete(f"{ROOT}/identity_providers/acme")).status == 204
    await federation.as_admin.delete(f"{ROOT}/mappings/acme")
    await add_provider(federation, "heir", [oidc.issuer], domain_id=domain)
    assert (await bring(federation, oidc.access_token(), AUTH.replace("acme", "heir"))).status == 409


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


async def test_logins_are_recorded(federation: TestCloud, oidc: OidcServer) -> None:
    made = await bring(federation, oidc.access_token())
    sent = await federation.anonymous.get(AUTH)
    await come_back(federation, cookie_of(sent), **oidc.log_in(location(sent), "bob"))
    await bring(federation, "nonsense")
    await federation.cloud.audit.settle()
    found = await federation.db.read(search_records, Search(action="authenticate"), 1 << 62, 100)
    logins = [event for row in found if "FEDERATION" in (event := orjson.loads(row.body))["target"]["typeURI"]]
    said = [(one["outcome"], one["initiator"]["name"]) for one in logins]
    assert said == [("failure", ""), ("success", "Bob B."), ("success", "Ann A.")]
    assert logins[-1]["initiator"]["id"] == made.json["token"]["user"]["id"]


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
    from ostro.testing.cloud import open_cloud

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
    from ostro.testing.cloud import open_cloud

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


# ---- browsers


def location(answer: Answer) -> str:
    assert answer.status == 302, answer.body
    return answer.headers["Location"]


def cookie_of(answer: Answer) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def come_back(cloud: TestCloud, cookie: str, **answered: str) -> Answer:
    from urllib.parse import urlencode

    return await cloud.anonymous.get(f"{CALLBACK}?{urlencode(answered)}", headers={"Cookie": cookie})


async def test_a_dashboards_user(federation: TestCloud, oidc: OidcServer) -> None:
    for path in (WEBSSO, f"{V3}/auth/OS-FEDERATION/identity_providers/acme/protocols/openid/websso"):
        sent = await federation.anonymous.get(f"{path}?origin={DASHBOARD}")
        url = location(sent)
        asked = query_of(url)
        assert url.startswith(f"{oidc.issuer}/authorize?")
        assert asked["redirect_uri"] == f"http://localhost{CALLBACK}" and asked["code_challenge_method"] == "S256"
        assert "HttpOnly" in sent.headers["Set-Cookie"] and "SameSite=Lax" in sent.headers["Set-Cookie"]
        answered = oidc.log_in(url)
        page = await come_back(federation, cookie_of(sent), **answered)
        assert page.status == 200, page.body
        assert page.headers["Content-Type"].startswith("text/html") and page.headers["Cache-Control"] == "no-store"
        assert f'action="{DASHBOARD}"'.encode() in page.body
        found = re.search(rb'name="token" id="token" value="([^"]+)"', page.body)
        assert found is not None
        ann = ApiClient(federation.app, found[1].decode())
        assert (await ann.get(f"{V3}/auth/projects")).status == 200
        again = await come_back(federation, cookie_of(sent), **answered)
        assert again.status == 401, "a state is good once"


async def test_a_browser_without_a_dashboard(federation: TestCloud, oidc: OidcServer) -> None:
    sent = await federation.anonymous.get(AUTH)
    done = await come_back(federation, cookie_of(sent), **oidc.log_in(location(sent), "bob"))
    assert done.status == 201 and done.json["token"]["user"]["name"] == "Bob B."
    assert done.headers["X-Subject-Token"] and "Max-Age=0" in done.headers["Set-Cookie"]


async def test_no_open_redirect(federation: TestCloud) -> None:
    for origin in ("https://evil.example/", DASHBOARD + "x", DASHBOARD.rstrip("/"), "javascript:alert(1)", "//evil"):
        answer = await federation.anonymous.get(f"{WEBSSO}?origin={origin}")
        assert answer.status == 401 and "Location" not in answer.headers, origin
    assert (await federation.anonymous.get(WEBSSO)).status == 400
    assert (await federation.anonymous.get(f"{WEBSSO.replace('openid', 'saml2')}?origin={DASHBOARD}")).status == 400


async def test_answers_that_are_refused(federation: TestCloud, oidc: OidcServer) -> None:
    mine = await federation.anonymous.get(AUTH)
    answered = oidc.log_in(location(mine))
    theirs = await federation.anonymous.get(AUTH)
    refusals = [
        ("", answered),
        (cookie_of(theirs), answered),
        (cookie_of(mine).partition("=")[0] + "=" + cookie_of(theirs).partition("=")[2], answered),
        (cookie_of(mine)[:-3] + "AAA", answered),
        (cookie_of(mine), {**answered, "state": "x"}),
        (cookie_of(mine), {"code": answered["code"]}),
        (cookie_of(mine), {**answered, "iss": "https://another.example"}),
        (cookie_of(mine), {"state": answered["state"], "error": "access_denied"}),
    ]
    for cookie, brought in refusals:
        assert (await come_back(federation, cookie, **brought)).status == 401, brought
    assert (await come_back(federation, cookie_of(mine), **answered)).status == 201, "none of that used it up"


async def test_codes_and_nonces_that_are_refused(federation: TestCloud, oidc: OidcServer) -> None:
    sent = await federation.anonymous.get(AUTH)
    answered = oidc.log_in(location(sent))
    assert (await come_back(federation, cookie_of(sent), **{**answered, "code": "guessed"})).status == 401
    sent = await federation.anonymous.get(AUTH)
    other = oidc.log_in(location(await federation.anonymous.get(AUTH)))
    stolen = {"state": query_of(location(sent))["state"], "code": other["code"]}
    assert (await come_back(federation, cookie_of(sent), **stolen)).status == 401, "PKCE ties a code to its login"
    oidc.set(wrong_nonce="replayed")
    sent = await federation.anonymous.get(AUTH)
    assert (await come_back(federation, cookie_of(sent), **oidc.log_in(location(sent)))).status == 401


# ---- records


async def test_mappings_are_checked_when_they_are_given(federation: TestCloud) -> None:
    def broken(**changes: Any) -> dict[str, Any]:
        return {"mapping": {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "a"}], **changes}]}}

    bad = [
        broken(local=[{"user": {"name": "{1}"}}]),
        broken(local=[{"nonsense": {}}]),
        broken(local=[{"group": {"name": "x"}}]),
        broken(local=[{"user": {"type": "other"}}]),
        broken(remote=[]),
        broken(remote=[{"type": "a", "any_one_of": ["x"], "whitelist": ["y"]}]),
        broken(remote=[{"any_one_of": ["x"]}]),
        broken(remote=[{"type": "a"}, {"type": "b", "any_one_of": ["("], "regex": True}]),
        broken(extra=1),
        {"mapping": {"rules": []}},
        {"mapping": {"rules": RULES, "schema_version": "3.0"}},
    ]
    for body in bad:
        assert (await federation.as_admin.put(f"{ROOT}/mappings/bad", body)).status == 400, body
        assert (await federation.as_admin.patch(f"{ROOT}/mappings/acme", body)).status == 400, body
    assert (await federation.as_admin.get(f"{ROOT}/mappings/acme")).json["mapping"]["rules"] == RULES


async def test_only_the_callers_own_projects_are_listed(federation: TestCloud, oidc: OidcServer) -> None:
    """CVE-2018-14432."""
    await federation.add_user("zoe", "zoes-own")
    assert (await federation.anonymous.get(f"{ROOT}/projects")).status == 401
    ann = ApiClient(federation.app, (await bring(federation, oidc.access_token())).headers["X-Subject-Token"])
    assert (await ann.get(f"{ROOT}/projects")).json["projects"] == []


async def test_service_providers_are_shown_in_tokens(cloud: TestCloud) -> None:
    one = f"{ROOT}/service_providers/east"
    given = {"auth_url": "https://east/v3", "sp_url": "https://east/sp", "enabled": True}
    await cloud.as_admin.put(one, {"service_provider": given})
    headers = {"X-Subject-Token": cloud.as_admin.token}
    token = (await cloud.as_admin.get(f"{V3}/auth/tokens", headers=headers)).json["token"]
    assert token["service_providers"] == [{"id": "east", "auth_url": "https://east/v3", "sp_url": "https://east/sp"}]
    await cloud.as_admin.patch(one, {"service_provider": {"enabled": False}})
    assert "service_providers" not in (await cloud.as_admin.get(f"{V3}/auth/tokens", headers=headers)).json["token"]
