"""Role assignments: who has which role on what."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.groups import list_group_ids_of
from ostro.store.projects import PROJECTS, Project, list_descendants
from ostro.store.table import Table

SYSTEM_TARGET = "all"


class ActorKind(StrEnum):
    """Who has the role."""

    USER = "user"
    GROUP = "group"


class TargetKind(StrEnum):
    """What the role is on. The system's id is ``all``."""

    PROJECT = "project"
    DOMAIN = "domain"
    SYSTEM = "system"


class Assignment(msgspec.Struct, frozen=True):
    """One role of one actor on one target; ``inherited`` ones hold for the projects below the target, not for it."""

    actor_kind: ActorKind
    actor_id: str
    target_kind: TargetKind
    target_id: str
    role_id: str
    inherited: bool


ASSIGNMENTS = Table("assignments", Assignment, key="actor_id", noun="role assignment")


def list_actor_ids(tx: Tx, user_id: str, now_us: int, group_ids: Sequence[str] = ()) -> list[str]:
    """The user, the groups that it is in, and those of its token (``group_ids``): whose roles are the user's."""
    return [user_id, *list_group_ids_of(tx, user_id, now_us), *group_ids]


def _marks(ids: Sequence[str]) -> str:
    return ", ".join("?" * len(ids))


def list_role_ids(tx: Tx, actor_ids: Sequence[str], kind: TargetKind, target_id: str) -> list[str]:
    """Roles that any of the actors has on the target itself, without implied ones."""
    rows = tx.all(
        f"SELECT role_id FROM assignments WHERE actor_id IN ({_marks(actor_ids)})"
        " AND target_kind = ? AND target_id = ? AND inherited = 0",
        (*actor_ids, kind.value, target_id),
    )
    return [row[0] for row in rows]


def list_inherited_role_ids(tx: Tx, actor_ids: Sequence[str], project_id: str) -> list[str]:
    """Roles that any of the actors has on the project by inheritance from the projects above it and its domain."""
    out: list[str] = []
    seen: set[str] = set()
    row = tx.one("SELECT parent_id FROM projects WHERE id = ?", (project_id,))
    while row is not None and row[0] and row[0] not in seen:
        seen.add(row[0])
        rows = tx.all(
            f"SELECT role_id FROM assignments WHERE actor_id IN ({_marks(actor_ids)}) AND target_id = ? AND inherited = 1",
            (*actor_ids, row[0]),
        )
        out.extend(r[0] for r in rows)
        row = tx.one("SELECT parent_id FROM projects WHERE id = ?", (row[0],))
    return out


def list_assignments(tx: Tx, *, actor_ids: Sequence[str] = ()) -> list[Assignment]:
    """Assignments of these actors, or of all, in a stable order."""
    conditions: dict[str, Any] = {"actor_id": list(actor_ids)} if actor_ids else {}
    return ASSIGNMENTS.list(tx, order="actor_id, target_kind, target_id, role_id, inherited", **conditions)


def list_projects_of(tx: Tx, actor_ids: Sequence[str]) -> list[Project]:
    """Enabled and disabled projects on which any of the actors has a role, directly or by inheritance."""
    found: dict[str, Project] = {}
    for row in list_assignments(tx, actor_ids=actor_ids):
        if row.target_kind is TargetKind.SYSTEM:
            continue
        target = PROJECTS.find(tx, id=row.target_id)
        if target is None:
            continue
        if row.inherited:
            found |= PROJECTS.by_key(list_descendants(tx, target))
        elif not target.is_domain:
            found[target.id] = target
    return sorted(found.values(), key=lambda project: (project.name, project.id))


def list_domains_of(tx: Tx, actor_ids: Sequence[str]) -> list[Project]:
    """Domains on which any of the actors has a role that holds on the domain itself."""
    rows = ASSIGNMENTS.list(tx, actor_id=actor_ids, target_kind=TargetKind.DOMAIN, inherited=False)
    return PROJECTS.list(tx, id={row.target_id for row in rows}, is_domain=True, order="name")


def forget_target(tx: Tx, kind: TargetKind, target_id: str) -> None:
    """Remove every assignment on a target that goes away."""
    ASSIGNMENTS.delete_where(tx, target_kind=kind, target_id=target_id)


def forget_actor(tx: Tx, kind: ActorKind, actor_id: str) -> None:
    """Remove every assignment of an actor that goes away."""
    ASSIGNMENTS.delete_where(tx, actor_kind=kind, actor_id=actor_id)
