"""Role assignments: grant, check, revoke, and the list of them as they are or as they take effect.

An assignment takes effect where its target is, on every project below when it is inherited, and for every role that its role implies.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.identity.access import forbidden, may_read, need_domain, need_project, need_role, need_user
from ostro.store.assignments import (
    ASSIGNMENTS,
    SYSTEM_TARGET,
    ActorKind,
    Assignment,
    TargetKind,
    list_assignments,
)
from ostro.store.database import Tx
from ostro.store.projects import PROJECTS, Project, list_descendants
from ostro.store.roles import ROLES, Role, list_implications
from ostro.store.tokens import TOPIC
from ostro.store.users import USERS, User


@dataclass(frozen=True)
class Target:
    """What a role is granted on; ``inherited`` to the projects below it."""

    kind: TargetKind
    id: str = SYSTEM_TARGET
    inherited: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which assignments to list; empty fields match everything."""

    user_id: str = ""
    role_id: str = ""
    target_kind: TargetKind | None = None
    target_id: str = ""
    inherited: bool | None = None
    effective: bool = False
    subtree: bool = False


@dataclass(frozen=True)
class Shown:
    """One line of the list: where the role holds, and the assignment that it comes from."""

    assignment: Assignment
    target_kind: TargetKind
    target_id: str
    role_id: str


@dataclass(frozen=True)
class Names:
    """What ids in a list are called."""

    users: dict[str, User]
    roles: dict[str, Role]
    projects: dict[str, Project]


def _need_target(tx: Tx, target: Target) -> str:
    """Check that the target is there; the id of its domain, empty for the system."""
    match target.kind:
        case TargetKind.PROJECT:
            return need_project(tx, target.id).domain_id
        case TargetKind.DOMAIN:
            return need_domain(tx, target.id).id
        case TargetKind.SYSTEM:
            return ""


def _assignment(target: Target, user_id: str, role_id: str) -> Assignment:
    return Assignment(ActorKind.USER, user_id, target.kind, target.id, role_id, target.inherited)


def grant_role(tx: Tx, context: Context, target: Target, user_id: str, role_id: str) -> None:
    """Give the user the role on the target. Idempotent. Raises NotFound for whatever is not there."""
    _need_target(tx, target)
    need_user(tx, user_id)
    need_role(tx, role_id)
    ASSIGNMENTS.insert_new(tx, _assignment(target, user_id, role_id))
    tx.ring(TOPIC)


def _conditions(assignment: Assignment) -> dict[str, object]:
    return msgspec.structs.asdict(assignment)


def check_grant(tx: Tx, context: Context, target: Target, user_id: str, role_id: str) -> None:
    """Raise NotFound unless the user was given just this role on just this target."""
    _check_reader(context, _need_target(tx, target), "identity:check_grant")
    if ASSIGNMENTS.find(tx, **_conditions(_assignment(target, user_id, role_id))) is None:
        raise NotFound(
            "role assignment", role_id, f"Could not find role assignment with role: {role_id}, user or group: {user_id}"
        )


def revoke_role(tx: Tx, context: Context, target: Target, user_id: str, role_id: str) -> None:
    """Take the role away again. Raises NotFound when the user did not have it."""
    _need_target(tx, target)
    if not ASSIGNMENTS.delete_where(tx, **_conditions(_assignment(target, user_id, role_id))):
        raise NotFound(
            "role assignment", role_id, f"Could not find role assignment with role: {role_id}, user or group: {user_id}"
        )
    tx.ring(TOPIC)


def list_grants(tx: Tx, context: Context, target: Target, user_id: str) -> list[Role]:
    """Roles that the user was given on just this target."""
    _check_reader(context, _need_target(tx, target), "identity:list_grants")
    need_user(tx, user_id)
    rows = ASSIGNMENTS.list(
        tx, actor_id=user_id, target_kind=target.kind, target_id=target.id, inherited=target.inherited
    )
    return ROLES.list(tx, id=[row.role_id for row in rows], order="name")


def _check_reader(context: Context, domain_id: str, action: str) -> None:
    if not may_read(context, domain_id or "-"):
        raise forbidden(action)


def list_role_assignments(tx: Tx, context: Context, wanted: Wanted) -> tuple[list[Shown], Names]:
    """The assignments that match, and what their ids are called."""
    _check_list(tx, context, wanted)
    rows = list_assignments(tx, user_id=wanted.user_id)
    shown = _effective(tx, rows) if wanted.effective else [_direct(row) for row in rows]
    targets = {wanted.target_id}
    if wanted.subtree and wanted.target_kind is TargetKind.PROJECT:
        targets |= {project.id for project in list_descendants(tx, need_project(tx, wanted.target_id))}
    matching = [line for line in shown if _matches(line, wanted, targets)]
    return matching, _names(tx, matching)


def _check_list(tx: Tx, context: Context, wanted: Wanted) -> None:
    """Everybody may list their own; a domain's readers what is on that domain and its projects."""
    if context.is_admin or context.actor.system or wanted.user_id == context.user_id:
        return
    if wanted.target_kind in (TargetKind.PROJECT, TargetKind.DOMAIN) and wanted.target_id:
        target = PROJECTS.find(tx, id=wanted.target_id)
        if target is not None and may_read(context, target.domain_id or target.id):
            return
    raise forbidden("identity:list_role_assignments")


def _direct(row: Assignment) -> Shown:
    return Shown(row, row.target_kind, row.target_id, row.role_id)


def _effective(tx: Tx, rows: list[Assignment]) -> list[Shown]:
    """Where each assignment takes effect, and for which roles."""
    implied: dict[str, list[str]] = {}
    for prior_id, implied_id in list_implications(tx):
        implied.setdefault(prior_id, []).append(implied_id)
    seen: set[tuple[str, TargetKind, str, str]] = set()
    out: list[Shown] = []
    for row in rows:
        for kind, target_id in _places(tx, row):
            for role_id in _closure(row.role_id, implied):
                key = (row.actor_id, kind, target_id, role_id)
                if key not in seen:
                    seen.add(key)
                    out.append(Shown(row, kind, target_id, role_id))
    return out


def _places(tx: Tx, row: Assignment) -> list[tuple[TargetKind, str]]:
    if not row.inherited:
        return [(row.target_kind, row.target_id)]
    root = PROJECTS.find(tx, id=row.target_id)
    return [(TargetKind.PROJECT, project.id) for project in list_descendants(tx, root)] if root else []


def _closure(role_id: str, implied: dict[str, list[str]]) -> list[str]:
    """The role and all that it implies, itself first."""
    out = [role_id]
    for known in out:
        out += [follows for follows in implied.get(known, ()) if follows not in out]
    return out


def _matches(line: Shown, wanted: Wanted, targets: set[str]) -> bool:
    return (
        wanted.role_id in ("", line.role_id)
        and wanted.target_kind in (None, line.target_kind)
        and (not wanted.target_id or line.target_id in targets)
        and (wanted.inherited is None or wanted.inherited == line.assignment.inherited)
    )


def _names(tx: Tx, lines: list[Shown]) -> Names:
    projects = PROJECTS.by_key(PROJECTS.list(tx, id={line.target_id for line in lines}))
    users = USERS.by_key(USERS.list(tx, id={line.assignment.actor_id for line in lines}))
    domains = {p.domain_id for p in projects.values()} | {u.domain_id for u in users.values()}
    projects |= PROJECTS.by_key(PROJECTS.list(tx, id=domains - set(projects)))
    roles = ROLES.by_key(ROLES.list(tx))
    return Names(users, roles, projects)
