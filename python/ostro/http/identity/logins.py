"""Signing in by an identity provider: ``.../protocols/{protocol}/auth`` for clients, ``.../websso`` for dashboards, and where providers send browsers back to.

Register ``<public URL>/identity/v3/auth/OS-FEDERATION/oidc/callback`` with the provider.
"""

from __future__ import annotations

import base64
import hashlib
import html

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.tokens import RECEIPT, TOKEN, receipt_reply, token_reply
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING
from ostro.model.errors import Unauthenticated
from ostro.services.identity.auth import NeedsMore, Scope, Shown
from ostro.services.identity.federated import Admitted
from ostro.services.identity.logins import LOGIN_S, Login, cookie_name
from ostro.services.identity.tokens import REFUSED

PROVIDER_PATH = "OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"
AUTH_PATH = f"/v3/{PROVIDER_PATH}/auth"
CALLBACK_PATH = "/v3/auth/OS-FEDERATION/oidc/callback"
ORIGIN = {"origin": STRING}
_SCRIPT = "document.forms[0].submit()"
_SCRIPT_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_PRIVATE = [
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
]


def bearer(req: Request) -> str:
    """The access token of the request; empty without one."""
    scheme, _, token = req.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _issue(req: Request, admitted: Admitted) -> Reply:
    """An unscoped token for whom an identity provider vouches for."""
    shown = Shown(admitted=admitted)
    shown.add(admitted.user_id, admitted.protocol_id)
    try:
        token, actor = await req.cloud.authenticator.finish(shown, Scope(unscoped=True))
    except NeedsMore as more:
        return await receipt_reply(req, more)
    if req.trail is not None:
        req.trail.actor = actor
    return await token_reply(req, actor, token, status=201)


async def _send_away(req: Request, idp_id: str, protocol_id: str, origin: str = "") -> Reply:
    """Send the browser to the provider, with what it must bring back in a cookie. Nobody has logged in yet."""
    req.trail = None
    redirect_uri = req.url("/identity" + CALLBACK_PATH)
    started = await req.cloud.logins.start(idp_id, protocol_id, redirect_uri, origin)
    return Reply(
        status=302, headers=[("Location", started.url), *_PRIVATE, _cookie(req, started.cookie, started.sealed)]
    )


def _cookie(req: Request, name: str, value: str) -> tuple[str, str]:
    """Kept for the callback only; an empty value takes it back."""
    secure = "; Secure" if req.base_url.startswith("https://") else ""
    age_s = LOGIN_S if value else 0
    return (
        "Set-Cookie",
        f"{name}={value}; Path=/identity{CALLBACK_PATH}; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}",
    )


@IDENTITY.route(
    "POST",
    AUTH_PATH,
    policy="identity:federated_authenticate",
    rule=Rule.PUBLIC,
    status=201,
    response={"anyOf": [TOKEN, RECEIPT]},
    summary="Issue an unscoped token for an identity provider's access token",
)
async def authenticate_federated(req: Request) -> Reply:
    given = req.params["idp_id"], req.params["protocol_id"]
    return await _issue(req, await req.cloud.logins.admit_bearer(req.context, *given, bearer(req)))


@IDENTITY.route(
    "GET",
    AUTH_PATH,
    policy="identity:federated_authenticate",
    rule=Rule.PUBLIC,
    status=201,
    response={"anyOf": [TOKEN, RECEIPT]},
    summary="The same; a browser, which has no access token, is sent to the identity provider",
)
async def authenticate_browser(req: Request) -> Reply:
    if "Authorization" in req.headers:
        return await authenticate_federated(req)
    return await _send_away(req, req.params["idp_id"], req.params["protocol_id"])


@IDENTITY.route(
    "GET",
    "/v3/auth/OS-FEDERATION/websso/{protocol_id}",
    policy="identity:federated_authenticate",
    rule=Rule.PUBLIC,
    status=302,
    query=ORIGIN,
    summary="Send a dashboard's user to the identity provider that speaks a protocol",
)
async def start_websso(req: Request) -> Reply:
    origin = req.query.get("origin", "")
    req.cloud.logins.check_origin(origin)
    found = await req.cloud.logins.find_only_source(req.params["protocol_id"])
    return await _send_away(req, *found, origin)


@IDENTITY.route(
    "GET",
    "/v3/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso",
    policy="identity:federated_authenticate",
    rule=Rule.PUBLIC,
    status=302,
    query=ORIGIN,
    summary="Send a dashboard's user to an identity provider",
)
async def start_websso_at(req: Request) -> Reply:
    origin = req.query.get("origin", "")
    req.cloud.logins.check_origin(origin)
    return await _send_away(req, req.params["idp_id"], req.params["protocol_id"], origin)


@IDENTITY.route(
    "GET",
    CALLBACK_PATH,
    policy="identity:federated_authenticate",
    rule=Rule.PUBLIC,
    status=201,
    response={"anyOf": [TOKEN, RECEIPT]},
    query={"code": STRING, "state": STRING, "iss": STRING, "error": STRING},
    summary="Where identity providers send browsers back to",
)
async def finish_login(req: Request) -> Reply:
    answered = {name: req.query[name] for name in ("code", "state", "iss", "error") if name in req.query}
    name = cookie_name(answered.get("state", ""))
    sealed = _read_cookie(req, name)
    if not sealed:
        raise Unauthenticated(REFUSED, detail="no login of this browser is waiting")
    admitted, login = await req.cloud.logins.complete(req.context, sealed, answered)
    reply = await _issue(req, admitted)
    forget = [*_PRIVATE, _cookie(req, name, "")]
    token = dict(reply.headers).get("X-Subject-Token", "")
    if not login.origin or not token:
        return Reply(reply.body, reply.status, [*reply.headers, *forget])
    headers = [*forget, ("Content-Security-Policy", f"default-src 'none'; script-src 'sha256-{_SCRIPT_DIGEST}'")]
    return Reply(_websso_page(login, token), 200, headers, "text/html; charset=utf-8")


def _read_cookie(req: Request, name: str) -> str:
    for header in req.headers.getlist("Cookie"):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
    return ""


def _websso_page(login: Login, token: str) -> bytes:
    """A page that hands the token to the dashboard, as upstream's does."""
    origin, value = html.escape(login.origin, quote=True), html.escape(token, quote=True)
    return (
        "<!DOCTYPE html>\n<html><head><title>Signing in</title></head><body>\n"
        f'<form id="sso" name="sso" action="{origin}" method="post">Please wait...<br/>\n'
        f'<input type="hidden" name="token" id="token" value="{value}"/>\n'
        '<noscript><input type="submit" name="submit_no_javascript" id="submit_no_javascript" '
        'value="If your JavaScript is disabled, please click to continue"/></noscript>\n'
        f"</form>\n<script>{_SCRIPT}</script>\n</body></html>\n"
    ).encode()
