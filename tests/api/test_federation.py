"""Federation's records over HTTP."""

from __future__ import annotations

from typing import Any

from ostro.testing import federated
from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"
ROOT = f"{V3}/OS-FEDERATION"
RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}]


async def test_providers_protocols_and_mappings(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    idp = f"{ROOT}/identity_providers/acme"
    created = await admin.put(idp, {"identity_provider": {"remote_ids": ["https://acme"], "enabled": True}})
    assert created.status == 201, created.body
    provider = created.json["identity_provider"]
    assert (provider["id"], provider["enabled"]) == ("acme", True)
    assert (await admin.get(f"{V3}/domains/{provider['domain_id']}")).status == 200, "its users' domain"
    assert (await admin.put(idp, {"identity_provider": {}})).status == 409
    twin = {"identity_provider": {"remote_ids": ["https://acme"]}}
    assert (await admin.put(f"{ROOT}/identity_providers/other", twin)).status == 409
    assert (await admin.put(f"{ROOT}/mappings/m", {"mapping": {"rules": RULES}})).status == 201
    assert (await admin.get(f"{ROOT}/mappings/m")).json["mapping"]["rules"] == RULES
    protocol = f"{idp}/protocols/openid"
    assert (await admin.put(protocol, {"protocol": {"mapping_id": "nothing"}})).status == 400
    made = await admin.put(protocol, {"protocol": {"mapping_id": "m"}})
    assert made.status == 201 and made.json["protocol"]["links"]["identity_provider"].endswith("/acme")
    assert (await admin.put(protocol, {"protocol": {"mapping_id": "m"}})).status == 409
    assert len((await admin.get(f"{idp}/protocols")).json["protocols"]) == 1
    changed = await admin.patch(protocol, {"protocol": {"remote_id_attribute": "iss"}})
    assert changed.json["protocol"]["remote_id_attribute"] == "iss"
    assert (await admin.delete(protocol)).status == 204
    assert (await admin.get(protocol)).status == 404
    off = await admin.patch(idp, {"identity_provider": {"enabled": False}})
    assert off.json["identity_provider"]["enabled"] is False
    assert (await admin.get(f"{ROOT}/identity_providers?enabled=true")).json["identity_providers"] == []
    assert (await admin.delete(idp)).status == 204
    ann = await cloud.add_user("ann", "blue")
    assert (await ann.get(f"{ROOT}/identity_providers")).status == 403


async def test_service_providers(cloud: TestCloud) -> None:
    admin, one = cloud.as_admin, f"{ROOT}/service_providers/east"
    given = {"auth_url": "https://east/v3", "sp_url": "https://east/sp"}
    created = (await admin.put(one, {"service_provider": given})).json["service_provider"]
    assert created["relay_state_prefix"] == "ss:mem:" and created["enabled"] is False
    changed = await admin.patch(one, {"service_provider": {"description": "d"}})
    assert changed.json["service_provider"]["description"] == "d"
    assert len((await admin.get(f"{ROOT}/service_providers")).json["service_providers"]) == 1
    assert (await admin.delete(one)).status == 204


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
        {"mapping": {"rules": federated.RULES, "schema_version": "3.0"}},
    ]
    for body in bad:
        assert (await federation.as_admin.put(f"{ROOT}/mappings/bad", body)).status == 400, body
        assert (await federation.as_admin.patch(f"{ROOT}/mappings/acme", body)).status == 400, body
    assert (await federation.as_admin.get(f"{ROOT}/mappings/acme")).json["mapping"]["rules"] == federated.RULES


async def test_service_providers_are_shown_in_tokens(cloud: TestCloud) -> None:
    one = f"{ROOT}/service_providers/east"
    given = {"auth_url": "https://east/v3", "sp_url": "https://east/sp", "enabled": True}
    await cloud.as_admin.put(one, {"service_provider": given})
    headers = {"X-Subject-Token": cloud.as_admin.token}
    token = (await cloud.as_admin.get(f"{V3}/auth/tokens", headers=headers)).json["token"]
    assert token["service_providers"] == [{"id": "east", "auth_url": "https://east/v3", "sp_url": "https://east/sp"}]
    await cloud.as_admin.patch(one, {"service_provider": {"enabled": False}})
    assert "service_providers" not in (await cloud.as_admin.get(f"{V3}/auth/tokens", headers=headers)).json["token"]
