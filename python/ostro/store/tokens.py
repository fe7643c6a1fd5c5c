"""What tokens rest on: the Fernet keys, revocations, and the rows that make a token's claims true or not."""

from __future__ import annotations

from ostro.model.context import Actor
from ostro.store.assignments import SYSTEM_TARGET, TargetKind, list_inherited_role_ids, list_role_ids
from ostro.store.database import Tx
from ostro.store.projects import PROJECTS, Project
from ostro.store.roles import ROLES, expand_roles
from ostro.store.users import USERS

TOPIC = "identity"
"""Rung by every transaction that can change what a token is worth: caches of tokens forget everything."""


def list_fernet_keys(tx: Tx) -> list[str]:
    """The keys, the one that signs first."""
    return [row[0] for row in tx.all("SELECT key FROM fernet_keys ORDER BY position DESC")]


def add_fernet_key(tx: Tx, key: str, keep: int, now_us: int) -> None:
    """Make ``key`` the signing one, keep the newest ``keep`` for reading."""
    row = tx.one("SELECT coalesce(max(position), 0) FROM fernet_keys")
    assert row is not None
    position = int(row[0]) + 1
    tx.execute("INSERT INTO fernet_keys (position, key, created_at_us) VALUES (?, ?, ?)", (position, key, now_us))
    tx.execute("DELETE FROM fernet_keys WHERE position <= ?", (position - keep,))
    tx.ring(TOPIC)


def revoke_audit_id(tx: Tx, audit_id: str, expires_at_us: int, *, whole_chain: bool = False) -> None:
    """Revoke a token, or every token that came from the same password."""
    tx.execute(
        "INSERT INTO revocations (audit_id, whole_chain, expires_at_us) VALUES (?, ?, ?)"
        " ON CONFLICT (audit_id) DO NOTHING",
        (audit_id, int(whole_chain), expires_at_us),
    )
    tx.ring(TOPIC)


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


def load_actor(
    tx: Tx,
    user_id: str,
    *,
    project_id: str = "",
    domain_id: str = "",
    system: bool = False,
    methods: tuple[str, ...] = (),
    audit_ids: tuple[str, ...] = (),
    issued_at_us: int = 0,
    expires_at_us: int = 0,
) -> Actor | None:
    """The actor as the rows are now; None when the user, its domain or the scope is gone or disabled, the scope gives
    no role, or the password was changed after the token was issued."""
    user = USERS.find(tx, id=user_id, enabled=True)
    user_domain = user and _enabled_domain(tx, user.domain_id)
    if user is None or user_domain is None or (issued_at_us and user.password_set_at_us > issued_at_us):
        return None
    project = domain = project_domain = None
    role_ids: list[str] = []
    if project_id:
        project = _enabled_project(tx, project_id)
        project_domain = project and _enabled_domain(tx, project.domain_id)
        if project is None or project_domain is None:
            return None
        role_ids = list_role_ids(tx, user_id, TargetKind.PROJECT, project_id)
        role_ids += list_inherited_role_ids(tx, user_id, project_id)
    elif domain_id:
        domain = _enabled_domain(tx, domain_id)
        if domain is None:
            return None
        role_ids = list_role_ids(tx, user_id, TargetKind.DOMAIN, domain_id)
    elif system:
        role_ids = list_role_ids(tx, user_id, TargetKind.SYSTEM, SYSTEM_TARGET)
    if (project_id or domain_id or system) and not role_ids:
        return None
    roles = ROLES.list(tx, id=expand_roles(tx, role_ids), order="name")
    return Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user_domain.id,
        user_domain_name=user_domain.name,
        roles=frozenset(role.name for role in roles),
        role_ids=tuple((role.id, role.name) for role in roles),
        project_id=project.id if project else "",
        project_name=project.name if project else "",
        project_domain_id=project_domain.id if project_domain else "",
        project_domain_name=project_domain.name if project_domain else "",
        domain_id=domain.id if domain else "",
        domain_name=domain.name if domain else "",
        system=system,
        methods=methods,
        audit_ids=audit_ids,
        issued_at_us=issued_at_us,
        expires_at_us=expires_at_us,
    )
