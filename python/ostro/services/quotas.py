"""Limits enforced: what a project has is counted in the transaction that adds to it. Where that would take long, as with servers and ports, the database adds up
itself whatever it stores, so there is no counter that could drift.

A service says what a change asks for and how to count; ``find_over`` reads the limits and counts only what is limited. Two
transactions that each would just fit are told apart by the database: one writes after the other, or is run again.

With ``strict_two_level`` a project's limit binds first, then its domain's binds all of the domain's projects together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostro.model.context import Context
from ostro.model.errors import Invalid
from ostro.model.quotas import UNLIMITED, LimitModel, Over
from ostro.services.identity.catalog import service_id
from ostro.services.identity.limits import check_hierarchy
from ostro.store import limits
from ostro.store.database import Tx
from ostro.store.limits import (
    CLASS_QUOTAS,
    LIMITS,
    REGISTERED_LIMITS,
    ClassQuota,
    Limit,
    RegisteredLimit,
    Scope,
    of_domain,
    of_project,
    put_class_quota,
    read_limits,
)
from ostro.store.projects import PROJECTS

Amounts = Mapping[str, int]
Count = Callable[[Tx, Scope], Amounts]
DEFAULT_CLASS = "default"


def get_limits(tx: Tx, context: Context, service: str, project_id: str) -> dict[str, int]:
    """What holds for a project in a service (by its type), by resource. One that isn't there isn't limited."""
    return read_limits(tx, service_id(service), context.limits.region, project_id=project_id)


def foresee_limits(tx: Tx, context: Context, service: str, project_id: str) -> None:
    """``get_limits`` will be called (``Tx.foresee``)."""
    limits.foresee_limits(tx, service_id(service), context.limits.region, project_id)


def get_default_limits(tx: Tx, context: Context, service: str) -> dict[str, int]:
    """What holds for projects that have nothing of their own."""
    return read_limits(tx, service_id(service), context.limits.region)


def find_over(tx: Tx, context: Context, service: str, project_id: str, asked: Amounts, count: Count) -> list[Over]:
    """The limits that a project would pass with ``asked`` more, ordered by name. What isn't limited isn't counted."""
    over = compare(tx, get_limits(tx, context, service, project_id), of_project(project_id), asked, count)
    if over or context.limits.model is LimitModel.FLAT:
        return over
    return find_over_domain(tx, context, service, project_id, asked, count)


def find_over_domain(
    tx: Tx, context: Context, service: str, project_id: str, asked: Amounts, count: Count
) -> list[Over]:
    """The limits that a project's domain would pass; none in the flat model."""
    project = None if context.limits.model is LimitModel.FLAT else PROJECTS.find(tx, id=project_id, is_domain=False)
    if project is None:
        return []
    limits = read_limits(tx, service_id(service), context.limits.region, domain_id=project.domain_id)
    return compare(tx, limits, of_domain(project.domain_id), asked, count)


def compare(tx: Tx, limits: Amounts, scope: Scope, asked: Amounts, count: Count) -> list[Over]:
    """Those of ``limits`` that ``asked`` more would pass; counts only if one of them is limited at all."""
    bound = {name: more for name, more in asked.items() if more > 0 and limits.get(name, UNLIMITED) >= 0}
    if not bound:
        return []
    used = count(tx, scope)
    return [
        Over(name, more, used.get(name, 0), limits[name])
        for name, more in sorted(bound.items())
        if used.get(name, 0) + more > limits[name]
    ]


def check_project(tx: Tx, project_id: str) -> None:
    """Raise Invalid for a project that isn't there, as Nova does."""
    if PROJECTS.find(tx, id=project_id, is_domain=False) is None:
        raise Invalid(f"Project ID {project_id} is not a valid project.")


def set_limits(tx: Tx, context: Context, service: str, project_id: str, wanted: Amounts) -> None:
    """Give a project limits of its own. Raises Forbidden for one that the hierarchy doesn't allow."""
    for name, number in sorted(wanted.items()):
        key = {"service_id": service_id(service), "resource_name": name}
        region = _region_of(tx, context, key)
        limit = Limit(context.new_hex_id(), project_id, "", key["service_id"], region, name, number, "")
        check_hierarchy(tx, context, limit)
        changed = LIMITS.update_where(
            tx, {"resource_limit": number}, project_id=project_id, domain_id="", region_id=region, **key
        )
        if not changed:
            LIMITS.insert(tx, limit)


def _region_of(tx: Tx, context: Context, key: Mapping[str, str]) -> str:
    """The region that a resource's registered limit is for."""
    own = REGISTERED_LIMITS.find(tx, region_id=context.limits.region, **key)
    return own.region_id if own is not None else ""


def reset_limits(tx: Tx, context: Context, service: str, project_id: str) -> None:
    """Take a project's own limits away: the registered ones hold again."""
    LIMITS.delete_where(tx, project_id=project_id, domain_id="", service_id=service_id(service))


def list_limited_projects(tx: Tx, service: str) -> list[str]:
    """Projects that have limits of their own in a service, ordered."""
    rows = LIMITS.list(tx, service_id=service_id(service), domain_id="", order="project_id")
    return list(dict.fromkeys(row.project_id for row in rows))


def get_class_limits(tx: Tx, context: Context, service: str, class_name: str) -> dict[str, int]:
    """The numbers of a class: the registered limits, with what was noted under the class's name."""
    limits = get_default_limits(tx, context, service)
    if class_name != DEFAULT_CLASS:
        noted = CLASS_QUOTAS.list(tx, service_id=service_id(service), class_name=class_name)
        limits |= {quota.resource_name: quota.hard_limit for quota in noted}
    return limits


def set_class_limits(tx: Tx, context: Context, service: str, class_name: str, wanted: Amounts) -> dict[str, int]:
    """Change the numbers of a class; those of ``default`` are the registered limits. All of them as they are now."""
    for name, number in sorted(wanted.items()):
        if class_name != DEFAULT_CLASS:
            put_class_quota(tx, ClassQuota(service_id(service), class_name, name, number))
            continue
        key = {"service_id": service_id(service), "resource_name": name}
        region = _region_of(tx, context, key)
        if not REGISTERED_LIMITS.update_where(tx, {"default_limit": number}, region_id=region, **key):
            row = RegisteredLimit(context.new_hex_id(), key["service_id"], region, name, number, "")
            REGISTERED_LIMITS.insert(tx, row)
    return get_class_limits(tx, context, service, class_name)
