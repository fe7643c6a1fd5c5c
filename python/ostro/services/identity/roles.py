"""Roles, and which implies which. Implications must not go round in circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, NotFound
from ostro.services.identity.access import check_mutable, need_domain, need_role
from ostro.services.identity.projects import merge
from ostro.store.database import Tx
from ostro.store.paging import Page, list_page
from ostro.store.roles import ROLES, Role, add_implication, expand_roles, list_implications, remove_implication
from ostro.store.tokens import TOPIC


def create_role(tx: Tx, context: Context, given: Mapping[str, Any]) -> Role:
    """Add a role, global unless it names a domain."""
    domain_id = given.get("domain_id") or ""
    if domain_id:
        need_domain(tx, domain_id)
    _check_name(tx, given["name"], domain_id)
    role = Role(
        context.new_hex_id(),
        given["name"],
        domain_id,
        given.get("description") or "",
        dict(given.get("options", {})),
    )
    return ROLES.insert(tx, role)


def _check_name(tx: Tx, name: str, domain_id: str) -> None:
    if ROLES.find(tx, name=name, domain_id=domain_id) is not None:
        raise Conflict(f"Conflict occurred attempting to store role - Duplicate entry found with name {name}.")


def get_role(tx: Tx, context: Context, role_id: str) -> Role:
    """The role. Raises NotFound."""
    return need_role(tx, role_id)


def list_roles(tx: Tx, context: Context, page: Page) -> list[Role]:
    """One page of roles."""
    return list_page(tx, ROLES, page)


def update_role(tx: Tx, context: Context, role_id: str, given: Mapping[str, Any]) -> Role:
    """Change a role's name, description or options."""
    role = need_role(tx, role_id)
    check_mutable("role", role_id, role.options, given)
    if (given.get("domain_id") or role.domain_id) != role.domain_id:
        raise Forbidden("Cannot change domain_id of a role.")
    changes: dict[str, Any] = {"options": merge(role.options, given.get("options", {}))}
    if "description" in given:
        changes["description"] = given["description"] or ""
    if given.get("name", role.name) != role.name:
        changes["name"] = given["name"]
        _check_name(tx, given["name"], role.domain_id)
    ROLES.update(tx, role_id, **changes)
    tx.ring(TOPIC)
    return msgspec.structs.replace(role, **changes)


def delete_role(tx: Tx, context: Context, role_id: str) -> None:
    """Delete a role; whoever had it has it no more."""
    role = need_role(tx, role_id)
    check_mutable("role", role_id, role.options)
    ROLES.delete(tx, role_id)
    tx.ring(TOPIC)


def list_implied(tx: Tx, context: Context, prior_id: str) -> tuple[Role, list[Role]]:
    """The role, and those that it implies directly."""
    prior = need_role(tx, prior_id)
    return prior, ROLES.list(tx, id=[implied for _, implied in list_implications(tx, prior_id)], order="name")


def list_inferences(tx: Tx, context: Context) -> list[tuple[Role, list[Role]]]:
    """Every role that implies others, with those."""
    roles = ROLES.by_key(ROLES.list(tx))
    out: dict[str, list[Role]] = {}
    for prior_id, implied_id in list_implications(tx):
        out.setdefault(prior_id, []).append(roles[implied_id])
    return [(roles[prior_id], implied) for prior_id, implied in out.items()]


def get_implied(tx: Tx, context: Context, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Both roles, if the first implies the second directly. Raises NotFound."""
    if (prior_id, implied_id) not in list_implications(tx, prior_id):
        raise NotFound("implied role", implied_id, f"{prior_id} does not imply {implied_id}")
    return need_role(tx, prior_id), need_role(tx, implied_id)


def imply_role(tx: Tx, context: Context, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Make one role imply another. Idempotent. Raises Forbidden for a circle and for a domain's role as the implied one."""
    prior, implied = need_role(tx, prior_id), need_role(tx, implied_id)
    if implied.domain_id:
        raise Forbidden("A domain-specific role cannot be implied.")
    if prior_id in expand_roles(tx, [implied_id]):
        raise Forbidden(f"Role {implied_id} implies {prior_id} already.")
    add_implication(tx, prior_id, implied_id)
    tx.ring(TOPIC)
    return prior, implied


def stop_implying_role(tx: Tx, context: Context, prior_id: str, implied_id: str) -> None:
    """Undo ``imply_role``. Raises NotFound."""
    get_implied(tx, context, prior_id, implied_id)
    remove_implication(tx, prior_id, implied_id)
    tx.ring(TOPIC)
