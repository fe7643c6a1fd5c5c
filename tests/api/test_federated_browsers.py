"""Signing in by a browser at a real OpenID provider, and what must be refused of what browsers bring."""

from __future__ import annotations

import re

import orjson

from ostro.store.audit import Search, search_records
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.federated import (
    AUTH,
    CALLBACK,
    DASHBOARD,
    V3,
    WEBSSO,
    bring,
    come_back,
    cookie_of,
    location,
    query_of,
)
from ostro.testing.oidc import OidcServer


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
