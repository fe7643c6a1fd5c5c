"""Projects: names are unique in a domain, a project has a parent, and only a leaf can be deleted.

Every change rings the tokens' doorbell: a disabled project is of no use to anybody from the next request on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.model.quotas import LimitModel
from ostro.services.identity.access import (
    check_mutable,
    listed_domain,
    missing,
    need_domain,
    need_project,
    project_target,
    reach_project,
)
from ostro.store.assignments import TargetKind, forget_target
from ostro.store.database import Tx
from ostro.store.delegation import forget_project
from ostro.store.paging import Filter, Page, list_page
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS, Project, list_children, list_descendants
from ostro.store.tokens import TOPIC
from ostro.store.users import forget_default_project

TAGS_MOST = 80
DEPTH_MOST = 5
"""Levels of projects below a domain, as upstream's default; where limits mind the hierarchy there is one."""


def create_project(tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Project:
    """Add a project. ``given`` has checked fields by their API names; the rest is ``extra``."""
    parent_id = given.get("parent_id") or ""
    domain_id = given.get("domain_id") or ""
    target = {"target__project__domain_id": domain_id} if domain_id else {}
    context.enforce("identity:create_project", **target)
    domain_id = domain_id or _domain_of(tx, context, parent_id)
    need_domain(tx, domain_id)
    _check_parent(tx, context, parent_id, domain_id)
    name = given["name"].strip()
    _check_name(tx, name, domain_id)
    project = Project(
        id=context.new_hex_id(),
        name=name,
        description=given.get("description") or "",
        domain_id=domain_id,
        parent_id=parent_id or domain_id,
        enabled=given.get("enabled", True),
        is_domain=False,
        tags=list(given.get("tags", ())),
        options=dict(given.get("options", {})),
        extra=dict(extra),
        created_at_us=context.now_us,
    )
    return PROJECTS.insert(tx, project)


def _domain_of(tx: Tx, context: Context, parent_id: str) -> str:
    """The domain of a project that doesn't say: its parent's, else the domain of the token's scope."""
    parent = PROJECTS.find(tx, id=parent_id) if parent_id else None
    if parent is not None:
        return parent.id if parent.is_domain else parent.domain_id
    return context.actor.domain_id or context.actor.project_domain_id or DEFAULT_DOMAIN_ID


def _check_parent(tx: Tx, context: Context, parent_id: str, domain_id: str) -> None:
    if not parent_id or parent_id == domain_id:
        return
    depth_most = DEPTH_MOST if context.limits.model is LimitModel.FLAT else 1
    parent = need_project(tx, parent_id)
    if parent.domain_id != domain_id:
        raise Invalid("Invalid input for field 'parent_id': the parent is in another domain.")
    if not parent.enabled:
        raise Forbidden(f"Cannot create a project below {parent_id}, which is disabled.")
    depth = 1
    while parent.parent_id != parent.domain_id:
        parent = need_project(tx, parent.parent_id)
        depth += 1
    if depth >= depth_most:
        raise Forbidden(f"Max hierarchy depth reached for {parent_id} branch.")


def _check_name(tx: Tx, name: str, domain_id: str) -> None:
    if not name:
        raise Invalid("Invalid input for field 'name': it can't be empty.")
    if PROJECTS.find(tx, name=name, domain_id=domain_id, is_domain=False) is not None:
        raise Conflict(
            "Conflict occurred attempting to store project - it is not permitted to have two projects with the same"
            f" name in the same domain : {name}."
        )


def get_project(tx: Tx, context: Context, project_id: str) -> Project:
    """The project; a domain is shown too, as the project that it acts as."""
    return reach_project(tx, context, project_id, "identity:get_project")


def list_projects(tx: Tx, context: Context, page: Page) -> list[Project]:
    """One page of the projects that the actor may read."""
    domain_id = listed_domain(context, "identity:list_projects")
    return list_page(tx, PROJECTS, page.with_filters(Filter("domain_id", domain_id)) if domain_id else page)


def list_parents(tx: Tx, project: Project) -> list[Project]:
    """Projects above the project, the nearest first, without the domain."""
    out: list[Project] = []
    while project.parent_id and project.parent_id != project.domain_id:
        project = need_project(tx, project.parent_id)
        out.append(project)
    return out


class Tree(NamedTuple):
    """A project and, as far as asked for, what is above (the nearest first, without the domain) and below it."""

    project: Project
    parents: list[Project]
    subtree: list[Project]


def get_project_tree(tx: Tx, context: Context, project_id: str, wanted: set[str]) -> Tree:
    """The project; the lists hold what the actor may see, the ids everything."""
    project = get_project(tx, context, project_id)

    def seen(rows: list[Project]) -> list[Project]:
        return [row for row in rows if context.may("identity:get_project", **project_target(row))]

    parents = list_parents(tx, project) if wanted & {"parents_as_list", "parents_as_ids"} else []
    subtree = list_descendants(tx, project) if wanted & {"subtree_as_list", "subtree_as_ids"} else []
    return Tree(
        project,
        seen(parents) if "parents_as_list" in wanted else parents,
        seen(subtree) if "subtree_as_list" in wanted else subtree,
    )


def update_project(
    tx: Tx, context: Context, project_id: str, given: Mapping[str, Any], extra: Mapping[str, Any | None]
) -> Project:
    """Change a project. An extra field that is None is removed."""
    project = reach_project(tx, context, project_id, "identity:update_project")
    check_mutable("project", project_id, project.options, {**given, **extra})
    if given.get("is_domain", project.is_domain) != project.is_domain:
        raise Invalid("Update of is_domain is not allowed.")
    for name, present in (("domain_id", project.domain_id), ("parent_id", project.parent_id)):
        if given.get(name, present) != present:
            raise Forbidden(f"Cannot change {name} of a project.")
    changes: dict[str, Any] = {k: given[k] for k in ("enabled", "tags") if k in given}
    if "description" in given:
        changes["description"] = given["description"] or ""
    if "name" in given and given["name"].strip() != project.name:
        changes["name"] = given["name"].strip()
        _check_name(tx, changes["name"], project.domain_id)
    if given.get("enabled") is False and any(child.enabled for child in list_children(tx, project_id)):
        raise Forbidden(f"Cannot disable project {project_id} since its subtree contains enabled projects.")
    if given.get("enabled") and not all(parent.enabled for parent in list_parents(tx, project)):
        raise Forbidden(f"Cannot enable project {project_id} since it has disabled parents.")
    changes["options"] = merge(project.options, given.get("options", {}))
    changes["extra"] = merge(project.extra, extra)
    PROJECTS.update(tx, project_id, **changes)
    tx.ring(TOPIC)
    return msgspec.structs.replace(project, **changes)


def merge(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``present`` with ``changes``; None removes."""
    return {key: value for key, value in {**present, **changes}.items() if value is not None}


def delete_project(tx: Tx, context: Context, project_id: str) -> None:
    """Delete a leaf, and every role on it."""
    project = reach_project(tx, context, project_id, "identity:delete_project")
    check_mutable("project", project_id, project.options)
    if project.is_domain:
        raise Forbidden("A domain is deleted by the domains API, once it is disabled.")
    if list_children(tx, project_id):
        raise Forbidden(f"Cannot delete project {project_id} since it is not a leaf in the hierarchy.")
    remove_project(tx, project_id)


def set_tags(tx: Tx, context: Context, project_id: str, tags: list[str], policy: str) -> list[str]:
    """Put these tags in the place of the project's."""
    reach_project(tx, context, project_id, policy)
    PROJECTS.update(tx, project_id, tags=tags)
    return tags


def list_tags(tx: Tx, context: Context, project_id: str) -> list[str]:
    """The project's tags."""
    return reach_project(tx, context, project_id, "identity:list_project_tags").tags


def get_tag(tx: Tx, context: Context, project_id: str, tag: str) -> None:
    """Raise NotFound unless the project has the tag."""
    if tag not in reach_project(tx, context, project_id, "identity:get_project_tag").tags:
        raise missing("project tag", tag)


def add_tag(tx: Tx, context: Context, project_id: str, tag: str) -> None:
    """Give the project one more tag. Idempotent."""
    project = reach_project(tx, context, project_id, "identity:create_project_tag")
    if tag in project.tags:
        return
    if len(project.tags) >= TAGS_MOST:
        raise Invalid(f"A project may have {TAGS_MOST} tags.")
    PROJECTS.update(tx, project_id, tags=[*project.tags, tag])


def remove_tag(tx: Tx, context: Context, project_id: str, tag: str) -> None:
    """Take a tag away. Raises NotFound when it isn't there."""
    project = reach_project(tx, context, project_id, "identity:delete_project_tag")
    if tag not in project.tags:
        raise missing("project tag", tag)
    PROJECTS.update(tx, project_id, tags=[known for known in project.tags if known != tag])


def remove_project(tx: Tx, project_id: str) -> None:
    """Remove the row and what points to it."""
    forget_target(tx, TargetKind.PROJECT, project_id)
    forget_project(tx, project_id)
    forget_default_project(tx, project_id)
    PROJECTS.delete(tx, project_id)
    tx.ring(TOPIC)
