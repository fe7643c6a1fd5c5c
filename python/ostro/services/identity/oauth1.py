"""OAuth 1.0a (RFC 5849): a consumer asks for some of a user's roles on a project, the user agrees, the consumer gets tokens of them.

Requests are signed with HMAC-SHA1 or HMAC-SHA256 over method, URL and parameters; each is good once and for ten minutes. What a consumer may
do is judged anew whenever its token is used, see ``delegation``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ostro.model.context import Context
from ostro.model.errors import Forbidden, Invalid, Unauthenticated
from ostro.services.identity.access import missing, need_project, need_role, need_user
from ostro.services.identity.assignments import list_role_ids_on
from ostro.services.identity.credentials import check_not_delegated
from ostro.services.identity.sealing import Sealer
from ostro.services.identity.tokens import REFUSED
from ostro.store.database import Tx
from ostro.store.oauth1 import (
    ACCESS_TOKENS,
    CONSUMERS,
    REQUEST_TOKENS,
    AccessToken,
    Consumer,
    RequestToken,
    forget_nonces,
    see_nonce,
)
from ostro.store.roles import ROLES, Role
from ostro.store.tokens import TOPIC

WINDOW_S = 600
REQUEST_LIFETIME_US = 28_800 * 1_000_000
ACCESS_LIFETIME_US = 86_400 * 1_000_000
DIGESTS = {"HMAC-SHA1": hashlib.sha1, "HMAC-SHA256": hashlib.sha256}
PORTS = {"http": 80, "https": 443}


class Signed(NamedTuple):
    """A request as its signature covers it."""

    method: str
    url: str
    query: str
    fields: Mapping[str, str]
    """Of the Authorization header."""


def parse_authorization(header: str) -> dict[str, str]:
    """The fields of an ``OAuth`` header. Raises Unauthenticated for any other."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "oauth":
        raise Unauthenticated(REFUSED, detail="no OAuth header")
    fields = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        fields[unquote(name)] = unquote(value.strip('"'))
    return fields


def _encode(text: str) -> str:
    return quote(text, safe="-._~")


def sign(signed: Signed, consumer_secret: str, token_secret: str) -> str:
    """The right signature."""
    digest = DIGESTS.get(signed.fields.get("oauth_signature_method", ""))
    if digest is None:
        raise Invalid("The signature's method is not supported.")
    parts = urlsplit(signed.url)
    port = "" if parts.port in (None, PORTS.get(parts.scheme)) else f":{parts.port}"
    base_url = f"{parts.scheme}://{(parts.hostname or '').lower()}{port}{parts.path}"
    pairs = [(k, v) for k, v in signed.fields.items() if k not in ("realm", "oauth_signature")]
    pairs += parse_qsl(signed.query, keep_blank_values=True)
    shown = "&".join(f"{k}={v}" for k, v in sorted((_encode(k), _encode(v)) for k, v in pairs))
    base = "&".join(_encode(part) for part in (signed.method.upper(), base_url, shown))
    key = f"{_encode(consumer_secret)}&{_encode(token_secret)}"
    return base64.b64encode(hmac.digest(key.encode(), base.encode(), digest)).decode()


def _check(tx: Tx, signed: Signed, sealer: Sealer, token_id: str, sealed_token_secret: str, now_us: int) -> Consumer:
    """The consumer that signed. Raises Unauthenticated."""
    fields = signed.fields
    consumer = CONSUMERS.find(tx, id=fields.get("oauth_consumer_key", ""))
    consumer_secret = sealer.open(consumer.sealed_secret) if consumer else ""
    token_secret = sealer.open(sealed_token_secret) if sealed_token_secret else ""
    right = sign(signed, consumer_secret, token_secret)
    good = hmac.compare_digest(right.encode(), fields.get("oauth_signature", "").encode())
    try:
        age_s = abs(now_us // 1_000_000 - int(fields.get("oauth_timestamp", "")))
    except ValueError:
        age_s = WINDOW_S + 1
    if consumer is None or not good or age_s > WINDOW_S or not fields.get("oauth_nonce"):
        raise Unauthenticated(REFUSED, detail="wrong signature, consumer or time")
    forget_nonces(tx, now_us - 2 * WINDOW_S * 1_000_000)
    if not see_nonce(tx, consumer.id, token_id, fields["oauth_nonce"], now_us):
        raise Unauthenticated(REFUSED, detail="the nonce was used before")
    return consumer


def create_request_token(
    tx: Tx, context: Context, signed: Signed, sealer: Sealer, project_id: str, sealed_secret: str
) -> RequestToken:
    """A consumer's request for access to a project."""
    consumer = _check(tx, signed, sealer, "", "", context.now_us)
    need_project(tx, project_id)
    expires_at_us = context.now_us + REQUEST_LIFETIME_US
    row = RequestToken(context.new_hex_id(), sealed_secret, consumer.id, project_id, "", "", [], expires_at_us)
    return REQUEST_TOKENS.insert(tx, row)


def authorize_request_token(
    tx: Tx, context: Context, id_: str, given: Sequence[Mapping[str, str]], verifier: str
) -> str:
    """Let the consumer have some of the actor's roles on the project that it asked for; the verifier that it must show."""
    context.enforce("identity:authorize_request_token")
    check_not_delegated(context)
    row = REQUEST_TOKENS.find(tx, id=id_)
    if row is None:
        raise missing("request token", id_)
    if row.expires_at_us <= context.now_us:
        raise Unauthenticated(REFUSED, detail="the request has expired")
    have = list_role_ids_on(tx, context.user_id, row.project_id, context.now_us)
    role_ids = [_role_id(tx, wanted) for wanted in given]
    if not role_ids or not set(role_ids) <= have:
        raise Unauthenticated("The authorizing user does not have the roles that are asked for.")
    REQUEST_TOKENS.update(tx, id_, user_id=context.user_id, verifier=verifier, role_ids=role_ids)
    return verifier


def _role_id(tx: Tx, wanted: Mapping[str, str]) -> str:
    if "id" in wanted:
        return need_role(tx, wanted["id"]).id
    role = ROLES.find(tx, name=wanted.get("name", ""), domain_id="")
    if role is None:
        raise missing("role", wanted.get("name", ""))
    return role.id


def create_access_token(tx: Tx, context: Context, signed: Signed, sealer: Sealer, sealed_secret: str) -> AccessToken:
    """What an authorized request is exchanged for, once."""
    row = REQUEST_TOKENS.find(tx, id=signed.fields.get("oauth_token", ""))
    if row is None:
        raise Unauthenticated(REFUSED, detail="no such request")
    consumer = _check(tx, signed, sealer, row.id, row.sealed_secret, context.now_us)
    shown = signed.fields.get("oauth_verifier", "")
    if (
        consumer.id != row.consumer_id
        or not row.verifier
        or not hmac.compare_digest(shown.encode(), row.verifier.encode())
        or row.expires_at_us <= context.now_us
    ):
        raise Unauthenticated(REFUSED, detail="not authorized, expired or another consumer's")
    REQUEST_TOKENS.delete(tx, row.id)
    token = AccessToken(
        context.new_hex_id(),
        sealed_secret,
        consumer.id,
        row.project_id,
        row.user_id,
        row.role_ids,
        context.now_us + ACCESS_LIFETIME_US,
    )
    return ACCESS_TOKENS.insert(tx, token)


def verify_access_token(tx: Tx, signed: Signed, sealer: Sealer, now_us: int) -> AccessToken:
    """The access token that a consumer shows in exchange for a token of Identity. Raises Unauthenticated."""
    row = ACCESS_TOKENS.find(tx, id=signed.fields.get("oauth_token", ""))
    if row is None:
        raise Unauthenticated(REFUSED, detail="no such access token")
    consumer = _check(tx, signed, sealer, row.id, row.sealed_secret, now_us)
    if consumer.id != row.consumer_id or (row.expires_at_us and row.expires_at_us <= now_us):
        raise Unauthenticated(REFUSED, detail="expired or another consumer's")
    return row


def _own(context: Context, user_id: str, policy: str) -> None:
    """Users see and end what they gave, and nobody else's. A delegated token sees nothing."""
    context.enforce(policy)
    check_not_delegated(context)
    if context.actor.access_token_id:
        raise Forbidden("Cannot list request tokens with a token issued via delegation.")
    if context.user_id != user_id:
        raise missing("access token", user_id)


def list_access_tokens(tx: Tx, context: Context, user_id: str) -> list[AccessToken]:
    """What a user gave to consumers."""
    _own(context, user_id, "identity:list_access_tokens")
    need_user(tx, user_id)
    return ACCESS_TOKENS.list(tx, user_id=user_id, order="id")


def get_access_token(
    tx: Tx, context: Context, user_id: str, id_: str, policy: str = "identity:get_access_token"
) -> tuple[AccessToken, list[Role]]:
    """One of them, and its roles."""
    _own(context, user_id, policy)
    row = ACCESS_TOKENS.find(tx, id=id_, user_id=user_id)
    if row is None:
        raise missing("access token", id_)
    return row, ROLES.list(tx, id=row.role_ids, order="name")


def delete_access_token(tx: Tx, context: Context, user_id: str, id_: str) -> None:
    """Take back what was given; tokens by it end at once."""
    get_access_token(tx, context, user_id, id_, "identity:delete_access_token")
    ACCESS_TOKENS.delete(tx, id_)
    tx.ring(TOPIC)
