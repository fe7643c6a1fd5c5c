"""Domains: what holds users and projects. A domain must be disabled before it can be deleted, and takes all that it holds with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.services.identity.access import check_mutable, listed_domain, reach_domain
from ostro.services.identity.groups import remove_group
from ostro.services.identity.projects import merge, remove_project
from ostro.services.identity.users import remove_user
from ostro.store.assignments import TargetKind, forget_target
from ostro.store.database import Tx
from ostro.store.groups import GROUPS
from ostro.store.limits import LIMITS
from ostro.store.paging import Filter, Page, list_page
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS, Project, list_descendants, new_domain
from ostro.store.roles import ROLES
from ostro.store.tokens import TOPIC
from ostro.store.users import USERS


def create_domain(tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Project:
    """Add a domain; ``explicit_domain_id`` chooses its id."""
    context.enforce("identity:create_domain")
    name = given["name"].strip()
    _check_name(tx, name)
    id_ = given.get("explicit_domain_id") or context.new_hex_id()
    if PROJECTS.find(tx, id=id_) is not None:
        raise Conflict(f"Conflict occurred attempting to store domain - Duplicate ID, {id_}.")
    domain = new_domain(id_, name, given.get("description") or "", now_us=context.now_us)
    domain = msgspec.structs.replace(
        domain,
        enabled=given.get("enabled", True),
        tags=list(given.get("tags", ())),
        options=dict(given.get("options", {})),
        extra=dict(extra),
    )
    return PROJECTS.insert(tx, domain)


def _check_name(tx: Tx, name: str) -> None:
    if not name:
        raise Invalid("Invalid input for field 'name': it can't be empty.")
    if PROJECTS.find(tx, name=name, is_domain=True) is not None:
        raise Conflict(
            "Conflict occurred attempting to store domain - it is not permitted to have two domains with the same"
            f" name : {name}."
        )


def get_domain(tx: Tx, context: Context, domain_id: str) -> Project:
    """The domain."""
    return reach_domain(tx, context, domain_id, "identity:get_domain")


def list_domains(tx: Tx, context: Context, page: Page) -> list[Project]:
    """One page of the domains that the actor may read."""
    domain_id = listed_domain(context, "identity:list_domains")
    page = page.with_filters(Filter("is_domain", True))
    return list_page(tx, PROJECTS, page.with_filters(Filter("id", domain_id)) if domain_id else page)


def update_domain(
    tx: Tx, context: Context, domain_id: str, given: Mapping[str, Any], extra: Mapping[str, Any | None]
) -> Project:
    """Change a domain. Disabling it disables everybody in it at once."""
    domain = reach_domain(tx, context, domain_id, "identity:update_domain")
    check_mutable("domain", domain_id, domain.options, {**given, **extra})
    changes: dict[str, Any] = {k: given[k] for k in ("enabled", "tags") if k in given}
    if "description" in given:
        changes["description"] = given["description"] or ""
    if "name" in given and given["name"].strip() != domain.name:
        changes["name"] = given["name"].strip()
        _check_name(tx, changes["name"])
    changes["options"] = merge(domain.options, given.get("options", {}))
    changes["extra"] = merge(domain.extra, extra)
    PROJECTS.update(tx, domain_id, **changes)
    tx.ring(TOPIC)
    return msgspec.structs.replace(domain, **changes)


def delete_domain(tx: Tx, context: Context, domain_id: str) -> None:
    """Delete a disabled domain with its users, projects and roles."""
    domain = reach_domain(tx, context, domain_id, "identity:delete_domain")
    check_mutable("domain", domain_id, domain.options)
    if domain_id == DEFAULT_DOMAIN_ID:
        raise Forbidden("The default domain cannot be deleted.")
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    for user in USERS.list(tx, domain_id=domain_id):
        remove_user(tx, user.id)
    for group in GROUPS.list(tx, domain_id=domain_id):
        remove_group(tx, group.id)
    LIMITS.delete_where(tx, domain_id=domain_id)
    for project in list_descendants(tx, domain):
        remove_project(tx, project.id)
    ROLES.delete_where(tx, domain_id=domain_id)
    forget_target(tx, TargetKind.DOMAIN, domain_id)
    PROJECTS.delete(tx, domain_id)
    tx.ring(TOPIC)
