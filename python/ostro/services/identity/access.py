"""Who may see whose objects, who may change what is marked immutable, and how Identity words what it can't find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import Forbidden, NotFound
from ostro.store.database import Tx
from ostro.store.projects import PROJECTS, Project
from ostro.store.roles import ROLES, Role
from ostro.store.users import USERS, User


def forbidden(action: str) -> Forbidden:
    """The refusal of an action, as Identity words it."""
    return Forbidden(f"You are not authorized to perform the requested action: {action}.")


def readable_domain(context: Context, action: str) -> str | None:
    """The domain whose objects the actor may read; None for every domain.

    Administrators and system scope read everything, domain scope its own domain. Raises Forbidden for anybody else.
    """
    if context.is_admin or context.actor.system:
        return None
    if context.actor.domain_id:
        return context.actor.domain_id
    raise forbidden(action)


def may_read(context: Context, domain_id: str) -> bool:
    """Whether the actor may read objects of a domain."""
    actor = context.actor
    return context.is_admin or actor.system or (bool(actor.domain_id) and actor.domain_id == domain_id)


def check_mutable(noun: str, id_: str, options: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> None:
    """Raise Forbidden for an object with the option ``immutable``, unless all that changes is its options."""
    if options.get("immutable") and (changes is None or set(changes) != {"options"}):
        raise Forbidden(f"Cannot change or delete {noun} {id_}: its option immutable is set. Unset the option first.")


def _missing(noun: str, id_: str) -> NotFound:
    return NotFound(noun, id_, f"Could not find {noun}: {id_}.")


def need_project(tx: Tx, id_: str) -> Project:
    """The project. Raises NotFound, for a domain too."""
    project = PROJECTS.find(tx, id=id_, is_domain=False)
    if project is None:
        raise _missing("project", id_)
    return project


def need_domain(tx: Tx, id_: str) -> Project:
    """The domain. Raises NotFound."""
    domain = PROJECTS.find(tx, id=id_, is_domain=True)
    if domain is None:
        raise _missing("domain", id_)
    return domain


def need_user(tx: Tx, id_: str) -> User:
    """The user. Raises NotFound."""
    user = USERS.find(tx, id=id_)
    if user is None:
        raise _missing("user", id_)
    return user


def need_role(tx: Tx, id_: str) -> Role:
    """The role. Raises NotFound."""
    role = ROLES.find(tx, id=id_)
    if role is None:
        raise _missing("role", id_)
    return role
