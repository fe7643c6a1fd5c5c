"""Federation's records: identity providers, their protocols, mappings, and service providers."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
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


class FederatedUser(msgspec.Struct, frozen=True):
    """A user of ours, and what an identity provider calls it by a protocol."""

    idp_id: str
    protocol_id: str
    unique_id: str
    user_id: str


IDENTITY_PROVIDERS = Table("identity_providers", IdentityProvider, noun="identity provider")
PROTOCOLS = Table("federation_protocols", Protocol, noun="protocol")
MAPPINGS = Table("mappings", Mapping)
SERVICE_PROVIDERS = Table("service_providers", ServiceProvider, noun="service provider")
FEDERATED_USERS = Table("federated_users", FederatedUser, key="user_id", noun="federated user")


def use_login(tx: Tx, state: str, expires_at_us: int) -> bool:
    """Remember that a login with this state has come back; whether it is the first time."""
    sql = "INSERT INTO used_logins (state, expires_at_us) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return tx.execute(sql, (state, expires_at_us)) == 1


def forget_used_logins(tx: Tx, now_us: int) -> int:
    """Forget those that have expired anyway."""
    return tx.execute("DELETE FROM used_logins WHERE expires_at_us < ?", (now_us,))
