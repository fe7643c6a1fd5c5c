"""Federation's records: identity providers with their protocols, mappings, and service providers."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid
from ostro.model.mapping import SCHEMA_VERSIONS, check_rules
from ostro.services.identity.access import missing, need_domain
from ostro.services.identity.resources import Resource
from ostro.store.database import Tx
from ostro.store.federation import (
    IDENTITY_PROVIDERS,
    MAPPINGS,
    PROTOCOLS,
    SERVICE_PROVIDERS,
    IdentityProvider,
    Mapping,
    Protocol,
    ServiceProvider,
)
from ostro.store.projects import PROJECTS, new_domain
from ostro.store.tokens import TOPIC


def _check_provider(tx: Tx, context: Context, fields: MappingOf[str, Any], present: IdentityProvider | None) -> None:
    """Remote ids belong to one provider. Without a domain a provider is given one of its own."""
    for other in IDENTITY_PROVIDERS.list(tx):
        if (present is None or other.id != present.id) and set(other.remote_ids) & set(fields["remote_ids"]):
            raise Conflict("Conflict occurred attempting to store remote_id - Duplicate remote ID.")
    if present is not None and fields["domain_id"] != present.domain_id:
        raise Invalid("The domain of an identity provider can't be changed.")
    if fields["domain_id"]:
        need_domain(tx, fields["domain_id"])


IDENTITY_PROVIDER: Resource[IdentityProvider] = Resource(
    IDENTITY_PROVIDERS,
    "identity_provider",
    "identity_providers",
    {"domain_id": "", "description": "", "enabled": False, "remote_ids": [], "authorization_ttl": None},
    check=_check_provider,
    rings=True,
)


def _check_mapping_rules(_tx: Tx, _context: Context, fields: MappingOf[str, Any], _present: Mapping | None) -> None:
    """Rules that could never be carried out are refused when they are given, not when somebody signs in."""
    if fields["schema_version"] not in SCHEMA_VERSIONS:
        raise Invalid(
            f"The mapping schema version {fields['schema_version']} is not one of {', '.join(SCHEMA_VERSIONS)}."
        )
    check_rules(fields["rules"])


MAPPING: Resource[Mapping] = Resource(
    MAPPINGS, "mapping", "mappings", {"rules": [], "schema_version": "1.0"}, check=_check_mapping_rules
)
SERVICE_PROVIDER: Resource[ServiceProvider] = Resource(
    SERVICE_PROVIDERS,
    "service_provider",
    "service_providers",
    {"auth_url": "", "sp_url": "", "description": "", "enabled": False, "relay_state_prefix": "ss:mem:"},
    rings=True,
)


def create_identity_provider(
    tx: Tx, context: Context, given: MappingOf[str, Any], extra: MappingOf[str, Any], id_: str
) -> IdentityProvider:
    """Add a provider, and the domain of its users unless it names one."""
    context.enforce("identity:create_identity_provider")
    if not given.get("domain_id"):
        domain_id = context.new_hex_id()
        name = id_ if PROJECTS.find(tx, name=id_, is_domain=True) is None else domain_id
        description = f"Auto generated federated domain for Identity Provider: {id_}"
        PROJECTS.insert(tx, new_domain(domain_id, name, description, now_us=context.now_us))
        given = {**given, "domain_id": domain_id}
    return IDENTITY_PROVIDER.create(tx, context, given, extra, id_)


def _need_protocol(tx: Tx, idp_id: str, id_: str) -> Protocol:
    found = PROTOCOLS.find(tx, idp_id=idp_id, id=id_)
    if found is None:
        raise missing("federated protocol", id_)
    return found


def _check_mapping(tx: Tx, mapping_id: str) -> None:
    if MAPPINGS.find(tx, id=mapping_id) is None:
        raise Invalid(f"Could not find mapping: {mapping_id}.")


def create_protocol(tx: Tx, context: Context, idp_id: str, id_: str, given: MappingOf[str, Any]) -> Protocol:
    """Say how a provider speaks."""
    context.enforce("identity:create_protocol")
    IDENTITY_PROVIDER.need(tx, idp_id)
    _check_mapping(tx, given["mapping_id"])
    row = Protocol(idp_id, id_, given["mapping_id"], given.get("remote_id_attribute") or "")
    if not PROTOCOLS.insert_new(tx, row):
        raise Conflict("Conflict occurred attempting to store federation_protocol - Duplicate entry.")
    return row


def get_protocol(tx: Tx, context: Context, idp_id: str, id_: str) -> Protocol:
    """One of a provider's protocols."""
    context.enforce("identity:get_protocol")
    return _need_protocol(tx, idp_id, id_)


def list_protocols(tx: Tx, context: Context, idp_id: str) -> list[Protocol]:
    """A provider's protocols."""
    context.enforce("identity:list_protocols")
    IDENTITY_PROVIDER.need(tx, idp_id)
    return PROTOCOLS.list(tx, idp_id=idp_id, order="id")


def update_protocol(tx: Tx, context: Context, idp_id: str, id_: str, given: MappingOf[str, Any]) -> Protocol:
    """Change a protocol's mapping or attribute."""
    context.enforce("identity:update_protocol")
    row = _need_protocol(tx, idp_id, id_)
    changes = {k: given[k] or "" for k in ("mapping_id", "remote_id_attribute") if k in given}
    if "mapping_id" in changes:
        _check_mapping(tx, changes["mapping_id"])
    if changes:
        PROTOCOLS.update_where(tx, changes, idp_id=idp_id, id=id_)
        tx.ring(TOPIC)
    return msgspec.structs.replace(row, **changes)


def delete_protocol(tx: Tx, context: Context, idp_id: str, id_: str) -> None:
    """Forget a protocol. Tokens that rest on it end."""
    context.enforce("identity:delete_protocol")
    _need_protocol(tx, idp_id, id_)
    PROTOCOLS.delete_where(tx, idp_id=idp_id, id=id_)
    tx.ring(TOPIC)
