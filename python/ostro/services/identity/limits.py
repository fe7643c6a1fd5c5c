"""Unified limits. A project's or domain's limit needs a registered limit of the same resource; the registered one can't go while it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.model.quotas import UNLIMITED, LimitModel
from ostro.services.identity.access import missing, need_domain, need_project
from ostro.store.catalog import CATALOG_SERVICES, REGIONS
from ostro.store.database import Tx
from ostro.store.limits import LIMITS, REGISTERED_LIMITS, Limit, RegisteredLimit, read_limits
from ostro.store.paging import Filter, Page, Where, list_page
from ostro.store.projects import PROJECTS

Given = Mapping[str, Any]


def _need_registered(tx: Tx, id_: str) -> RegisteredLimit:
    found = REGISTERED_LIMITS.find(tx, id=id_)
    if found is None:
        raise missing("registered limit", id_)
    return found


def _check_place(tx: Tx, service_id: str, region_id: str) -> None:
    if CATALOG_SERVICES.find(tx, id=service_id) is None:
        raise Invalid(f"Could not find service: {service_id}.")
    if region_id and REGIONS.find(tx, id=region_id) is None:
        raise Invalid(f"Could not find region: {region_id}.")


def _is_used(tx: Tx, row: RegisteredLimit) -> bool:
    key = {"service_id": row.service_id, "region_id": row.region_id, "resource_name": row.resource_name}
    return LIMITS.count(tx, **key) > 0


def create_registered_limits(tx: Tx, context: Context, given: Sequence[Given]) -> list[RegisteredLimit]:
    """Register limits, all or none. Raises Conflict for one that is registered."""
    context.enforce("identity:create_registered_limits")
    out = []
    for item in given:
        region_id = item.get("region_id") or ""
        _check_place(tx, item["service_id"], region_id)
        row = RegisteredLimit(
            context.new_hex_id(),
            item["service_id"],
            region_id,
            item["resource_name"],
            item["default_limit"],
            item.get("description") or "",
        )
        if not REGISTERED_LIMITS.insert_new(tx, row):
            raise Conflict("Conflict occurred attempting to store registered_limit - Duplicate entry.")
        out.append(row)
    return out


def get_registered_limit(tx: Tx, context: Context, id_: str) -> RegisteredLimit:
    """One of them."""
    context.enforce("identity:get_registered_limit")
    return _need_registered(tx, id_)


def list_registered_limits(tx: Tx, context: Context, page: Page) -> list[RegisteredLimit]:
    """One page of them."""
    context.enforce("identity:list_registered_limits")
    return list_page(tx, REGISTERED_LIMITS, page)


def update_registered_limit(tx: Tx, context: Context, id_: str, given: Given) -> RegisteredLimit:
    """Change one. While projects have limits of their own, only its default and description can change."""
    context.enforce("identity:update_registered_limit")
    row = _need_registered(tx, id_)
    changes = {k: v if v is not None else "" for k, v in given.items() if k in REGISTERED_LIMITS.columns and k != "id"}
    changed = msgspec.structs.replace(row, **changes)
    moved = (changed.service_id, changed.region_id, changed.resource_name) != (
        row.service_id,
        row.region_id,
        row.resource_name,
    )
    if moved and _is_used(tx, row):
        raise Forbidden(f"Unable to update registered limit {id_} because there are project limits associated with it.")
    if moved:
        _check_place(tx, changed.service_id, changed.region_id)
        key = {"service_id": changed.service_id, "region_id": changed.region_id}
        if REGISTERED_LIMITS.find(tx, **key, resource_name=changed.resource_name) is not None:
            raise Conflict("Conflict occurred attempting to store registered_limit - Duplicate entry.")
    if changes:
        REGISTERED_LIMITS.update(tx, id_, **changes)
    return changed


def delete_registered_limit(tx: Tx, context: Context, id_: str) -> None:
    """Delete one that no project or domain has its own limit of."""
    context.enforce("identity:delete_registered_limit")
    if _is_used(tx, _need_registered(tx, id_)):
        raise Forbidden(f"Unable to delete registered limit {id_} because there are project limits associated with it.")
    REGISTERED_LIMITS.delete(tx, id_)


def check_hierarchy(tx: Tx, context: Context, limit: Limit) -> None:
    """Raise Forbidden where limits mind the hierarchy and a project's would be above its domain's."""
    if context.limits.model is LimitModel.FLAT:
        return
    if limit.project_id:
        project = need_project(tx, limit.project_id)
        above = read_limits(tx, limit.service_id, limit.region_id, domain_id=project.domain_id)
        most = above.get(limit.resource_name, UNLIMITED)
        if _is_above(limit.resource_limit, most):
            raise _broken(f"the limit of project {limit.project_id} would be above its domain's, which is {most}")
        return
    projects = {project.id for project in PROJECTS.list(tx, domain_id=limit.domain_id, is_domain=False)}
    resource = {"service_id": limit.service_id, "region_id": limit.region_id, "resource_name": limit.resource_name}
    for below in LIMITS.select(tx, *LIMITS.where({"project_id": projects, **resource})):
        if _is_above(below.resource_limit, limit.resource_limit):
            raise _broken(f"project {below.project_id} has a limit of {below.resource_limit}, which would be above it")


def _is_above(below: int, most: int) -> bool:
    return most >= 0 and (below < 0 or below > most)


def _broken(reason: str) -> Forbidden:
    return Forbidden(f"Invalid resource limit: {reason}.")


def create_limits(tx: Tx, context: Context, given: Sequence[Given]) -> list[Limit]:
    """Give projects and domains their own limits, all or none."""
    context.enforce("identity:create_limits")
    out = []
    for item in given:
        project_id, domain_id = item.get("project_id") or "", item.get("domain_id") or ""
        if bool(project_id) == bool(domain_id):
            raise Invalid("A limit is of a project or of a domain.")
        if project_id:
            need_project(tx, project_id)
        else:
            need_domain(tx, domain_id)
        region_id = item.get("region_id") or ""
        key = {"service_id": item["service_id"], "region_id": region_id, "resource_name": item["resource_name"]}
        if REGISTERED_LIMITS.find(tx, **key) is None:
            raise Forbidden(
                f"Unable to create a limit that has no corresponding registered limit: {item['resource_name']}."
            )
        row = Limit(
            id=context.new_hex_id(),
            project_id=project_id,
            domain_id=domain_id,
            resource_limit=item["resource_limit"],
            description=item.get("description") or "",
            **key,
        )
        check_hierarchy(tx, context, row)
        if not LIMITS.insert_new(tx, row):
            raise Conflict("Conflict occurred attempting to store limit - Duplicate entry.")
        out.append(row)
    return out


def _reach(tx: Tx, context: Context, id_: str, verb: str) -> Limit:
    row = LIMITS.find(tx, id=id_)
    target: dict[str, object] = {}
    if row is not None:
        project = PROJECTS.find(tx, id=row.project_id) if row.project_id else None
        target = {"target__limit__project_id": row.project_id or None}
        if row.domain_id:
            target["target__limit__domain__id"] = row.domain_id
        if project is not None:
            target["target__limit__project__domain_id"] = project.domain_id
    context.enforce(f"identity:{verb}_limit", **target)
    if row is None:
        raise missing("limit", id_)
    return row


def get_limit(tx: Tx, context: Context, id_: str) -> Limit:
    """One of them."""
    return _reach(tx, context, id_, "get")


def list_limits(tx: Tx, context: Context, page: Page) -> list[Limit]:
    """One page of those that the actor may see: a project's own, a domain's own and its projects'; administrators and
    the system see all."""
    context.enforce("identity:list_limits")
    actor = context.actor
    if context.is_admin or actor.system:
        return list_page(tx, LIMITS, page)
    if actor.domain_id:
        sql = "limits.domain_id = ? OR limits.project_id IN (SELECT id FROM projects WHERE domain_id = ?)"
        page = page.with_filters(Where(sql, (actor.domain_id, actor.domain_id)))
    else:
        page = page.with_filters(Filter("project_id", actor.project_id or "-"))
    return list_page(tx, LIMITS, page)


def update_limit(tx: Tx, context: Context, id_: str, given: Given) -> Limit:
    """Change a limit's number or description."""
    row = _reach(tx, context, id_, "update")
    changes = {k: given[k] if given[k] is not None else "" for k in ("resource_limit", "description") if k in given}
    changed = msgspec.structs.replace(row, **changes)
    if changes:
        check_hierarchy(tx, context, changed)
        LIMITS.update(tx, id_, **changes)
    return changed


def delete_limit(tx: Tx, context: Context, id_: str) -> None:
    """Delete a limit: the registered one holds again."""
    _reach(tx, context, id_, "delete")
    LIMITS.delete(tx, id_)
