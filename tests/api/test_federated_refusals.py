"""What is refused of what providers and their users bring: tokens, signatures, keys, and whoever was switched off."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.federated import AUTH, ROOT, V3, add_group, add_provider, bring, scope
from ostro.testing.oidc import OidcServer


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


async def test_only_the_callers_own_projects_are_listed(federation: TestCloud, oidc: OidcServer) -> None:
    """CVE-2018-14432."""
    await federation.add_user("zoe", "zoes-own")
    assert (await federation.anonymous.get(f"{ROOT}/projects")).status == 401
    ann = ApiClient(federation.app, (await bring(federation, oidc.access_token())).headers["X-Subject-Token"])
    assert (await ann.get(f"{ROOT}/projects")).json["projects"] == []


async def test_a_token_does_not_renew_itself(federation: TestCloud, oidc: OidcServer) -> None:
    """CVE-2026-44394."""
    _group, project = await add_group(federation, "ops", "web", "member")
    made = await bring(federation, oidc.access_token())
    token, first = made.headers["X-Subject-Token"], made.json["token"]
    for method in ("token", "mapped", "token"):
        answer = await scope(federation, token, project, method)
        assert answer.json["token"]["expires_at"] == first["expires_at"]
        token = answer.headers["X-Subject-Token"]
