"""Projects, and domains, which are projects of their own kind."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table

DEFAULT_DOMAIN_ID = "default"


class Project(msgspec.Struct, frozen=True):
    """A project, or a domain (``is_domain``; then ``domain_id`` and ``parent_id`` are empty)."""

    id: str
    name: str
    description: str
    domain_id: str
    parent_id: str
    enabled: bool
    is_domain: bool
    tags: list[str]
    options: dict[str, Any]
    extra: dict[str, Any]
    created_at_us: int


PROJECTS = Table("projects", Project)


def get_domain(tx: Tx, id_: str) -> Project:
    """Raises NotFound for anything that is not a domain."""
    return PROJECTS.get(tx, id_, is_domain=True)


def get_project(tx: Tx, id_: str) -> Project:
    """Raises NotFound for a domain too."""
    return PROJECTS.get(tx, id_, is_domain=False)


def new_project(id_: str, name: str, description: str, *, domain_id: str = DEFAULT_DOMAIN_ID, now_us: int) -> Project:
    """An enabled project right below its domain, not yet stored."""
    return Project(id_, name, description, domain_id, domain_id, True, False, [], {}, {}, now_us)


def new_domain(id_: str, name: str, description: str, *, now_us: int) -> Project:
    """An enabled domain, not yet stored."""
    return Project(id_, name, description, "", "", True, True, [], {}, {}, now_us)


def list_children(tx: Tx, project_id: str) -> list[Project]:
    """Projects right below the project."""
    return PROJECTS.list(tx, parent_id=project_id, is_domain=False, order="name")


def list_descendants(tx: Tx, root: Project) -> list[Project]:
    """Projects anywhere below the project; of a domain, all of its projects."""
    if root.is_domain:
        return PROJECTS.list(tx, domain_id=root.id, is_domain=False, order="name")
    out: list[Project] = []
    level = list_children(tx, root.id)
    while level:
        out += level
        level = PROJECTS.list(tx, parent_id=[project.id for project in level], order="name")
    return out
