"""Authentication: from a password or a token, and a wished scope, to a payload that a token can carry.

Password verification is slow and outside any transaction: ``find_login`` reads, the caller verifies, ``grant`` checks the rest.
Every refusal reads the same, whatever was wrong.
"""

from __future__ import annotations

import msgspec

from ostro.model.context import Actor
from ostro.model.errors import Unauthenticated
from ostro.services.identity.tokens import LIFETIME_US, REFUSED, Payload, resolve_actor
from ostro.store.database import Tx
from ostro.store.projects import PROJECTS, Project
from ostro.store.users import USERS, User


class DomainRef(msgspec.Struct, frozen=True):
    """A domain by id or name."""

    id: str = ""
    name: str = ""


class UserRef(msgspec.Struct, frozen=True):
    """A user by id, or by name and domain."""

    id: str = ""
    name: str = ""
    domain: DomainRef = DomainRef()


class Scope(msgspec.Struct, frozen=True):
    """The wished scope; none of them is unscoped. ``project`` is by id, or by name and domain."""

    project: UserRef | None = None
    domain: DomainRef | None = None
    system: bool = False
    unscoped: bool = False


class Login(msgspec.Struct, frozen=True):
    """A user as authentication sees it. ``user_id`` and ``password_hash`` are empty when there is no such user."""

    user_id: str = ""
    password_hash: str = ""


def find_domain(tx: Tx, ref: DomainRef) -> Project | None:
    """The domain that ``ref`` names."""
    if ref.id:
        return PROJECTS.find(tx, id=ref.id, is_domain=True)
    return PROJECTS.find(tx, name=ref.name, is_domain=True) if ref.name else None


def find_user(tx: Tx, ref: UserRef) -> User | None:
    """The user that ``ref`` names."""
    if ref.id:
        return USERS.find(tx, id=ref.id)
    domain = find_domain(tx, ref.domain)
    return USERS.find(tx, name=ref.name, domain_id=domain.id) if domain and ref.name else None


def find_login(tx: Tx, ref: UserRef) -> Login:
    """What there is to verify a password against."""
    user = find_user(tx, ref)
    return Login(user.id, user.password_hash) if user else Login()


def find_project(tx: Tx, ref: UserRef) -> Project | None:
    """The project that ``ref`` names."""
    if ref.id:
        return PROJECTS.find(tx, id=ref.id, is_domain=False)
    domain = find_domain(tx, ref.domain)
    return PROJECTS.find(tx, name=ref.name, domain_id=domain.id, is_domain=False) if domain and ref.name else None


def grant(
    tx: Tx,
    user_id: str,
    scope: Scope,
    *,
    methods: tuple[str, ...],
    audit_id: str,
    parent: Payload | None,
    now_us: int,
) -> tuple[Payload, Actor]:
    """The payload and actor of a new token. One made from a ``parent`` token lives no longer than that and joins its audit chain.

    Raises Unauthenticated when the scope does not exist, is disabled or gives the user no role.
    """
    project = find_project(tx, scope.project) if scope.project else None
    domain = find_domain(tx, scope.domain) if scope.domain else None
    if (scope.project and project is None) or (scope.domain and domain is None):
        raise Unauthenticated(REFUSED, detail="no such scope")
    if not (scope.project or scope.domain or scope.system or scope.unscoped):
        project = _default_project(tx, user_id)
    payload = Payload(
        user_id=user_id,
        methods=methods,
        project_id=project.id if project else "",
        domain_id=domain.id if domain else "",
        system=scope.system,
        issued_at_us=now_us,
        expires_at_us=parent.expires_at_us if parent else now_us + LIFETIME_US,
        audit_ids=(audit_id, parent.audit_ids[-1]) if parent else (audit_id,),
    )
    actor = resolve_actor(tx, payload)
    if actor is None and not (scope.project or scope.domain or scope.system):
        # A default project without a role is no reason to keep the user out.
        payload = msgspec.structs.replace(payload, project_id="")
        actor = resolve_actor(tx, payload)
    if actor is None:
        raise Unauthenticated(REFUSED, detail="user or scope disabled, or no role on the scope")
    return payload, actor


def _default_project(tx: Tx, user_id: str) -> Project | None:
    user = USERS.find(tx, id=user_id)
    if user is None or not user.default_project_id:
        return None
    return PROJECTS.find(tx, id=user.default_project_id, is_domain=False)
