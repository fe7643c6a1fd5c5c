"""Role assignments: grant, check, revoke, and the list of them as they are or as they take effect.

An assignment takes effect where its target is, on every project below when it is inherited, for every member when it is a group's, and for every
role that its role implies. A domain's own role has no effect by itself, only by what it implies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Forbidden, NotFound
from ostro.services.identity.access import (
    Target as Attributes,
)
from ostro.services.identity.access import (
    group_target,
    need_domain,
    need_group,
    need_project,
    need_role,
    need_user,
    project_target,
    role_target,
    user_target,
)
from ostro.store.assignments import (
    ASSIGNMENTS,
    SYSTEM_TARGET,
    ActorKind,
    Assignment,
    TargetKind,
    list_actor_ids,
    list_assignments,
)
from ostro.store.database import Tx
from ostro.store.delegation import forget_user_on_project
from ostro.store.groups import GROUPS, Group, list_member_ids
from ostro.store.projects import PROJECTS, Project, list_descendants
from ostro.store.roles import ROLES, Role, list_implications
from ostro.store.table import Table
from ostro.store.tokens import TOPIC, Scope, load_roles
from ostro.store.users import USERS, User

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Target:
    """What a role is granted on; ``inherited`` to the projects below it."""

    kind: TargetKind
    id: str = SYSTEM_TARGET
    inherited: bool = False


@dataclass(frozen=True)
class Holder:
    """Who has the role: a user or a group."""

    kind: ActorKind
    id: str


@dataclass(frozen=True)
class Wanted:
    """Which assignments to list; empty fields match everything."""

    user_id: str = ""
    group_id: str = ""
    role_id: str = ""
    target_kind: TargetKind | None = None
    target_id: str = ""
    inherited: bool | None = None
    effective: bool = False
    subtree: bool = False


@dataclass(frozen=True)
class Shown:
    """One line of the list: whose role holds where, and the assignment that it comes from."""

    assignment: Assignment
    holder: Holder
    target_kind: TargetKind
    target_id: str
    role_id: str


@dataclass(frozen=True)
class Names:
    """What ids in a list are called."""

    users: dict[str, User]
    groups: dict[str, Group]
    roles: dict[str, Role]
    projects: dict[str, Project]


def _enforce(tx: Tx, context: Context, verb: str, target: Target, holder: Holder, role_id: str = "") -> None:
    """Ask the policy, then see that everything is there. Raises Forbidden, then NotFound."""
    role = ROLES.find(tx, id=role_id) if role_id else None
    if target.kind is TargetKind.SYSTEM:
        context.enforce(f"identity:{verb}_system_grant{'s' if verb == 'list' else ''}_for_{holder.kind}")
    else:
        attributes: Attributes = role_target(role)
        if holder.kind is ActorKind.USER:
            attributes |= user_target(USERS.find(tx, id=holder.id), holder.id)
        else:
            attributes |= group_target(GROUPS.find(tx, id=holder.id))
        if target.kind is TargetKind.DOMAIN:
            attributes |= {"target__domain__id": target.id}
        else:
            attributes |= project_target(PROJECTS.find(tx, id=target.id, is_domain=False))
        context.enforce(f"identity:{verb}_grant{'s' if verb == 'list' else ''}", **attributes)
    if role_id:
        need_role(tx, role_id)
    if holder.kind is ActorKind.USER and verb != "revoke":
        need_user(tx, holder.id)
    elif verb != "revoke":
        need_group(tx, holder.id)
    if target.kind is TargetKind.PROJECT:
        need_project(tx, target.id)
    elif target.kind is TargetKind.DOMAIN:
        need_domain(tx, target.id)


def _assignment(target: Target, holder: Holder, role_id: str) -> Assignment:
    return Assignment(holder.kind, holder.id, target.kind, target.id, role_id, target.inherited)


def grant_role(tx: Tx, context: Context, target: Target, holder: Holder, role_id: str) -> None:
    """Give the role on the target. Idempotent. Raises NotFound for whatever is not there, Forbidden for a role of another domain."""
    _enforce(tx, context, "create", target, holder, role_id)
    role = need_role(tx, role_id)
    if role.domain_id and target.kind is TargetKind.SYSTEM:
        raise Forbidden(f"Role {role_id} belongs to a domain and can't be given on the system.")
    if role.domain_id and target.kind is TargetKind.PROJECT and role.domain_id != need_project(tx, target.id).domain_id:
        raise Forbidden(f"Role {role_id} belongs to another domain.")
    ASSIGNMENTS.insert_new(tx, _assignment(target, holder, role_id))
    tx.ring(TOPIC)


def _no_grant(holder: Holder, role_id: str) -> NotFound:
    return NotFound(
        "role assignment", role_id, f"Could not find role assignment with role: {role_id}, user or group: {holder.id}."
    )


def check_grant(tx: Tx, context: Context, target: Target, holder: Holder, role_id: str) -> None:
    """Raise NotFound unless just this role was given on just this target."""
    _enforce(tx, context, "check", target, holder, role_id)
    if ASSIGNMENTS.find(tx, **msgspec.structs.asdict(_assignment(target, holder, role_id))) is None:
        raise _no_grant(holder, role_id)


def revoke_role(tx: Tx, context: Context, target: Target, holder: Holder, role_id: str) -> None:
    """Take the role away again, and the application credentials that rest on it. Raises NotFound when it was not given."""
    _enforce(tx, context, "revoke", target, holder, role_id)
    if not ASSIGNMENTS.delete_where(tx, **msgspec.structs.asdict(_assignment(target, holder, role_id))):
        raise _no_grant(holder, role_id)
    if target.kind is TargetKind.PROJECT:
        for user_id in [holder.id] if holder.kind is ActorKind.USER else list_member_ids(tx, holder.id, context.now_us):
            forget_user_on_project(tx, user_id, target.id)
    tx.ring(TOPIC)


def list_grants(tx: Tx, context: Context, target: Target, holder: Holder) -> list[Role]:
    """Roles that were given on just this target."""
    _enforce(tx, context, "list", target, holder)
    rows = ASSIGNMENTS.list(
        tx, actor_id=holder.id, target_kind=target.kind, target_id=target.id, inherited=target.inherited
    )
    return ROLES.list(tx, id=[row.role_id for row in rows], order="name")


def list_role_ids_on(tx: Tx, user_id: str, project_id: str, now_us: int) -> set[str]:
    """Every role that a user has on a project, however it came by it."""
    return load_roles(tx, user_id, Scope(project_id), now_us)


def list_role_assignments(tx: Tx, context: Context, wanted: Wanted) -> tuple[list[Shown], Names]:
    """The assignments that match, and what their ids are called. A domain's token shows what is on that domain and its projects."""
    targets = {wanted.target_id}
    if wanted.subtree:
        root = PROJECTS.find(tx, id=wanted.target_id)
        domain_id = (root.domain_id or root.id) if root else context.actor.domain_id
        context.enforce("identity:list_role_assignments_for_tree", **_in_domain(domain_id))
        targets |= {project.id for project in list_descendants(tx, need_project(tx, wanted.target_id))}
    else:
        context.enforce("identity:list_role_assignments", **_in_domain(context.actor.domain_id))
    lines = [line for line in _lines(tx, wanted, context.now_us) if _matches(line, wanted, targets)]
    names = _names(tx, lines)
    if context.actor.domain_id:
        lines = [line for line in lines if _is_within(line, names, context.actor.domain_id)]
    return lines, names


def _in_domain(domain_id: str) -> Attributes:
    """A target in a domain; without one the target has no such attribute, so that no rule can match None with None."""
    return {"target__domain_id": domain_id} if domain_id else {}


def _is_within(line: Shown, names: Names, domain_id: str) -> bool:
    target = names.projects.get(line.target_id)
    return line.target_id == domain_id or (target is not None and target.domain_id == domain_id)


def _lines(tx: Tx, wanted: Wanted, now_us: int) -> list[Shown]:
    holder_id = wanted.user_id or wanted.group_id
    if not wanted.effective:
        rows = list_assignments(tx, actor_ids=[holder_id] if holder_id else [])
        return [Shown(r, Holder(r.actor_kind, r.actor_id), r.target_kind, r.target_id, r.role_id) for r in rows]
    lines = _effective(
        tx, list_assignments(tx, actor_ids=list_actor_ids(tx, holder_id, now_us) if holder_id else []), now_us
    )
    return [line for line in lines if wanted.user_id in ("", line.holder.id)]


def _effective(tx: Tx, rows: list[Assignment], now_us: int) -> list[Shown]:
    """Where each assignment takes effect, for whom, and for which roles."""
    implied: dict[str, list[str]] = {}
    for prior_id, implied_id in list_implications(tx):
        implied.setdefault(prior_id, []).append(implied_id)
    of_domains = {role.id for role in ROLES.list(tx) if role.domain_id}
    members: dict[str, list[str]] = {}
    seen: set[tuple[str, TargetKind, str, str]] = set()
    out: list[Shown] = []
    for row in rows:
        user_ids = [row.actor_id]
        if row.actor_kind is ActorKind.GROUP:
            if row.actor_id not in members:
                members[row.actor_id] = list_member_ids(tx, row.actor_id, now_us)
            user_ids = members[row.actor_id]
        for kind, target_id in _places(tx, row):
            for role_id in _closure(row.role_id, implied):
                for user_id in user_ids:
                    key = (user_id, kind, target_id, role_id)
                    if key not in seen and role_id not in of_domains:
                        seen.add(key)
                        out.append(Shown(row, Holder(ActorKind.USER, user_id), kind, target_id, role_id))
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


NAMED_AT_ONCE = 500


def _named(tx: Tx, table: Table[T], ids: set[str]) -> dict[str, T]:
    """Rows by id, in statements of bounded length."""
    wanted = sorted(ids)
    out: dict[str, T] = {}
    for start in range(0, len(wanted), NAMED_AT_ONCE):
        out |= table.by_key(table.list(tx, id=wanted[start : start + NAMED_AT_ONCE]))
    return out


def _names(tx: Tx, lines: list[Shown]) -> Names:
    holder_ids = {line.holder.id for line in lines}
    users = _named(tx, USERS, holder_ids)
    groups = _named(tx, GROUPS, holder_ids - set(users))
    projects = _named(tx, PROJECTS, {line.target_id for line in lines})
    domains = {item.domain_id for found in (projects, users, groups) for item in found.values()}
    projects |= _named(tx, PROJECTS, domains - set(projects))
    return Names(users, groups, ROLES.by_key(ROLES.list(tx)), projects)
