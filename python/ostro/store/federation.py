"""Federation's records: identity providers, their protocols, mappings, and service providers."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.table import Table


class IdentityProvider(msgspec.Struct, frozen=True):
    """Who vouches for users; they live in its domain."""

    id: str
    domain_id: str
    description: str
    enabled: bool
    remote_ids: list[str]
    authorization_ttl: int | None
    extra: dict[str, Any]


class Protocol(msgspec.Struct, frozen=True):
    """How an identity provider speaks, and the mapping of what it says."""

    idp_id: str
    id: str
    mapping_id: str
    remote_id_attribute: str


class Mapping(msgspec.Struct, frozen=True):
    """Rules from what an identity provider says to users, groups and projects."""

    id: str
    rules: list[dict[str, Any]]
    schema_version: str


class ServiceProvider(msgspec.Struct, frozen=True):
    """Another cloud that takes our users."""

    id: str
    auth_url: str
    sp_url: str
    description: str
    enabled: bool
    relay_state_prefix: str
    extra: dict[str, Any]


IDENTITY_PROVIDERS = Table("identity_providers", IdentityProvider, noun="identity provider")
PROTOCOLS = Table("federation_protocols", Protocol, noun="protocol")
MAPPINGS = Table("mappings", Mapping)
SERVICE_PROVIDERS = Table("service_providers", ServiceProvider, noun="service provider")
