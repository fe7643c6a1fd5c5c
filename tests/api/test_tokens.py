"""Tokens over HTTP."""

from __future__ import annotations

from ostro.testing.cloud import ADMIN_PASSWORD, ApiClient, TestCloud


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
