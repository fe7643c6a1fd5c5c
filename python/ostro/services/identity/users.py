"""Users. Hashing is slow and done by the caller before the transaction; a changed password makes the user's tokens worthless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, Unauthenticated
from ostro.services.identity.access import (
    check_mutable,
    forbidden,
    may_read,
    need_domain,
    need_project,
    need_user,
    readable_domain,
)
from ostro.services.identity.projects import merge
from ostro.store.assignments import ActorKind, forget_actor, list_projects_of
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.projects import DEFAULT_DOMAIN_ID, Project
from ostro.store.tokens import TOPIC
from ostro.store.users import USERS, User


def create_user(
    tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any], password_hash: str
) -> User:
    """Add a user; without a password the hash is empty and nobody can log in by it."""
    actor = context.actor
    domain_id = given.get("domain_id") or actor.domain_id or actor.project_domain_id or DEFAULT_DOMAIN_ID
    need_domain(tx, domain_id)
    name = given["name"].strip()
    _check_name(tx, name, domain_id)
    if default_project_id := given.get("default_project_id") or "":
        need_project(tx, default_project_id)
    user = User(
        id=context.new_hex_id(),
        name=name,
        domain_id=domain_id,
        default_project_id=default_project_id,
        enabled=given.get("enabled", True),
        password_hash=password_hash,
        password_set_at_us=context.now_us,
        email=given.get("email") or "",
        description=given.get("description") or "",
        options=dict(given.get("options", {})),
        extra=dict(extra),
        created_at_us=context.now_us,
    )
    return USERS.insert(tx, user)


def _check_name(tx: Tx, name: str, domain_id: str) -> None:
    if not name:
        raise Invalid("Invalid input for field 'name': it can't be empty.")
    if USERS.find(tx, name=name, domain_id=domain_id) is not None:
        raise Conflict(f"Conflict occurred attempting to store user - Duplicate entry found with name {name}.")


def get_user(tx: Tx, context: Context, user_id: str) -> User:
    """The user, if the actor may see it: itself, or one of a domain that it reads."""
    user = need_user(tx, user_id)
    if context.user_id != user_id and not may_read(context, user.domain_id):
        raise forbidden("identity:get_user")
    return user


def list_users(tx: Tx, context: Context, page: Page) -> list[User]:
    """One page of the users that the actor may read."""
    domain_id = readable_domain(context, "identity:list_users")
    if domain_id is not None:
        page = page.with_filters(Filter("domain_id", domain_id))
    return list_page(tx, USERS, page)


def update_user(
    tx: Tx,
    context: Context,
    user_id: str,
    given: Mapping[str, Any],
    extra: Mapping[str, Any | None],
    password_hash: str,
) -> User:
    """Change a user; an empty ``password_hash`` leaves the password as it is."""
    user = need_user(tx, user_id)
    check_mutable("user", user_id, user.options, {**given, **extra})
    if given.get("domain_id", user.domain_id) != user.domain_id:
        raise Forbidden("Cannot change domain_id of a user.")
    changes: dict[str, Any] = {"enabled": given["enabled"]} if "enabled" in given else {}
    changes |= {k: given[k] or "" for k in ("email", "description", "default_project_id") if k in given}
    if changes.get("default_project_id"):
        need_project(tx, changes["default_project_id"])
    if "name" in given and given["name"].strip() != user.name:
        changes["name"] = given["name"].strip()
        _check_name(tx, changes["name"], user.domain_id)
    if password_hash:
        changes |= {"password_hash": password_hash, "password_set_at_us": context.now_us}
    changes["options"] = merge(user.options, given.get("options", {}))
    changes["extra"] = merge(user.extra, extra)
    USERS.update(tx, user_id, **changes)
    tx.ring(TOPIC)
    return msgspec.structs.replace(user, **changes)


def change_password(tx: Tx, context: Context, user_id: str, old_hash: str, new_hash: str) -> None:
    """Set a new password, unless the one that was verified has been changed meanwhile."""
    changes = {"password_hash": new_hash, "password_set_at_us": context.now_us}
    if not USERS.update_where(tx, changes, id=user_id, password_hash=old_hash):
        raise Unauthenticated("The request you have made requires authentication.", detail="password changed meanwhile")
    tx.ring(TOPIC)


def find_password_hash(tx: Tx, context: Context, user_id: str) -> str:
    """What to verify the old password against; empty when there is no such user, who is then refused alike."""
    user = USERS.find(tx, id=user_id, enabled=True)
    return user.password_hash if user else ""


def list_user_projects(tx: Tx, context: Context, user_id: str) -> list[Project]:
    """Projects on which the user has a role."""
    user = need_user(tx, user_id)
    if context.user_id != user_id and not may_read(context, user.domain_id):
        raise forbidden("identity:list_user_projects")
    return list_projects_of(tx, user_id)


def delete_user(tx: Tx, context: Context, user_id: str) -> None:
    """Delete a user and every role that it has."""
    user = need_user(tx, user_id)
    check_mutable("user", user_id, user.options)
    remove_user(tx, user_id)


def remove_user(tx: Tx, user_id: str) -> None:
    """Remove the row and what points to it."""
    forget_actor(tx, ActorKind.USER, user_id)
    USERS.delete(tx, user_id)
    tx.ring(TOPIC)
