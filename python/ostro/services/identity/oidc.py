"""OpenID Connect, as a client of other people's providers: access tokens that somebody brings, and the authorization-code flow.

What a provider is and with which keys it signs is read from its discovery document and key set, remembered for an hour, and read again when a token names
a key that isn't there, at most every ``KEYS_LEAST_S``. Signatures are checked by joserfc, by asymmetric algorithms only. Nothing here runs in a transaction.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
import structlog
import trio
from joserfc import jws, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from ostro.model.errors import Unauthenticated, Unavailable
from ostro.runtime.web import Web
from ostro.runtime.world import World
from ostro.services.identity.settings import OidcProvider
from ostro.services.identity.tokens import REFUSED

log = structlog.get_logger()

Claims = dict[str, Any]

REMEMBER_S = 3600.0
KEYS_LEAST_S = 10.0
FAILED_S = 5.0
"""How long a provider that didn't answer isn't asked again, so that those who wait for it don't wait one after the other."""
LEEWAY_S = 60
TOKEN_MOST_CHARS = 16_384
KEYS_MOST = 100
CLAIMS_MOST = 500
ACCESS_TOKEN_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")
ID_TOKEN_CLAIMS = frozenset(("nonce", "at_hash", "c_hash"))
"""What only a token for the client itself has: it shows who logged in there, and is no leave to act for them elsewhere."""


def refused(detail: str) -> Unauthenticated:
    """Whatever was wrong, the caller is told the same; the log says more."""
    return Unauthenticated(REFUSED, detail=detail)


@dataclass
class _Known:
    """What is remembered of a provider."""

    document: Mapping[str, Any] = field(default_factory=dict)
    keys: KeySet | None = None
    document_at_s: float = float("-inf")
    keys_at_s: float = float("-inf")
    failed_at_s: float = float("-inf")
    lock: trio.Lock = field(default_factory=trio.Lock)


class Oidc:
    """Speaks to providers, for one process."""

    def __init__(self, world: World, web: Web) -> None:
        self._world = world
        self._web = web
        self._known: dict[str, _Known] = {}

    async def verify_access_token(self, providers: list[OidcProvider], token: str) -> Claims:
        """The claims of an access token of one of these providers. Raises Unauthenticated, Unavailable."""
        if not token or len(token) > TOKEN_MOST_CHARS:
            raise refused("no access token, or a huge one")
        header, unverified = _peek(token)
        provider = _choose(providers, unverified)
        if unverified is None or provider.introspect:
            claims = await self._introspect(provider, token)
        else:
            if str(header.get("typ", "")).lower() not in ACCESS_TOKEN_TYPES or ID_TOKEN_CLAIMS & unverified.keys():
                raise refused("this is no access token")
            claims = await self._verify(provider, token, provider.accepted_audiences)
        if provider.userinfo:
            claims = {**await self._userinfo(provider, token, str(claims["sub"])), **claims}
        return claims

    async def authorization_url(self, provider: OidcProvider, asked: Mapping[str, str]) -> str:
        """Where to send a browser."""
        document = await self._document(provider)
        endpoint = _endpoint(provider, document, "authorization_endpoint")
        query = {"response_type": "code", "client_id": provider.client_id, "scope": " ".join(provider.scopes), **asked}
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    async def redeem(
        self, provider: OidcProvider, *, code: str, verifier: str, redirect_uri: str, nonce: str
    ) -> Claims:
        """The claims of who logged in, for the code that the browser brought back. Raises Unauthenticated, Unavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        answer = await self._ask(provider, "token_endpoint", form)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str) or len(id_token) > TOKEN_MOST_CHARS:
            raise refused("the provider answered without an ID token")
        claims = await self._verify(provider, id_token, (provider.client_id,), nonce=nonce)
        audience = claims["aud"]
        if claims.get("azp", provider.client_id) != provider.client_id or (
            isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
        ):
            raise refused("the ID token is for another client")
        access_token = answer.get("access_token")
        if provider.userinfo and isinstance(access_token, str):
            claims = {**await self._userinfo(provider, access_token, str(claims["sub"])), **claims}
        return claims

    async def _verify(self, provider: OidcProvider, token: str, audiences: Sequence[str], nonce: str = "") -> Claims:
        """The claims of a token that the provider signed, for one of the audiences, and that holds now."""
        try:
            try:
                decoded = jwt.decode(token, await self._keys(provider), algorithms=provider.algorithms)
            except InvalidKeyIdError:
                decoded = jwt.decode(token, await self._keys(provider, again=True), algorithms=provider.algorithms)
            registry = jwt.JWTClaimsRegistry(
                now=self._world.now_us() // 1_000_000,
                leeway=LEEWAY_S,
                iss={"essential": True, "value": provider.issuer},
                sub={"essential": True},
                exp={"essential": True},
            )
            registry.validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise refused(f"token of {provider.issuer}: {error!r}") from error
        _check_audience(decoded.claims, audiences)
        if nonce and not hmac.compare_digest(str(decoded.claims.get("nonce", "")).encode(), nonce.encode()):
            raise refused("the ID token has another nonce")
        return decoded.claims

    async def _introspect(self, provider: OidcProvider, token: str) -> Claims:
        """What the provider says of a token (RFC 7662)."""
        claims = await self._ask(
            provider, "introspection_endpoint", {"token": token, "token_type_hint": "access_token"}
        )
        now_s = self._world.now_us() // 1_000_000
        if claims.get("active") is not True or not isinstance(claims.get("sub"), str):
            raise refused("the provider says that the token isn't active")
        if claims.get("iss", provider.issuer) != provider.issuer:
            raise refused("the token is another issuer's")
        expires_s = claims.get("exp", now_s + 1)
        if not isinstance(expires_s, int | float) or expires_s <= now_s - LEEWAY_S:
            raise refused("the token has expired")
        # Providers that don't name an audience name at least the client that the token was given to.
        _check_audience({"aud": claims.get("aud") or claims.get("client_id")}, provider.accepted_audiences)
        return {**claims, "iss": provider.issuer}

    async def _userinfo(self, provider: OidcProvider, access_token: str, subject: str) -> Claims:
        endpoint = _endpoint(provider, await self._document(provider), "userinfo_endpoint")
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await self._web.call("GET", endpoint, headers=headers, ca_file=provider.ca_file)
        claims = answer.json
        if answer.status != 200 or not isinstance(claims, dict) or claims.get("sub") != subject:
            raise refused(f"userinfo of {provider.issuer} answered {answer.status}, or of somebody else")
        return claims

    async def _ask(self, provider: OidcProvider, name: str, form: dict[str, str]) -> Claims:
        """Call an endpoint as the client that we are."""
        document = await self._document(provider)
        endpoint = _endpoint(provider, document, name)
        headers = {}
        if not provider.client_secret:
            form = {**form, "client_id": provider.client_id}
        elif "client_secret_basic" in document.get(f"{name}_auth_methods_supported", ["client_secret_basic"]):
            pair = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form = {**form, "client_id": provider.client_id, "client_secret": provider.client_secret}
        answer = await self._web.call("POST", endpoint, headers=headers, form=form, ca_file=provider.ca_file)
        if answer.status >= 500:
            raise Unavailable(f"{provider.issuer} does not answer.", retry_after_s=5, detail=f"{name}: {answer.status}")
        if answer.status != 200 or not isinstance(answer.json, dict):
            raise refused(f"{name} of {provider.issuer} answered {answer.status}: {answer.body[:200]!r}")
        return answer.json

    async def _document(self, provider: OidcProvider) -> Mapping[str, Any]:
        """The discovery document. An old one is good while a new one can't be had."""
        known = self._known.setdefault(provider.issuer, _Known())
        async with known.lock:
            if known.document_at_s + REMEMBER_S > trio.current_time():
                return known.document
            url = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                document = await self._fetch(provider, url, known)
                if document.get("issuer") != provider.issuer:
                    raise Unavailable(
                        f"{provider.issuer} is not set up well.", detail=f"it calls itself {document.get('issuer')!r}"
                    )
            except Unavailable:
                if not known.document:
                    raise
                log.warning("an identity provider can't be read again", issuer=provider.issuer)
                return known.document
            known.document, known.document_at_s = document, trio.current_time()
            return document

    async def _keys(self, provider: OidcProvider, *, again: bool = False) -> KeySet:
        """The provider's keys; ``again`` when those at hand lack one."""
        document = await self._document(provider)
        known = self._known[provider.issuer]
        async with known.lock:
            if (
                known.keys is not None
                and known.keys_at_s + (KEYS_LEAST_S if again else REMEMBER_S) > trio.current_time()
            ):
                return known.keys
            try:
                known.keys = _read_keys(await self._fetch(provider, _endpoint(provider, document, "jwks_uri"), known))
            except Unavailable:
                if known.keys is None:
                    raise
                log.warning("the keys of an identity provider can't be read again", issuer=provider.issuer)
            known.keys_at_s = trio.current_time()
            return known.keys

    async def _fetch(self, provider: OidcProvider, url: str, known: _Known) -> Mapping[str, Any]:
        if known.failed_at_s + FAILED_S > trio.current_time():
            raise Unavailable(f"{provider.issuer} does not answer.", retry_after_s=5, detail="nor did it a moment ago")
        try:
            answer = await self._web.call("GET", url, ca_file=provider.ca_file)
        except Unavailable:
            # Only this: a fetch whose client went away says nothing of the provider.
            known.failed_at_s = trio.current_time()
            raise
        known.failed_at_s = float("-inf")
        if answer.status != 200 or not isinstance(answer.json, dict):
            raise Unavailable(f"{provider.issuer} does not answer.", retry_after_s=5, detail=f"{url}: {answer.status}")
        return answer.json


def _read_keys(data: Mapping[str, Any]) -> KeySet:
    """The keys of a JWK set that can check signatures; secrets have no place there."""
    try:
        keys = [key for key in data["keys"] if key.get("kty") != "oct" and key.get("use", "sig") == "sig"][:KEYS_MOST]
        return KeySet.import_key_set({"keys": keys})
    except (JoseError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unavailable("The identity provider's keys can't be read.", detail=repr(error)) from error


def _endpoint(provider: OidcProvider, document: Mapping[str, Any], name: str) -> str:
    """An address of the provider's; one that speaks TLS itself can't send us to one that doesn't."""
    url = document.get(name)
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise Unavailable(f"{provider.issuer} has no {name}.", detail=repr(url))
    if provider.issuer.startswith("https://") and not url.startswith("https://"):
        raise Unavailable(f"{provider.issuer} is not set up well.", detail=f"{name} without TLS: {url}")
    return url


def _peek(token: str) -> tuple[Mapping[str, Any], Claims | None]:
    """Header and claims of what looks like a JWT, believed by nobody yet; None for what is opaque."""
    if token.count(".") != 2:
        return {}, None
    try:
        parts = jws.extract_compact(token.encode())
        claims = orjson.loads(parts.payload)
    except (JoseError, ValueError):
        return {}, None
    return parts.headers(), claims if isinstance(claims, dict) else None


def _choose(providers: list[OidcProvider], claims: Claims | None) -> OidcProvider:
    """Whose token it is. One that says so must be theirs; one that doesn't can only be the only one's."""
    if claims is not None:
        providers = [provider for provider in providers if provider.issuer == claims.get("iss")]
    if len(providers) != 1:
        raise refused("the access token is of no issuer of this identity provider that identity.yaml knows")
    return providers[0]


def _check_audience(claims: Mapping[str, Any], audiences: Sequence[str]) -> None:
    said = claims.get("aud")
    named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    if not set(map(str, named)) & set(audiences):
        raise refused(f"the token is for {said!r}")


def make_challenge(verifier: str) -> str:
    """The challenge (S256) of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def make_assertion(claims: Claims) -> dict[str, list[str]]:
    """Claims under the names that mapping rules know them by.

    Apache's module shows a claim ``email`` as ``OIDC-email``, ``OIDC_CLAIM_email`` or, once a server has folded it, ``HTTP_OIDC_EMAIL``; here all of these
    hold. Where two claims fold into one name, that name is not there. Claims within a claim are ``OIDC-realm_access.roles`` and so on.
    """
    out: dict[str, list[str]] = {}
    folded: dict[str, list[list[str]]] = {}
    for name, values in list(_flatten(claims))[:CLAIMS_MOST]:
        for prefix in ("OIDC-", "OIDC_CLAIM_"):
            out[prefix + name] = values
            fold = "HTTP_" + re.sub(r"[^A-Z0-9]", "_", (prefix + name).upper())
            folded.setdefault(fold, []).append(values)
    return out | {name: found[0] for name, found in folded.items() if len(found) == 1}


def _flatten(claims: Mapping[str, Any], prefix: str = "", depth: int = 0) -> list[tuple[str, list[str]]]:
    out: list[tuple[str, list[str]]] = []
    for name, value in claims.items():
        if isinstance(value, dict):
            out += _flatten(value, f"{prefix}{name}.", depth + 1) if depth < 2 else []
            continue
        values = [text for item in (value if isinstance(value, list) else [value]) if (text := _show(item)) is not None]
        if values:
            out.append((prefix + name, values))
    return out


def _show(value: Any) -> str | None:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, str | int | float) else None
