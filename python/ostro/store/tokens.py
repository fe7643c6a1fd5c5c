"""What tokens rest on: the Fernet keys, revocations, and the rows that make a token's claims true or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ostro.model.context import Actor
from ostro.store.assignments import SYSTEM_TARGET, TargetKind, list_actor_ids, list_inherited_role_ids, list_role_ids
from ostro.store.database import Tx
from ostro.store.projects import PROJECTS, Project
from ostro.store.roles import ROLES, expand_roles
from ostro.store.users import USERS

TOPIC = "identity"
"""Rung by every transaction that can change what a token is worth: caches of tokens forget everything."""


class FernetKey(NamedTuple):
    """A key, and since when it has been there."""

    key: str
    created_at_us: int


def list_fernet_keys(tx: Tx) -> list[FernetKey]:
    """The keys, the newest first."""
    return [FernetKey(*row) for row in tx.all("SELECT key, created_at_us FROM fernet_keys ORDER BY position DESC")]


def add_fernet_key(tx: Tx, key: str, keep: int, now_us: int) -> None:
    """Make ``key`` the newest one, and keep so many."""
    row = tx.one("SELECT coalesce(max(position), 0) FROM fernet_keys")
    assert row is not None
    position = int(row[0]) + 1
    tx.execute("INSERT INTO fernet_keys (position, key, created_at_us) VALUES (?, ?, ?)", (position, key, now_us))
    tx.execute("DELETE FROM fernet_keys WHERE position <= ?", (position - keep,))
    tx.ring(TOPIC)


def revoke_audit_id(tx: Tx, audit_id: str, expires_at_us: int, *, now_us: int, whole_chain: bool = False) -> None:
    """Revoke a token, or every token that came from the same password."""
    tx.execute(
        "INSERT INTO revocations (audit_id, whole_chain, expires_at_us, revoked_at_us) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (audit_id) DO NOTHING",
        (audit_id, int(whole_chain), expires_at_us, now_us),
    )
    tx.ring(TOPIC)


class Revocation(NamedTuple):
    """One revoked token, or chain of tokens."""

    audit_id: str
    whole_chain: bool
    revoked_at_us: int


def list_revocations(tx: Tx, since_us: int, most: int) -> list[Revocation]:
    """Revocations since then, the oldest first."""
    rows = tx.all(
        "SELECT audit_id, whole_chain, revoked_at_us FROM revocations WHERE revoked_at_us >= ?"
        " ORDER BY revoked_at_us, audit_id LIMIT ?",
        (since_us, most),
    )
    return [Revocation(row[0], bool(row[1]), row[2]) for row in rows]


def sweep_revocations(tx: Tx, now_us: int) -> int:
    """Forget revocations of tokens that have expired anyway."""
    return tx.execute("DELETE FROM revocations WHERE expires_at_us < ?", (now_us,))


def is_revoked(tx: Tx, audit_ids: tuple[str, ...]) -> bool:
    """Whether a token with these audit ids (its own first, then its chain's) is revoked."""
    own, chain = audit_ids[0], audit_ids[-1]
    row = tx.one("SELECT 1 FROM revocations WHERE audit_id = ? OR (audit_id = ? AND whole_chain = 1)", (own, chain))
    return row is not None


def _enabled_domain(tx: Tx, domain_id: str) -> Project | None:
    return PROJECTS.find(tx, id=domain_id, is_domain=True, enabled=True)


def _enabled_project(tx: Tx, project_id: str) -> Project | None:
    """The project, if it and everything above it is enabled."""
    project = PROJECTS.find(tx, id=project_id, is_domain=False, enabled=True)
    above = project.parent_id if project else ""
    while above:
        parent = PROJECTS.find(tx, id=above, enabled=True)
        if parent is None:
            return None
        above = parent.parent_id
    return project


class Scope(NamedTuple):
    """What a token is for: one of these, or nothing."""

    project_id: str = ""
    domain_id: str = ""
    system: bool = False


def load_roles(tx: Tx, user_id: str, scope: Scope, now_us: int, group_ids: Sequence[str] = ()) -> set[str]:
    """Ids of the roles that the user has on the scope: directly, by groups (its token's ``group_ids`` included), by inheritance and by implication."""
    actor_ids = list_actor_ids(tx, user_id, now_us, group_ids)
    role_ids: list[str] = []
    if scope.project_id:
        role_ids = list_role_ids(tx, actor_ids, TargetKind.PROJECT, scope.project_id)
        role_ids += list_inherited_role_ids(tx, actor_ids, scope.project_id)
    elif scope.domain_id:
        role_ids = list_role_ids(tx, actor_ids, TargetKind.DOMAIN, scope.domain_id)
    elif scope.system:
        role_ids = list_role_ids(tx, actor_ids, TargetKind.SYSTEM, SYSTEM_TARGET)
    return expand_roles(tx, role_ids)


def load_actor(
    tx: Tx,
    user_id: str,
    scope: Scope,
    now_us: int,
    *,
    issued_at_us: int = 0,
    roles_of: str = "",
    only: Sequence[str] | None = None,
    group_ids: Sequence[str] = (),
) -> Actor | None:
    """The actor as the rows are now; None when the user, its domain or the scope is gone or disabled, the scope gives
    no role, or the password was changed after the token was issued.

    The roles are those of ``roles_of`` (the user itself unless a trust says otherwise) and of the token's ``group_ids``, of these ``only`` and what
    they imply. A domain's own roles are not shown; what they imply is.
    """
    user = USERS.find(tx, id=user_id, enabled=True)
    user_domain = user and _enabled_domain(tx, user.domain_id)
    if user is None or user_domain is None or (issued_at_us and user.password_set_at_us > issued_at_us):
        return None
    project = domain = project_domain = None
    if scope.project_id:
        project = _enabled_project(tx, scope.project_id)
        project_domain = project and _enabled_domain(tx, project.domain_id)
        if project is None or project_domain is None:
            return None
    elif scope.domain_id:
        domain = _enabled_domain(tx, scope.domain_id)
        if domain is None:
            return None
    role_ids = load_roles(tx, roles_of or user_id, scope, now_us, group_ids)
    if only is not None:
        role_ids &= expand_roles(tx, only)
    roles = ROLES.list(tx, id=role_ids, domain_id="", order="name")
    if (scope.project_id or scope.domain_id or scope.system) and not roles:
        return None
    return Actor(
        user_id=user.id,
        user_name=user.display_name,
        user_domain_id=user_domain.id,
        user_domain_name=user_domain.name,
        roles=frozenset(role.name.lower() for role in roles),
        role_ids=tuple((role.id, role.name) for role in roles),
        project_id=project.id if project else "",
        project_name=project.name if project else "",
        project_domain_id=project_domain.id if project_domain else "",
        project_domain_name=project_domain.name if project_domain else "",
        domain_id=domain.id if domain else "",
        domain_name=domain.name if domain else "",
        system=scope.system,
        issued_at_us=issued_at_us,
    )
