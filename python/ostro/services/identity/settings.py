"""What an operator says of signing in from elsewhere: the section ``federation`` of identity.yaml in the state directory.

    federation:
      trusted_dashboards: ["https://dashboard.example/auth/websso/"]
      providers:
        - issuer: https://login.example/realms/acme
          client_id: ostro
          client_secret_file: /etc/ostro/acme.secret

A provider is found by its issuer: an identity provider in the API speaks OpenID Connect when one of its ``remote_ids`` is an issuer here. Everything
else in the file is about passwords: see ``compliance``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from ostro.model.errors import Invalid
from ostro.services.identity.compliance import Compliance, read_compliance

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that can be checked without a shared secret; no others are ever accepted."""


class OidcProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider of OpenID Connect, as the operator has registered with it."""

    issuer: str
    client_id: str
    client_secret: str = ""
    client_secret_file: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    audiences: tuple[str, ...] = ()
    """Whom access tokens may be for; by default the client."""
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256")
    introspect: bool = False
    """Ask the provider about every access token, also about those that could be checked here."""
    userinfo: bool = False
    """Ask the provider for the user's claims, where its access tokens don't have them."""
    ca_file: str = ""
    """Whose certificates count, where the system's don't."""

    @property
    def accepted_audiences(self) -> tuple[str, ...]:
        """Whom an access token must be for, one of them."""
        return self.audiences or (self.client_id,)


class FederationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of the section."""

    trusted_dashboards: tuple[str, ...] = ()
    """Where a browser may be sent with a token: whole addresses, compared as they are."""
    providers: tuple[OidcProvider, ...] = ()

    def find(self, remote_ids: list[str]) -> list[OidcProvider]:
        """The providers among these issuers."""
        return [provider for provider in self.providers if provider.issuer in remote_ids]


class IdentitySettings(msgspec.Struct, frozen=True):
    """The file."""

    compliance: Compliance = Compliance()
    federation: FederationSettings = FederationSettings()


def read_identity(state_dir: Path) -> IdentitySettings:
    """From ``identity.yaml`` in the state directory, if it is there. Raises Invalid."""
    path = state_dir / "identity.yaml"
    data: Any = yaml.safe_load(path.read_text()) if path.exists() else None
    if not isinstance(data, dict):
        return IdentitySettings(read_compliance(data))
    rest = {name: value for name, value in data.items() if name != "federation"}
    return IdentitySettings(read_compliance(rest), read_federation(data.get("federation")))


def read_federation(data: object) -> FederationSettings:
    """From the parsed section. Raises Invalid."""
    try:
        settings = msgspec.convert(data or {}, FederationSettings)
    except msgspec.ValidationError as error:
        raise Invalid(f"identity.yaml: federation: {error}") from error
    issuers = [provider.issuer for provider in settings.providers]
    if len(set(issuers)) != len(issuers):
        raise Invalid("identity.yaml: federation: an issuer is there twice.")
    return msgspec.structs.replace(settings, providers=tuple(_complete(provider) for provider in settings.providers))


def _complete(provider: OidcProvider) -> OidcProvider:
    if urlsplit(provider.issuer).scheme not in ("http", "https"):
        raise Invalid(f"identity.yaml: federation: the issuer {provider.issuer} is not a web address.")
    unknown = set(provider.algorithms) - set(ALGORITHMS)
    if unknown:
        raise Invalid(f"identity.yaml: federation: signatures by {', '.join(sorted(unknown))} are not accepted.")
    if not provider.client_secret_file:
        return provider
    try:
        secret = Path(provider.client_secret_file).read_text().strip()
    except OSError as error:
        raise Invalid(f"identity.yaml: federation: {provider.client_secret_file} can't be read: {error}.") from error
    return msgspec.structs.replace(provider, client_secret=secret)
