"""Role assignments: who has which role on what."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ostro.store.database import Tx
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


def list_role_ids(tx: Tx, user_id: str, kind: TargetKind, target_id: str) -> list[str]:
    """Roles that the user has on the target itself, without implied ones."""
    rows = tx.all(
        "SELECT role_id FROM assignments WHERE actor_id = ? AND target_kind = ? AND target_id = ? AND inherited = 0",
        (user_id, kind.value, target_id),
    )
    return [row[0] for row in rows]


def list_inherited_role_ids(tx: Tx, user_id: str, project_id: str) -> list[str]:
    """Roles that the user has on the project by inheritance from the projects above it and its domain."""
    out: list[str] = []
    seen: set[str] = set()
    row = tx.one("SELECT parent_id, domain_id FROM projects WHERE id = ?", (project_id,))
    while row is not None and row[0] and row[0] not in seen:
        seen.add(row[0])
        rows = tx.all(
            "SELECT role_id FROM assignments WHERE actor_id = ? AND target_id = ? AND inherited = 1",
            (user_id, row[0]),
        )
        out.extend(r[0] for r in rows)
        row = tx.one("SELECT parent_id, domain_id FROM projects WHERE id = ?", (row[0],))
    return out
