"""Tokens over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.services.identity import auth
from ostro.testing.cloud import ADMIN_PASSWORD, ApiClient, TestCloud, open_cloud

EVERY_SERVICE = (
    "/identity/v3/projects",
    "/compute/v2.1/servers",
    "/image/v2/images",
    "/networking/v2.0/networks",
    "/volume/v3/volumes",
    "/placement/resource_providers",
    "/object-store/v1/AUTH_x",
)


def _login(password: str, scope: object = None) -> dict[str, object]:
    auth: dict[str, object] = {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": password}},
        }
    }
    if scope is not None:
        auth["scope"] = scope
    return {"auth": auth}


async def test_wrong_password_is_401_in_identitys_shape(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.post("/identity/v3/auth/tokens", _login("wrong"))
    assert answer.status == 401
    assert answer.json["error"]["code"] == 401
    assert answer.headers["WWW-Authenticate"].startswith("Keystone")


async def test_project_scope_has_roles_and_catalog(cloud: TestCloud) -> None:
    scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
    answer = await cloud.anonymous.post("/identity/v3/auth/tokens", _login(ADMIN_PASSWORD, scope))
    token = answer.json["token"]
    assert {r["name"] for r in token["roles"]} == {"admin", "manager", "member", "reader"}
    types = {entry["type"] for entry in token["catalog"]}
    assert {"identity", "compute", "network", "image", "placement", "block-storage", "object-store"} <= types


async def test_system_scope(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.post("/identity/v3/auth/tokens", _login(ADMIN_PASSWORD, {"system": {"all": True}}))
    assert answer.json["token"]["system"] == {"all": True}


async def test_revoked_token_is_refused_at_once(cloud: TestCloud) -> None:
    client = await cloud.login("admin", ADMIN_PASSWORD, "admin")
    gone = await cloud.as_admin.delete("/identity/v3/auth/tokens", headers={"X-Subject-Token": client.token})
    assert gone.status == 204
    shown = await client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": client.token})
    assert shown.status == 401


async def test_foreign_token_is_401(cloud: TestCloud) -> None:
    client = ApiClient(cloud.app, "gAAAAABnonsense")
    answer = await client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": cloud.as_admin.token})
    assert answer.status == 401


async def test_malformed_json_is_400(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.request(
        "POST", "/identity/v3/auth/tokens", data=b"{", headers={"Content-Type": "application/json"}
    )
    assert answer.status == 400
    assert answer.json["error"]["title"] == "Bad Request"


async def test_unknown_path_is_404_in_the_services_shape(cloud: TestCloud) -> None:
    answer = await cloud.as_admin.get("/identity/v3/nothing")
    assert answer.status == 404
    assert answer.json["error"]["code"] == 404


async def test_expired_token_is_401_everywhere(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LIFETIME_US", -1)
    late = await cloud.login("admin", ADMIN_PASSWORD, "admin")
    for path in EVERY_SERVICE:
        answer = await late.get(path)
        assert answer.status == 401, (path, answer.body)
    shown = await cloud.as_admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": late.token})
    assert shown.status == 404


async def test_another_clouds_token_is_401_everywhere(cloud: TestCloud, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with open_cloud(tmp_path / "other", seed=2) as other:
        stranger = ApiClient(cloud.app, other.as_admin.token)
        for path in EVERY_SERVICE:
            assert (await stranger.get(path)).status == 401, path
