"""``/v3/OS-OAUTH2/token``: the client credentials grant of RFC 6749. The client is an application credential."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qs, unquote

from ostro.http.identity.service import IDENTITY
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import check_size, shape
from ostro.model.errors import Unauthenticated
from ostro.services.identity.auth import Scope, Shown

FORM_MOST_BYTES = 16_384


def _refuse(error: str, description: str, status: int) -> Reply:
    """An error as RFC 6749 has it."""
    challenge = [("WWW-Authenticate", 'Basic realm="Ostro"')] if status == 401 else []
    return Reply({"error": error, "error_description": description}, status, headers=challenge)


async def _read_form(req: Request) -> dict[str, str]:
    data = b""
    async for part in req.stream():
        data += part
        check_size(len(data), FORM_MOST_BYTES)
    return {name: values[0] for name, values in parse_qs(data.decode(errors="replace")).items()}


def _client(req: Request) -> dict[str, Any] | None:
    """Id and secret of the Basic header; None without one."""
    scheme, _, rest = req.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        id_, colon, secret = base64.b64decode(rest).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return {"id": unquote(id_), "secret": unquote(secret)} if colon else None


@IDENTITY.route(
    "POST",
    "/v3/OS-OAUTH2/token",
    policy="identity:oauth2_token",
    rule=Rule.PUBLIC,
    streams=True,
    response=shape({}),
    summary="Exchange an application credential for a bearer token",
)
async def issue_bearer(req: Request) -> Reply:
    form = await _read_form(req)
    if form.get("grant_type") != "client_credentials":
        what = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        return _refuse(what, "The grant type must be client_credentials.", 400)
    client = _client(req)
    if client is None:
        return _refuse("invalid_client", "Client authentication is required.", 401)
    shown = Shown()
    try:
        shown.application_credential = await req.cloud.authenticator.verify_application_credential(client)
        shown.add(shown.application_credential.user_id, "application_credential")
        token, actor = await req.cloud.authenticator.finish(shown, Scope())
    except Unauthenticated:
        return _refuse("invalid_client", "Client authentication failed.", 401)
    lifetime_s = (actor.expires_at_us - req.context.now_us) // 1_000_000
    body = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime_s}
    return Reply(body, headers=[("Cache-Control", "no-store"), ("Pragma", "no-cache")])
