"""Privilege escalations known from Keystone's advisories: none of them works here.

Elsewhere: CVE-2013-2157 (an LDAP bind without a password) in ``test_directories``; CVE-2014-3476 and CVE-2014-2237 (trusts that widen or
outlive themselves) in ``test_trusts``; CVE-2020-12689, CVE-2020-12690 and CVE-2020-12691 (restricted credentials that make others, roles of
OAuth ignored, credentials given to others) in ``test_application_credentials``, ``test_oauth1`` and ``test_credentials``; CVE-2020-12692
(old signatures) in ``test_signatures``; CVE-2021-38155 (users found out by lockout) in ``test_logins``; CVE-2018-14432 (projects of others
listed by federation) in ``test_federated_refusals``; CVE-2025-65073 (signatures exchanged by anybody) in ``test_credentials``; CVE-2018-20170
(users found out by time) in ``test_logins``; CVE-2017-2673 (roles of others by federation) in ``test_federated``; CVE-2026-44394 (federated tokens
that renew themselves) in ``test_federated_refusals``; CVE-2013-0270 (huge requests) in ``test_bounds``. Of this year, and about keys and
trusts: ``test_advisories_delegation``. CVE-2013-2255 and CVE-2014-7144 (certificates that nobody checked) in ``test_tls`` and ``test_directories``.
"""

from __future__ import annotations

from typing import Any

from ostro.testing.cloud import ApiClient, TestCloud

V3 = "/identity/v3"
TOKENS = f"{V3}/auth/tokens"


async def find(cloud: TestCloud, what: str) -> str:
    found: list[dict[str, Any]] = (await cloud.as_admin.get(f"{V3}/{what}")).json[what.partition("?")[0]]
    return str(found[0]["id"])


async def is_good(client: ApiClient) -> bool:
    return (await client.get(f"{V3}/auth/projects")).status == 200


async def test_cve_2012_4413_a_revoked_role_ends_tokens(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user, role, project = [await find(cloud, q) for q in ("users?name=ann", "roles?name=member", "projects?name=blue")]
    await cloud.as_admin.delete(f"{V3}/projects/{project}/users/{user}/roles/{role}")
    assert not await is_good(ann)


async def test_cve_2013_4222_a_disabled_project_ends_tokens(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    project = await find(cloud, "projects?name=blue")
    await cloud.as_admin.patch(f"{V3}/projects/{project}", {"project": {"enabled": False}})
    assert not await is_good(ann)


async def test_cve_2014_5253_a_disabled_domain_ends_tokens_and_cve_2014_0204_ids_are_of_one_kind(
    cloud: TestCloud,
) -> None:
    admin = cloud.as_admin
    domain = (await admin.post(f"{V3}/domains", {"domain": {"name": "far"}})).json["domain"]["id"]
    given = {"user": {"name": "zoe", "password": "pw", "domain_id": domain}}
    user = (await admin.post(f"{V3}/users", given)).json["user"]["id"]
    role = await find(cloud, "roles?name=member")
    assert (await admin.put(f"{V3}/domains/{domain}/groups/{user}/roles/{role}")).status == 404, "a user is no group"
    await admin.put(f"{V3}/domains/{domain}/users/{user}/roles/{role}")
    identity = {"methods": ["password"], "password": {"user": {"id": user, "password": "pw"}}}
    body = {"auth": {"identity": identity, "scope": {"domain": {"id": domain}}}}
    zoe = ApiClient(cloud.app, (await cloud.anonymous.post(TOKENS, body)).headers["X-Subject-Token"])
    assert await is_good(zoe)
    await admin.patch(f"{V3}/domains/{domain}", {"domain": {"enabled": False}})
    assert not await is_good(zoe)


async def test_cve_2015_7546_a_revoked_token_is_not_good_again_in_another_form(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    await ann.delete(TOKENS, headers={"X-Subject-Token": ann.token})
    for form in (ann.token, ann.token + "=", ann.token + "==", ann.token.rstrip("A"), ann.token + " "):
        assert (await cloud.anonymous.get(f"{V3}/auth/projects", headers={"X-Auth-Token": form})).status == 401


async def test_cve_2018_14432_nobody_sees_projects_of_others(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    await cloud.add_user("bob", "red")
    listed = (await ann.get(f"{V3}/OS-FEDERATION/projects")).json["projects"]
    assert [project["name"] for project in listed] == ["blue"]


async def test_cve_2019_19687_nobody_lists_credentials_of_others(cloud: TestCloud) -> None:
    ann, bob = await cloud.add_user("ann", "blue"), await cloud.add_user("bob", "blue")
    assert (await ann.post(f"{V3}/credentials", {"credential": {"type": "x", "blob": "hush"}})).status == 201
    assert (await bob.get(f"{V3}/credentials")).json["credentials"] == []
    user = await find(cloud, "users?name=ann")
    assert (await bob.get(f"{V3}/credentials?user_id={user}")).json["credentials"] == []


async def test_cve_2021_3563_every_character_of_a_secret_counts(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user = await find(cloud, "users?name=ann")
    given = {"application_credential": {"name": "robot", "secret": "x" * 100}}
    made = await ann.post(f"{V3}/users/{user}/application_credentials", given)
    shown = {"id": made.json["application_credential"]["id"], "secret": "x" * 99}
    auth = {"identity": {"methods": ["application_credential"], "application_credential": shown}}
    assert (await cloud.anonymous.post(TOKENS, {"auth": auth})).status == 401


async def test_cve_2022_2447_a_token_does_not_outlive_its_credential(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user = await find(cloud, "users?name=ann")
    soon = "2999-01-01T00:00:00"
    given = {"application_credential": {"name": "robot", "expires_at": soon}}
    made = (await ann.post(f"{V3}/users/{user}/application_credentials", given)).json["application_credential"]
    in_a_minute = cloud.world.now_us() + 60_000_000
    sql = "UPDATE application_credentials SET expires_at_us = ?"
    await cloud.db.run(lambda tx: tx.execute(sql, (in_a_minute,)))
    shown = {"id": made["id"], "secret": made["secret"]}
    auth = {"identity": {"methods": ["application_credential"], "application_credential": shown}}
    answer = await cloud.anonymous.post(TOKENS, {"auth": auth})
    payload = await cloud.cloud.tokens.read(answer.headers["X-Subject-Token"])
    assert payload.expires_at_us == in_a_minute


def login(name: str, **more: Any) -> dict[str, Any]:
    user = {"name": name, "domain": {"id": "default"}, "password": name}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, **more}}


async def test_cve_2012_3542_nobody_joins_a_project_alone(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    await cloud.add_user("bob", "red")
    user, red = await find(cloud, "users?name=ann"), await find(cloud, "projects?name=red")
    for given in ({"default_project_id": red}, {"tenantId": red}, {"roles": ["admin"]}):
        assert (await ann.patch(f"{V3}/users/{user}", {"user": given})).status == 403
    await cloud.as_admin.patch(f"{V3}/users/{user}", {"user": {"default_project_id": red}})
    answer = await cloud.anonymous.post(TOKENS, login("ann"))
    assert "project" not in answer.json["token"], "a default project is no role"
    assert (await cloud.anonymous.post(TOKENS, login("ann", scope={"project": {"id": red}}))).status == 401


async def test_cve_2012_4457_no_token_for_what_is_disabled(cloud: TestCloud) -> None:
    await cloud.add_user("ann", "blue")
    project, user = await find(cloud, "projects?name=blue"), await find(cloud, "users?name=ann")
    scoped = login("ann", scope={"project": {"id": project}})
    assert (await cloud.anonymous.post(TOKENS, scoped)).status == 201
    await cloud.as_admin.patch(f"{V3}/projects/{project}", {"project": {"enabled": False}})
    assert (await cloud.anonymous.post(TOKENS, scoped)).status == 401
    assert (await cloud.anonymous.post(TOKENS, login("ann"))).status == 201
    await cloud.as_admin.patch(f"{V3}/users/{user}", {"user": {"enabled": False}})
    assert (await cloud.anonymous.post(TOKENS, login("ann"))).status == 401


async def test_cve_2012_5563_no_token_outlives_the_one_it_came_from_and_cve_2016_4911_says_which(
    cloud: TestCloud,
) -> None:
    ann = await cloud.add_user("ann", "blue")
    first = await cloud.cloud.tokens.read(ann.token)
    token, project = ann.token, await find(cloud, "projects?name=blue")
    for scope in ({"project": {"id": project}}, "unscoped", {"project": {"id": project}}):
        auth = {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": scope}
        answer = await cloud.anonymous.post(TOKENS, {"auth": auth})
        token = answer.headers["X-Subject-Token"]
        payload = await cloud.cloud.tokens.read(token)
        assert payload.expires_at_us == first.expires_at_us
        assert payload.audit_ids[-1] == first.audit_ids[-1], "the chain begins where the first login was"


async def test_cve_2013_2059_a_deleted_users_tokens_end(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user = await find(cloud, "users?name=ann")
    assert (await cloud.as_admin.delete(f"{V3}/users/{user}")).status == 204
    assert not await is_good(ann)
    shown = await cloud.as_admin.get(TOKENS, headers={"X-Subject-Token": ann.token})
    assert shown.status == 404


async def test_cve_2013_4477_taking_what_nobody_has_gives_nothing(cloud: TestCloud) -> None:
    await cloud.add_user("ann", "blue")
    user, role, project = [await find(cloud, q) for q in ("users?name=ann", "roles?name=admin", "projects?name=blue")]
    path = f"{V3}/projects/{project}/users/{user}/roles/{role}"
    assert (await cloud.as_admin.delete(path)).status == 404
    assert (await cloud.as_admin.get(path)).status == 404


async def test_cve_2014_2828_a_method_counts_once(cloud: TestCloud) -> None:
    await cloud.add_user("ann", "blue")
    body = login("ann")
    body["auth"]["identity"]["methods"] = ["password"] * 1000
    answer = await cloud.anonymous.post(TOKENS, body)
    assert answer.status == 400 or answer.json["token"]["methods"] == ["password"]


async def test_cve_2014_3621_a_catalogue_tells_no_settings(cloud: TestCloud) -> None:
    service = await find(cloud, "services?type=image")
    for name in ("admin_token", "admin_password", "connection", "self.__class__", "secret"):
        url = f"http://127.0.0.1:9/%({name})s/$({name})s"
        given = {"endpoint": {"service_id": service, "interface": "public", "url": url}}
        answer = await cloud.as_admin.post(f"{V3}/endpoints", given)
        assert answer.status in (201, 400)
    catalog = (await cloud.as_admin.get(f"{V3}/auth/catalog")).json["catalog"]
    urls = [endpoint["url"] for entry in catalog for endpoint in entry["endpoints"] if ":9/" in endpoint["url"]]
    assert all("%(" in url and "$(" in url for url in urls), "what isn't known stays as it was written"


async def test_cve_2014_5251_and_5252_what_came_before_a_change_ends_and_what_comes_after_is_good(
    cloud: TestCloud,
) -> None:
    """Though both were within the same second."""
    ann = await cloud.add_user("ann", "blue")
    change = {"user": {"original_password": "ann", "password": "anew"}}
    user = await find(cloud, "users?name=ann")
    assert (await cloud.anonymous.post(f"{V3}/users/{user}/password", change)).status == 204
    assert not await is_good(ann)
    assert await is_good(await cloud.login("ann", "anew", "blue"))
