"""Every route of Identity by every persona, and the operator's own rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ostro.http.identity import IDENTITY
from ostro.http.policy import Rule
from ostro.model.errors import Invalid
from ostro.services.cloud import read_policies
from ostro.testing.cloud import ApiClient, TestCloud, open_cloud

V3 = "/identity/v3"
PERSONAS = [
    (scope, role)
    for scope in ("system", "domain", "project")
    for role in ("admin", "manager", "member", "reader", "service")
]


async def login_as(cloud: TestCloud, scope: str, role: str) -> ApiClient:
    """A new user with just this role on just this scope."""
    admin, name = cloud.as_admin, f"{scope}-{role}"
    user = (await admin.post(f"{V3}/users", {"user": {"name": name, "password": "pw"}})).json["user"]["id"]
    (found,) = (await admin.get(f"{V3}/roles?name={role}")).json["roles"]
    (project,) = (await admin.get(f"{V3}/projects?name=admin")).json["projects"]
    target = {"system": "system", "domain": "domains/default", "project": f"projects/{project['id']}"}[scope]
    assert (await admin.put(f"{V3}/{target}/users/{user}/roles/{found['id']}")).status == 204
    scopes: dict[str, Any] = {
        "system": {"system": {"all": True}},
        "domain": {"domain": {"id": "default"}},
        "project": {"project": {"id": project["id"]}},
    }
    identity = {"methods": ["password"], "password": {"user": {"id": user, "password": "pw"}}}
    answer = await cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": identity, "scope": scopes[scope]}})
    assert answer.status == 201, answer.body
    return ApiClient(cloud.app, answer.headers["X-Subject-Token"])


async def test_every_route_minds_its_policy(cloud: TestCloud) -> None:
    """Whoever no target could let pass is refused before anything else is looked at; nobody else is refused for that."""
    clients = {persona: await login_as(cloud, *persona) for persona in PERSONAS}
    refused = 0
    for route in IDENTITY.routes:
        if route.rule is not Rule.POLICY:
            continue
        assert route.policy in cloud.cloud.policies, f"{route.policy} is no policy of upstream's"
        path = "/identity" + re.sub(r"\{\w+\}", "0" * 32, route.path)
        for persona, client in clients.items():
            actor = await cloud.cloud.tokens.validate(client.token)
            may = cloud.cloud.policies.may(route.policy, actor)
            answer = await client.request(route.method, path)
            assert answer.status < 500, f"{route.method} {path} by {persona}: {answer.body!r}"
            if not may:
                refused += 1
                assert answer.status == 403, f"{route.method} {path} by {persona}"
    assert refused > 1000, "personas differ"


async def test_the_operators_rules_take_effect(tmp_path: Path) -> None:
    rules = 'identity:list_regions: "role:admin"\n"identity:create_region": "role:reader"\n"network:get_network": "role:admin"\n'
    (tmp_path / "policy.yaml").write_text(rules)
    async with open_cloud(tmp_path) as cloud:
        ann = await cloud.add_user("ann", "blue", "reader")
        assert (await ann.get(f"{V3}/regions")).status == 403
        assert (await ann.post(f"{V3}/regions", {"region": {"id": "north"}})).status == 201
        assert (await ann.get("/networking/v2.0/networks")).status == 403, "also of other services"
        assert (await cloud.as_admin.get("/networking/v2.0/networks")).status == 200


@pytest.mark.parametrize("text", ["identity:list_regions: 1", "- a", 'a: "role:x and"', 'a: "http://example"'])
def test_a_file_that_is_wrong_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(Invalid):
        read_policies(tmp_path)
