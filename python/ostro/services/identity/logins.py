"""Logins by way of identity providers: with an access token that the client brings, or with a browser that is sent there and comes back.

A browser's login is bound to the browser: what must be remembered of it (state, nonce, PKCE's verifier, where it goes in the end) is sealed in a cookie.
The state that comes back must be the cookie's, and is good once. A browser is sent back only to a dashboard that the operator trusts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Bug, Invalid, Unauthenticated
from ostro.model.mapping import Assertion
from ostro.runtime.world import World
from ostro.services.identity.federated import Admitted, Source, admit, find_source, list_sources
from ostro.services.identity.oidc import Oidc, make_assertion, make_challenge, refused
from ostro.services.identity.sealing import Sealer
from ostro.services.identity.settings import FederationSettings, OidcProvider
from ostro.store.database import Database
from ostro.store.federation import use_login

LOGIN_S = 600


class Login(msgspec.Struct, frozen=True):
    """A login that a browser is away for."""

    state: str
    nonce: str
    verifier: str
    issuer: str
    idp_id: str
    protocol_id: str
    redirect_uri: str
    origin: str
    """The dashboard that gets the token; empty when the browser itself is to have it."""
    expires_at_us: int


class Started(msgspec.Struct, frozen=True):
    """Where to send the browser, and what it must keep."""

    url: str
    cookie: str
    sealed: str


class Logins:
    """Logins by identity providers, for one process."""

    def __init__(self, world: World, db: Database, sealer: Sealer, oidc: Oidc, settings: FederationSettings) -> None:
        self._world = world
        self._db = db
        self._sealer = sealer
        self._oidc = oidc
        self._settings = settings

    async def admit_bearer(self, context: Context, idp_id: str, protocol_id: str, token: str) -> Admitted:
        """Who has brought this access token. Raises Unauthenticated, Forbidden, NotFound, Unavailable."""
        source = await self._db.read(find_source, idp_id, protocol_id)
        claims = await self._oidc.verify_access_token(self._settings.find(source.provider.remote_ids), token)
        return await self._admit(context, idp_id, protocol_id, make_assertion(claims))

    async def _admit(self, context: Context, idp_id: str, protocol_id: str, assertion: Assertion) -> Admitted:
        return await self._db.run(admit, context, idp_id, protocol_id, assertion)

    def check_origin(self, origin: str) -> None:
        """Raise unless a browser may be sent there with a token."""
        if not origin:
            raise Invalid("Request must have an origin query parameter.")
        if origin not in self._settings.trusted_dashboards:
            raise Unauthenticated(f"{origin} is not a trusted dashboard host")

    async def find_only_source(self, protocol_id: str) -> tuple[str, str]:
        """The one identity provider that speaks a protocol and is set up here. Raises Invalid."""
        sources = [source for source in await self._db.read(list_sources, protocol_id) if self._list_providers(source)]
        if len(sources) != 1:
            what = "Several identity providers speak" if sources else "No identity provider speaks"
            raise Invalid(f"{what} {protocol_id}: name one in the path.")
        return sources[0].provider.id, protocol_id

    def _list_providers(self, source: Source) -> list[OidcProvider]:
        return self._settings.find(source.provider.remote_ids)

    async def start(self, idp_id: str, protocol_id: str, redirect_uri: str, origin: str = "") -> Started:
        """Begin a browser's login. Raises Unauthenticated, Forbidden, NotFound, Unavailable."""
        source = await self._db.read(find_source, idp_id, protocol_id)
        providers = self._list_providers(source)
        if len(providers) != 1:
            raise refused(f"identity.yaml must have one issuer of {idp_id} for browsers, and has {len(providers)}")
        provider = providers[0]
        expires_at_us = self._world.now_us() + LOGIN_S * 1_000_000
        state, nonce, verifier = (self._new_word() for _ in range(3))
        login = Login(state, nonce, verifier, provider.issuer, idp_id, protocol_id, redirect_uri, origin, expires_at_us)
        asked = {
            "redirect_uri": redirect_uri,
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": make_challenge(login.verifier),
            "code_challenge_method": "S256",
        }
        url = await self._oidc.authorization_url(provider, asked)
        return Started(url, cookie_name(login.state), self._sealer.seal(msgspec.json.encode(login).decode()))

    def _new_word(self) -> str:
        raw = self._world.random.getrandbits(256).to_bytes(32, "big")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    async def complete(self, context: Context, sealed: str, answered: dict[str, str]) -> tuple[Admitted, Login]:
        """Who has come back with the provider's answer to the login of this cookie. Raises Unauthenticated, Forbidden, Unavailable."""
        login = self._open(sealed, answered.get("state", ""))
        if answered.get("iss", login.issuer) != login.issuer:
            raise refused("another provider than the one that was asked has answered")
        source = await self._db.read(find_source, login.idp_id, login.protocol_id)
        provider = next((one for one in self._list_providers(source) if one.issuer == login.issuer), None)
        if provider is None or not answered.get("code"):
            raise refused(f"the provider refused: {answered.get('error', 'no code')}")
        if not await self._db.run(use_login, login.state, login.expires_at_us):
            raise refused("the state was used before")
        claims = await self._oidc.redeem(
            provider,
            code=answered["code"],
            verifier=login.verifier,
            redirect_uri=login.redirect_uri,
            nonce=login.nonce,
        )
        return await self._admit(context, login.idp_id, login.protocol_id, make_assertion(claims)), login

    def _open(self, sealed: str, state: str) -> Login:
        try:
            login = msgspec.json.decode(self._sealer.open(sealed), type=Login)
        except (Bug, ValueError) as error:
            raise refused("no login of this browser is waiting") from error
        if not hmac.compare_digest(login.state.encode(), state.encode()):
            raise refused("the state is another login's")
        if login.expires_at_us <= self._world.now_us():
            raise refused("the login took too long")
        return login


def cookie_name(state: str) -> str:
    """The cookie that keeps a login: several may be under way in one browser."""
    return f"ostro-login-{hashlib.sha256(state.encode()).hexdigest()[:16]}"
