"""Federation in tests: a cloud that knows the provider of ``testing/oidc.py`` as ``acme``, and what its users do."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ostro.testing.cloud import Answer, TestCloud

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
    """Change the rules of the mapping ``acme``."""
    body = {"mapping": {"rules": rules, "schema_version": version}}
    answer = await cloud.as_admin.patch(f"{ROOT}/mappings/acme", body)
    assert answer.status == 200, answer.body


async def bring(cloud: TestCloud, token: str, path: str = AUTH) -> Answer:
    """Bring an access token of the provider."""
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
    """Exchange a token for one of a project."""
    auth = {"identity": {"methods": [method], method: {"id": token}}, "scope": {"project": {"id": project}}}
    return await cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": auth})


def location(answer: Answer) -> str:
    """Where a browser is sent."""
    assert answer.status == 302, answer.body
    return answer.headers["Location"]


def cookie_of(answer: Answer) -> str:
    """The cookie that a browser was given."""
    return answer.headers["Set-Cookie"].partition(";")[0]


def query_of(url: str) -> dict[str, str]:
    """A URL's query."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def come_back(cloud: TestCloud, cookie: str, **answered: str) -> Answer:
    """The browser comes back from the provider."""
    return await cloud.anonymous.get(f"{CALLBACK}?{urlencode(answered)}", headers={"Cookie": cookie})
