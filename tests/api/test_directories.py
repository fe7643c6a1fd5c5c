"""A domain whose users and groups live in a real LDAP server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from ostro.store.domain_configs import DOMAIN_CONFIGS
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.slapd import ROOT_DN, ROOT_PASSWORD, SUFFIX, Slapd, why_not

V3 = "/identity/v3"


@pytest.fixture
def slapd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slapd]:
    """A running server with two users and a group; what is asked of it is always read anew."""
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.setattr("ostro.services.identity.directories.REFRESH_S", -1.0)
    with Slapd() as server:
        ann = server.add_user("ann", "pw-ann", "Ann Archer", mail="ann@acme.example", employeeType="TRUE")
        server.add_user("bob", "pw-bob", "Bob", employeeType="TRUE")
        server.add_group("staff", ann)
        yield server


@dataclass
class Domain:
    """The domain of the directory, and a project in it."""

    cloud: TestCloud
    id: str
    project: str

    @property
    def admin(self) -> ApiClient:
        return self.cloud.as_admin

    async def log_in(self, name: str, password: str, by: dict[str, Any] | None = None) -> Answer:
        user = by or {"name": name, "domain": {"id": self.id}}
        identity = {"methods": ["password"], "password": {"user": {**user, "password": password}}}
        return await self.cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": identity}})

    async def users(self, more: str = "") -> dict[str, dict[str, Any]]:
        answer = await self.admin.get(f"{V3}/users?domain_id={self.id}{more}")
        return {user["name"]: user for user in answer.json["users"]}

    async def groups(self) -> dict[str, dict[str, Any]]:
        answer = await self.admin.get(f"{V3}/groups?domain_id={self.id}")
        return {group["name"]: group for group in answer.json["groups"]}

    async def give(self, kind: str, holder: str, role: str = "member") -> None:
        role_id = (await self.admin.get(f"{V3}/roles?name={role}")).json["roles"][0]["id"]
        path = f"{V3}/projects/{self.project}/{kind}/{holder}/roles/{role_id}"
        assert (await self.admin.put(path)).status == 204


def options(slapd: Slapd, **more: Any) -> dict[str, Any]:
    ldap = {
        "url": slapd.url,
        "user": ROOT_DN,
        "password": ROOT_PASSWORD,
        "suffix": SUFFIX,
        "user_id_attribute": "uid",
        "user_name_attribute": "cn",
        "user_enabled_attribute": "employeeType",
        "group_tree_dn": f"ou=Groups,{SUFFIX}",
        "group_name_attribute": "cn",
    }
    return {"config": {"identity": {"driver": "ldap"}, "ldap": {**ldap, **more}}}


@pytest.fixture
async def domain(cloud: TestCloud, slapd: Slapd) -> Domain:
    """A domain of the directory's."""
    admin = cloud.as_admin
    id_ = (await admin.post(f"{V3}/domains", {"domain": {"name": "acme"}})).json["domain"]["id"]
    project = {"project": {"name": "web", "domain_id": id_}}
    project_id = (await admin.post(f"{V3}/projects", project)).json["project"]["id"]
    made = await admin.put(f"{V3}/domains/{id_}/config", options(slapd))
    assert made.status == 201 and "password" not in made.json["config"]["ldap"]
    return Domain(cloud, id_, project_id)


async def test_a_user_logs_in(domain: Domain) -> None:
    made = await domain.log_in("Ann Archer", "pw-ann")
    assert made.status == 201, made.body
    user = made.json["token"]["user"]
    assert user["name"] == "Ann Archer" and user["domain"] == {"id": domain.id, "name": "acme"}
    assert user["id"] == hashlib.sha256(f"{domain.id}userann".encode()).hexdigest(), "as Keystone makes ids"
    assert (await domain.log_in("", "pw-ann", {"id": user["id"]})).status == 201
    assert (await domain.log_in("ANN ARCHER", "pw-ann")).json["token"]["user"]["id"] == user["id"]
    by_domain = {"name": "Ann Archer", "domain": {"name": "acme"}}
    assert (await domain.log_in("", "pw-ann", by_domain)).status == 201


async def test_first_logins_and_lists_at_once(domain: Domain) -> None:
    statuses: list[int] = []

    async def log_in() -> None:
        statuses.append((await domain.log_in("Ann Archer", "pw-ann")).status)

    async def show() -> None:
        statuses.append(200 + len(await domain.users()))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(log_in)
            nursery.start_soon(show)
    assert sorted(statuses) == [201] * 4 + [202] * 4


async def test_roles_by_assignment_and_by_group(domain: Domain) -> None:
    group = (await domain.groups())["staff"]["id"]
    bob = (await domain.users())["Bob"]["id"]
    await domain.give("groups", group)
    await domain.give("users", bob, "reader")
    for name, password, roles in (("Ann Archer", "pw-ann", {"member", "reader"}), ("Bob", "pw-bob", {"reader"})):
        user = {"name": name, "domain": {"id": domain.id}, "password": password}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"id": domain.project}}}}
        made = await domain.cloud.anonymous.post(f"{V3}/auth/tokens", body)
        assert made.status == 201, made.body
        assert {role["name"] for role in made.json["token"]["roles"]} == roles
    listed = await domain.admin.get(f"{V3}/role_assignments?user.id={bob}&include_names=true")
    assert listed.json["role_assignments"][0]["user"]["name"] == "Bob"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("Ann Archer", "wrong"),
        ("Ann Archer", ""),
        ("Ann Archer", "\0"),
        ("nobody", "pw-ann"),
        ("*", "pw-ann"),
        ("Ann*", "pw-ann"),
        ("Ann Archer)(uid=*", "pw-ann"),
        ("Ann Archer)(|(uid=bob", "pw-bob"),
        ("uid=ann", "pw-ann"),
        ("\\", "x"),
        ("admin", ROOT_PASSWORD),
    ],
)
async def test_logins_that_are_refused_alike(domain: Domain, name: str, password: str) -> None:
    """CVE-2013-2157 (a bind without a password succeeds) and injected filters."""
    refused = await domain.log_in(name, password)
    assert refused.status == 401
    assert refused.json["error"]["message"] == "The request you have made requires authentication."


async def test_who_is_not_there_takes_as_long(domain: Domain, slapd: Slapd) -> None:
    """The same is asked of the server for a user that isn't there: as many binds."""
    counts = []
    for name in ("Ann Archer", "nobody"):
        before = slapd.count_binds()
        assert (await domain.log_in(name, "wrong")).status == 401
        counts.append(slapd.count_binds() - before)
    assert counts[0] == counts[1]


async def test_the_servers_password_is_sealed(domain: Domain) -> None:
    kept = (await domain.cloud.db.read(lambda tx: DOMAIN_CONFIGS.get(tx, domain.id))).config["ldap"]["password"]
    assert ROOT_PASSWORD not in kept
    path = f"{V3}/domains/{domain.id}/config/ldap"
    assert (await domain.admin.patch(f"{path}/password", {"config": {"password": "wrong"}})).status == 200
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 503
    body = {"config": {"ldap": {"password": ROOT_PASSWORD}}}
    changed = await domain.admin.patch(path, body)
    assert changed.status == 200 and "password" not in changed.json["config"]["ldap"]
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 201
    assert (await domain.admin.get(f"{path}/password")).status == 404


async def test_guessing_is_braked(domain: Domain) -> None:
    for _ in range(2):
        assert (await domain.log_in("Ann Archer", "wrong")).status == 401
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 401


async def test_lists(domain: Domain) -> None:
    users = await domain.users()
    assert set(users) == {"Ann Archer", "Bob"}
    ann = users["Ann Archer"]
    assert (ann["email"], ann["enabled"], ann["domain_id"]) == ("ann@acme.example", True, domain.id)
    assert set(await domain.users("&name=Bob")) == {"Bob"}
    assert set(await domain.users("&name__startswith=Ann")) == {"Ann Archer"}
    assert set(await domain.users("&name__icontains=ARCH")) == {"Ann Archer"}
    assert set(await domain.users("&enabled=false")) == set()
    assert (await domain.admin.get(f"{V3}/users/{ann['id']}")).json["user"]["name"] == "Ann Archer"
    (staff,) = (await domain.groups()).values()
    members = (await domain.admin.get(f"{V3}/groups/{staff['id']}/users")).json["users"]
    assert [user["id"] for user in members] == [ann["id"]]
    assert (await domain.admin.get(f"{V3}/groups/{staff['id']}/users/{ann['id']}")).status == 204
    assert (await domain.admin.get(f"{V3}/groups/{staff['id']}/users/{users['Bob']['id']}")).status == 404
    (of_ann,) = (await domain.admin.get(f"{V3}/users/{ann['id']}/groups")).json["groups"]
    assert of_ann["name"] == "staff"
    first = (await domain.admin.get(f"{V3}/users?domain_id={domain.id}&limit=1")).json
    assert len(first["users"]) == 1 and first["links"]["next"]


async def test_nothing_is_written(domain: Domain) -> None:
    ann = (await domain.users())["Ann Archer"]["id"]
    staff = (await domain.groups())["staff"]["id"]
    local = (await domain.admin.post(f"{V3}/groups", {"group": {"name": "here", "domain_id": "default"}})).json["group"]
    admin_id = (await domain.admin.get(f"{V3}/users?name=admin")).json["users"][0]["id"]
    admin = domain.admin
    writes = [
        admin.post(f"{V3}/users", {"user": {"name": "eve", "domain_id": domain.id, "password": "x"}}),
        admin.patch(f"{V3}/users/{ann}", {"user": {"enabled": False}}),
        admin.patch(f"{V3}/users/{ann}", {"user": {"password": "mine-now"}}),
        admin.delete(f"{V3}/users/{ann}"),
        admin.post(f"{V3}/groups", {"group": {"name": "more", "domain_id": domain.id}}),
        admin.patch(f"{V3}/groups/{staff}", {"group": {"name": "other"}}),
        admin.delete(f"{V3}/groups/{staff}"),
        admin.put(f"{V3}/groups/{staff}/users/{admin_id}"),
        admin.delete(f"{V3}/groups/{staff}/users/{ann}"),
        admin.put(f"{V3}/groups/{local['id']}/users/{ann}"),
        domain.cloud.anonymous.post(
            f"{V3}/users/{ann}/password", {"user": {"password": "new", "original_password": "pw-ann"}}
        ),
    ]
    assert [(await write).status for write in writes] == [403] * len(writes)
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 201


async def test_what_changes_out_there_changes_here(domain: Domain, slapd: Slapd) -> None:
    async def is_good() -> bool:
        return (await ApiClient(domain.cloud.app, token).get(f"{V3}/auth/projects")).status == 200

    made = await domain.log_in("Ann Archer", "pw-ann")
    token, ann = made.headers["X-Subject-Token"], f"uid=ann,ou=Users,{SUFFIX}"
    user = made.json["token"]["user"]["id"]
    await domain.give("users", user)
    slapd.change(ann, employeeType="FALSE")
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 401, "disabled there"
    assert not await is_good(), "and that is noticed at the login"
    slapd.change(ann, employeeType="TRUE", cn="Ann Married")
    await domain.cloud.cloud.directories.refresh_all()
    assert await is_good()
    assert (await domain.users())["Ann Married"]["id"] == user
    slapd.change(f"cn=staff,ou=Groups,{SUFFIX}", member=f"UID=bob, OU=Users,{SUFFIX}")
    assert (await domain.admin.get(f"{V3}/users/{user}/groups")).json["groups"] == []
    slapd.delete(ann)
    assert (await domain.admin.get(f"{V3}/users/{user}")).status == 404
    assert not await is_good() and "Ann Married" not in await domain.users()
    assert (await domain.log_in("", "pw-ann", {"id": user})).status == 401
    slapd.add_user("ann", "pw-2", "Ann Again", employeeType="TRUE")
    again = await domain.log_in("Ann Again", "pw-2")
    assert again.json["token"]["user"]["id"] == user
    client = ApiClient(domain.cloud.app, again.headers["X-Subject-Token"])
    assert len((await client.get(f"{V3}/auth/projects")).json["projects"]) == 1, "who comes back has its roles back"


async def test_a_domain_without_its_directory(domain: Domain, slapd: Slapd) -> None:
    made = await domain.log_in("Ann Archer", "pw-ann")
    client = ApiClient(domain.cloud.app, made.headers["X-Subject-Token"])
    off = {"config": {"identity": {"driver": "sql"}}}
    assert (await domain.admin.patch(f"{V3}/domains/{domain.id}/config", off)).status == 200
    assert (await client.get(f"{V3}/auth/projects")).status == 401
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 401
    assert await domain.users() == {}
    made = await domain.admin.post(f"{V3}/users", {"user": {"name": "Ann Archer", "domain_id": domain.id}})
    assert made.status == 201, "the name is free"
    assert (await domain.admin.put(f"{V3}/domains/{domain.id}/config", options(slapd))).status == 200
    assert (await domain.admin.patch(f"{V3}/domains/{domain.id}", {"domain": {"enabled": False}})).status == 200
    assert (await domain.log_in("Bob", "pw-bob")).status == 401
    assert (await domain.admin.delete(f"{V3}/domains/{domain.id}")).status == 204


async def test_a_dead_server_costs_its_domains_logins_and_nothing_else(
    domain: Domain, slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await domain.log_in("Ann Archer", "pw-ann")
    ann = ApiClient(domain.cloud.app, made.headers["X-Subject-Token"])
    before = await domain.users()
    slapd.stop()
    for name in ("Ann Archer", "nobody"):
        refused = await domain.log_in(name, "pw-ann")
        assert refused.status == 503 and refused.headers["Retry-After"], refused.body
        assert refused.json["error"]["message"] == "The directory of this domain does not answer."
    assert await domain.users() == before, "what it said last still holds"
    assert (await ann.get(f"{V3}/auth/projects")).status == 200
    assert (await domain.cloud.add_user("zoe", "other")).token
    slapd.start()
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 201
    monkeypatch.setattr("ostro.services.identity.directories.LOGIN_S", 0.2)
    slapd.pause()
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 503, "one that hangs is given up"
    slapd.resume()


async def test_pages_scope_and_filter(domain: Domain, slapd: Slapd) -> None:
    """In pages of three."""
    for number in range(7):
        slapd.add_user(f"u{number}", "pw", employeeType="TRUE")
    config = options(slapd, page_size=3, query_scope="sub", user_filter="(!(uid=bob))")
    assert (await domain.admin.put(f"{V3}/domains/{domain.id}/config", config)).status == 200
    assert set(await domain.users()) == {"Ann Archer", *(f"u{number}" for number in range(7))}


async def test_members_by_id_and_inverted_flags(domain: Domain, slapd: Slapd) -> None:
    more = {
        "group_member_attribute": "description",
        "group_members_are_ids": True,
        "user_enabled_invert": True,
        "user_enabled_default": "FALSE",
    }
    slapd.change(f"cn=staff,ou=Groups,{SUFFIX}", description=["bob", "stranger"])
    assert (await domain.admin.put(f"{V3}/domains/{domain.id}/config", options(slapd, **more))).status == 200
    users = await domain.users()
    assert not users["Bob"]["enabled"]
    (group,) = (await domain.admin.get(f"{V3}/users/{users['Bob']['id']}/groups")).json["groups"]
    assert group["name"] == "staff"


async def test_tls_minds_whose_certificate_it_is(domain: Domain, slapd: Slapd) -> None:
    path = f"{V3}/domains/{domain.id}/config"
    trusted = options(slapd, use_tls=True, tls_cacertfile=str(slapd.certificate))
    for config, status in (
        (trusted, 201),
        (options(slapd, use_tls=True), 503),
        (options(slapd, use_tls=True, tls_req_cert="never"), 201),
        (options(slapd, use_tls=True, tls_cacertfile="/nowhere"), 503),
    ):
        assert (await domain.admin.put(path, config)).status == 200
        assert (await domain.log_in("Ann Archer", "pw-ann")).status == status, config


@pytest.mark.parametrize(
    "wrong",
    [
        {"query_scope": "all"},
        {"tls_req_cert": "maybe"},
        {"url": "file:///etc"},
        {"page_size": "many"},
        {"use_tls": "x"},
    ],
)
async def test_options_that_make_no_sense(domain: Domain, slapd: Slapd, wrong: dict[str, Any]) -> None:
    path = f"{V3}/domains/{domain.id}/config"
    assert (await domain.admin.put(path, options(slapd, **wrong))).status == 400
    assert (await domain.log_in("Ann Archer", "pw-ann")).status == 201, "nothing has changed"
