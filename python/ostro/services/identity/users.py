"""Users. Hashing is slow and done by the caller before the transaction; a changed password makes the user's tokens worthless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, Unauthenticated
from ostro.services.identity.access import (
    check_mutable,
    check_no_directory,
    check_writable,
    listed_domain,
    need_domain,
    reach_user,
)
from ostro.services.identity.compliance import DAY_US, Compliance
from ostro.services.identity.projects import merge
from ostro.store.assignments import ActorKind, forget_actor, list_actor_ids, list_domains_of, list_projects_of
from ostro.store.database import Tx
from ostro.store.federation import FEDERATED_USERS, PROTOCOLS, FederatedUser
from ostro.store.paging import Filter, Op, Page, list_page
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS, Project
from ostro.store.tokens import TOPIC
from ostro.store.users import FAILURES, FEDERATION, GONE, USERS, User, add_past_password, list_past_passwords

PASSWORDS_KEPT = 25
"""Given-up passwords that are remembered of a user, whatever the operator's count is today."""


def create_user(
    tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any], password_hash: str
) -> User:
    """Add a user; without a password the hash is empty and nobody can log in by it."""
    actor = context.actor
    domain_id = given.get("domain_id") or ""
    context.enforce("identity:create_user", **({"target__user__domain_id": domain_id} if domain_id else {}))
    domain_id = domain_id or actor.domain_id or actor.project_domain_id or DEFAULT_DOMAIN_ID
    need_domain(tx, domain_id)
    check_no_directory(tx, domain_id)
    name = given["name"].strip()
    _check_name(tx, name, domain_id)
    user = User(
        id=context.new_hex_id(),
        name=name,
        domain_id=domain_id,
        default_project_id=_default_project(tx, given.get("default_project_id") or ""),
        enabled=given.get("enabled", True),
        password_hash=password_hash,
        password_set_at_us=context.now_us,
        email=given.get("email") or "",
        description=given.get("description") or "",
        options=merge({}, given.get("options", {})),
        extra=dict(extra),
        created_at_us=context.now_us,
        password_by_admin=True,
    )
    USERS.insert(tx, user)
    _link(tx, user.id, given)
    return user


def _link(tx: Tx, user_id: str, given: Mapping[str, Any]) -> None:
    """Say by which identity providers the user may come, if that is given: it takes the place of what was said before."""
    if "federated" not in given:
        return
    FEDERATED_USERS.delete_where(tx, user_id=user_id)
    for provider in given["federated"] or ():
        for protocol in provider["protocols"]:
            if PROTOCOLS.find(tx, idp_id=provider["idp_id"], id=protocol["protocol_id"]) is None:
                raise Invalid(f"Could not find federated protocol {protocol['protocol_id']} of {provider['idp_id']}.")
            row = FederatedUser(provider["idp_id"], protocol["protocol_id"], protocol["unique_id"], user_id)
            if not FEDERATED_USERS.insert_new(tx, row):
                raise Conflict("Conflict occurred attempting to store federated_user - Duplicate entry.")


def _default_project(tx: Tx, project_id: str) -> str:
    """A default project may be one that isn't there (yet), but not a domain."""
    if project_id and PROJECTS.find(tx, id=project_id, is_domain=True) is not None:
        raise Invalid(f"The default project {project_id} is a domain.")
    return project_id


def _check_name(tx: Tx, name: str, domain_id: str) -> None:
    if not name:
        raise Invalid("Invalid input for field 'name': it can't be empty.")
    if USERS.find(tx, name=name, domain_id=domain_id) is not None:
        raise Conflict(f"Conflict occurred attempting to store user - Duplicate entry found with name {name}.")


def get_user(tx: Tx, context: Context, user_id: str) -> User:
    """The user."""
    return reach_user(tx, context, user_id, "identity:get_user")


def get_user_and_origin(tx: Tx, context: Context, user_id: str) -> tuple[User, list[FederatedUser]]:
    """The user, and by which identity providers it came."""
    user = get_user(tx, context, user_id)
    return user, FEDERATED_USERS.list(tx, user_id=user_id, order="idp_id, protocol_id, unique_id")


def list_users(tx: Tx, context: Context, page: Page) -> list[User]:
    """One page of the users that the actor may read."""
    domain_id = listed_domain(context, "identity:list_users")
    page = page.with_filters(Filter("source", GONE, Op.NE))
    return list_page(tx, USERS, page.with_filters(Filter("domain_id", domain_id)) if domain_id else page)


def update_user(
    tx: Tx,
    context: Context,
    user_id: str,
    given: Mapping[str, Any],
    extra: Mapping[str, Any | None],
    password_hash: str,
) -> User:
    """Change a user; an empty ``password_hash`` leaves the password as it is."""
    user = reach_user(tx, context, user_id, "identity:update_user")
    check_writable(user.source)
    check_mutable("user", user_id, user.options, {**given, **extra})
    if given.get("domain_id", user.domain_id) != user.domain_id:
        raise Forbidden("Cannot change domain_id of a user.")
    changes: dict[str, Any] = {"enabled": given["enabled"]} if "enabled" in given else {}
    changes |= {k: given[k] or "" for k in ("email", "description") if k in given}
    if "default_project_id" in given:
        changes["default_project_id"] = _default_project(tx, given["default_project_id"] or "")
    if "name" in given and user.source == FEDERATION:
        changes["shown_name"] = given["name"].strip()
    elif "name" in given and given["name"].strip() != user.name:
        changes["name"] = given["name"].strip()
        _check_name(tx, changes["name"], user.domain_id)
    if password_hash:
        _remember(tx, user)
        changes |= {
            "password_hash": password_hash,
            "password_set_at_us": context.now_us,
            "password_by_admin": context.user_id != user_id,
        }
        FAILURES.delete(tx, user_id)
    changes["options"] = merge(user.options, given.get("options", {}))
    changes["extra"] = merge(user.extra, extra)
    USERS.update(tx, user_id, **changes)
    _link(tx, user_id, given)
    tx.ring(TOPIC)
    return msgspec.structs.replace(user, **changes)


def _remember(tx: Tx, user: User) -> None:
    if user.password_hash:
        add_past_password(tx, user.id, user.password_hash, user.password_set_at_us, PASSWORDS_KEPT)


class PasswordChange(msgspec.Struct, frozen=True):
    """What there is to check before a user's own new password is taken. Empty when there is no such user."""

    present: str = ""
    past: tuple[str, ...] = ()
    """Hashes that the new password may not match, the present one first."""


def find_password_change(tx: Tx, context: Context, user_id: str, compliance: Compliance) -> PasswordChange:
    """What to verify the old and the new password against. Raises Forbidden when the user may not change it."""
    user = USERS.find(tx, id=user_id, enabled=True)
    if user is None or not user.password_hash:
        return PasswordChange()
    count = compliance.unique_last_password_count
    past = (user.password_hash, *list_past_passwords(tx, user_id, count - 1))[:count] if count else ()
    return PasswordChange(user.password_hash, past)


def change_password(
    tx: Tx, context: Context, user_id: str, old_hash: str, new_hash: str, compliance: Compliance
) -> None:
    """Set a new password, unless the one that was verified has been changed meanwhile."""
    user = USERS.find(tx, id=user_id, password_hash=old_hash)
    if user is None:
        raise Unauthenticated("The request you have made requires authentication.", detail="password changed meanwhile")
    if user.options.get("lock_password"):
        raise Forbidden("The password of this user is locked.")
    least_us = compliance.minimum_password_age * DAY_US
    if least_us and not user.password_by_admin and context.now_us < user.password_set_at_us + least_us:
        raise Invalid(f"Cannot change password before minimum age {compliance.minimum_password_age} days is met.")
    _remember(tx, user)
    USERS.update(tx, user_id, password_hash=new_hash, password_set_at_us=context.now_us, password_by_admin=False)
    tx.ring(TOPIC)


def list_user_projects(tx: Tx, context: Context, user_id: str) -> list[Project]:
    """Projects on which the user has a role."""
    reach_user(tx, context, user_id, "identity:list_user_projects")
    return list_projects_of(tx, list_actor_ids(tx, user_id, context.now_us))


def list_user_domains(tx: Tx, context: Context, user_id: str) -> list[Project]:
    """Domains on which the user has a role."""
    reach_user(tx, context, user_id, "identity:list_user_projects")
    return list_domains_of(tx, list_actor_ids(tx, user_id, context.now_us))


def delete_user(tx: Tx, context: Context, user_id: str) -> None:
    """Delete a user and every role that it has."""
    user = reach_user(tx, context, user_id, "identity:delete_user")
    check_writable(user.source)
    check_mutable("user", user_id, user.options)
    remove_user(tx, user_id)


def remove_user(tx: Tx, user_id: str) -> None:
    """Remove the row and what points to it."""
    forget_actor(tx, ActorKind.USER, user_id)
    FAILURES.delete(tx, user_id)
    USERS.delete(tx, user_id)
    tx.ring(TOPIC)
