"""Groups: their members have their roles. Whatever changes who is in a group, or removes it, can change what tokens are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound
from ostro.services.identity.access import (
    check_no_directory,
    check_writable,
    group_target,
    need_domain,
    need_group,
    need_user,
    reach_group,
    reach_user,
    user_target,
)
from ostro.services.identity.projects import merge
from ostro.store.assignments import ActorKind, forget_actor
from ostro.store.database import Tx
from ostro.store.groups import (
    GROUPS,
    MEMBERS_OF,
    Group,
    add_member,
    is_member,
    list_expiries,
    list_group_ids_of,
    remove_member,
)
from ostro.store.paging import Filter, Op, Page, Where, list_page
from ostro.store.projects import DEFAULT_DOMAIN_ID
from ostro.store.tokens import TOPIC
from ostro.store.users import DIRECTORY, GONE, USERS, User


def create_group(tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Group:
    """Add a group."""
    actor = context.actor
    domain_id = given.get("domain_id") or ""
    context.enforce("identity:create_group", **({"target__group__domain_id": domain_id} if domain_id else {}))
    domain_id = domain_id or actor.domain_id or actor.project_domain_id or DEFAULT_DOMAIN_ID
    need_domain(tx, domain_id)
    check_no_directory(tx, domain_id)
    _check_name(tx, given["name"], domain_id)
    group = Group(context.new_hex_id(), given["name"], domain_id, given.get("description") or "", dict(extra))
    return GROUPS.insert(tx, group)


def _check_name(tx: Tx, name: str, domain_id: str) -> None:
    if not name.strip():
        raise Invalid("Invalid input for field 'name': it can't be empty.")
    if GROUPS.find(tx, name=name, domain_id=domain_id) is not None:
        raise Conflict(f"Conflict occurred attempting to store group - Duplicate entry found with name {name}.")


def get_group(tx: Tx, context: Context, group_id: str) -> Group:
    """The group."""
    return reach_group(tx, context, group_id, "identity:get_group")


def list_groups(tx: Tx, context: Context, page: Page) -> list[Group]:
    """One page of groups; a domain's token shows its domain's."""
    domain_id = context.actor.domain_id
    context.enforce("identity:list_groups", **({"target__group__domain_id": domain_id} if domain_id else {}))
    page = page.with_filters(Filter("source", GONE, Op.NE))
    return list_page(tx, GROUPS, page.with_filters(Filter("domain_id", domain_id)) if domain_id else page)


def list_groups_of_user(tx: Tx, context: Context, user_id: str, page: Page) -> tuple[list[Group], dict[str, int]]:
    """One page of the groups that a user is in, and when memberships end that don't last."""
    reach_user(tx, context, user_id, "identity:list_groups_for_user")
    page = page.with_filters(Filter("id", list_group_ids_of(tx, user_id, context.now_us), Op.IN))
    if context.actor.domain_id and context.user_id != user_id:
        page = page.with_filters(Filter("domain_id", context.actor.domain_id))
    return list_page(tx, GROUPS, page), list_expiries(tx, user_id)


def update_group(
    tx: Tx, context: Context, group_id: str, given: Mapping[str, Any], extra: Mapping[str, Any | None]
) -> Group:
    """Change a group's name, description or extra fields."""
    group = reach_group(tx, context, group_id, "identity:update_group")
    check_writable(group.source)
    if given.get("domain_id", group.domain_id) != group.domain_id:
        raise Forbidden("Cannot change Domain ID of a group.")
    changes: dict[str, Any] = {"extra": merge(group.extra, extra)}
    if "description" in given:
        changes["description"] = given["description"] or ""
    if given.get("name", group.name) != group.name:
        changes["name"] = given["name"]
        _check_name(tx, given["name"], group.domain_id)
    GROUPS.update(tx, group_id, **changes)
    tx.ring(TOPIC)
    return msgspec.structs.replace(group, **changes)


def delete_group(tx: Tx, context: Context, group_id: str) -> None:
    """Delete a group and every role that it has."""
    need_group(tx, group_id)
    check_writable(reach_group(tx, context, group_id, "identity:delete_group").source)
    remove_group(tx, group_id)


def remove_group(tx: Tx, group_id: str) -> None:
    """Remove the row and what points to it."""
    forget_actor(tx, ActorKind.GROUP, group_id)
    GROUPS.delete(tx, group_id)
    tx.ring(TOPIC)


def list_members(tx: Tx, context: Context, group_id: str, page: Page) -> list[User]:
    """One page of a group's users."""
    reach_group(tx, context, group_id, "identity:list_users_in_group")
    domain_id = context.actor.domain_id
    # Not by ids: a group may have any number of members.
    sql = f"users.id IN (SELECT user_id FROM ({MEMBERS_OF}) AS members)"
    page = page.with_filters(Where(sql, (group_id, group_id, context.now_us)), Filter("source", GONE, Op.NE))
    return list_page(tx, USERS, page.with_filters(Filter("domain_id", domain_id)) if domain_id else page)


def _reach_both(tx: Tx, context: Context, group_id: str, user_id: str, policy: str) -> tuple[Group, User]:
    group, user = GROUPS.find(tx, id=group_id), USERS.find(tx, id=user_id)
    context.enforce(policy, **{**group_target(group), **user_target(user, user_id)})
    return need_group(tx, group_id), need_user(tx, user_id)


def add_user(tx: Tx, context: Context, group_id: str, user_id: str) -> None:
    """Put a user into a group. Idempotent."""
    group, user = _reach_both(tx, context, group_id, user_id, "identity:add_user_to_group")
    check_writable(group.source)
    if user.source == DIRECTORY:
        raise Forbidden(
            "Group membership across backend boundaries is not allowed. Group in question is"
            f" {group_id}, user is {user_id}."
        )
    add_member(tx, group_id, user_id)
    tx.ring(TOPIC)


def check_user(tx: Tx, context: Context, group_id: str, user_id: str) -> None:
    """Raise NotFound unless the user is in the group."""
    _reach_both(tx, context, group_id, user_id, "identity:check_user_in_group")
    if not is_member(tx, group_id, user_id):
        raise NotFound("user", user_id, f"User '{user_id}' not found in group '{group_id}'.")


def remove_user_from_group(tx: Tx, context: Context, group_id: str, user_id: str) -> None:
    """Take a user out of a group. Raises NotFound when it isn't in it."""
    group, _user = _reach_both(tx, context, group_id, user_id, "identity:remove_user_from_group")
    check_writable(group.source)
    if not remove_member(tx, group_id, user_id):
        raise NotFound("user", user_id, f"User '{user_id}' not found in group '{group_id}'.")
    tx.ring(TOPIC)
