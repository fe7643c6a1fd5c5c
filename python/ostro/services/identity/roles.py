"""Roles, and which implies which. Implications must not go round in circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound
from ostro.services.identity.access import check_mutable, missing, need_domain, need_role, role_target
from ostro.services.identity.projects import merge
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.roles import ROLES, Role, add_implication, expand_roles, list_implications, remove_implication
from ostro.store.tokens import TOPIC


def _reach(tx: Tx, context: Context, role_id: str, verb: str) -> Role:
    """The role, if the policy for global roles or the one for domains' roles lets the actor. Raises NotFound, then Forbidden."""
    role = ROLES.find(tx, id=role_id)
    if role is None:
        raise missing("role", role_id)
    context.enforce(f"identity:{verb}_{'domain_role' if role.domain_id else 'role'}", **role_target(role))
    return role


def create_role(tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Role:
    """Add a role, global unless it names a domain."""
    domain_id = given.get("domain_id") or ""
    context.enforce(f"identity:create_{'domain_role' if domain_id else 'role'}")
    if domain_id:
        need_domain(tx, domain_id)
    _check_name(tx, given["name"], domain_id)
    role = Role(
        context.new_hex_id(),
        given["name"],
        domain_id,
        given.get("description") or "",
        merge({}, given.get("options", {})),
        dict(extra),
    )
    return ROLES.insert(tx, role)


def _check_name(tx: Tx, name: str, domain_id: str) -> None:
    if not name.strip():
        raise Invalid("Invalid input for field 'name': it can't be empty.")
    if ROLES.find(tx, name=name, domain_id=domain_id) is not None:
        raise Conflict(f"Conflict occurred attempting to store role - Duplicate entry found with name {name}.")


def get_role(tx: Tx, context: Context, role_id: str) -> Role:
    """The role. Raises NotFound."""
    return _reach(tx, context, role_id, "get")


def list_roles(tx: Tx, context: Context, page: Page, domain_id: str) -> list[Role]:
    """One page of roles, the global ones or a domain's; a domain's manager sees those that it may give."""
    if domain_id:
        context.enforce("identity:list_domain_roles")
    else:
        context.enforce("identity:list_roles")
    rows = list_page(tx, ROLES, page.with_filters(Filter("domain_id", domain_id)))
    return [row for row in rows if context.may("identity:get_role", **role_target(row))] if not domain_id else rows


def update_role(tx: Tx, context: Context, role_id: str, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Role:
    """Change a role's name, description, options or extra fields."""
    role = _reach(tx, context, role_id, "update")
    check_mutable("role", role_id, role.options, {**given, **extra})
    if (given.get("domain_id") or role.domain_id) != role.domain_id:
        raise Forbidden("Cannot change domain_id of a role.")
    changes: dict[str, Any] = {"options": merge(role.options, given.get("options", {}))}
    changes["extra"] = merge(role.extra, extra)
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
    role = _reach(tx, context, role_id, "delete")
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
    if implied.domain_id and not prior.domain_id:
        raise Forbidden("A global role cannot imply a domain's role.")
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
