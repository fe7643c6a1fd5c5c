"""Reaching objects: look one up, ask its policy, and only then admit that it isn't there.

Whoever may not do something to any such object is refused alike whether it exists or not; only who may learns that it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import Forbidden, NotFound
from ostro.store.database import Tx
from ostro.store.domain_configs import has_directory
from ostro.store.groups import GROUPS, Group
from ostro.store.projects import PROJECTS, Project
from ostro.store.roles import ROLES, Role
from ostro.store.users import DIRECTORY, GONE, USERS, User

Target = dict[str, object]


def forbidden(action: str) -> Forbidden:
    """The refusal of an action, as Identity words it."""
    return Forbidden(f"You are not authorized to perform the requested action: {action}.")


def missing(noun: str, id_: str) -> NotFound:
    """What can't be found, as Identity words it."""
    return NotFound(noun, id_, f"Could not find {noun}: {id_}.")


def check_mutable(noun: str, id_: str, options: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> None:
    """Raise Forbidden for an object with the option ``immutable``, unless all that changes is its options."""
    if options.get("immutable") and (changes is None or set(changes) != {"options"}):
        raise Forbidden(f"Cannot change or delete {noun} {id_}: its option immutable is set. Unset the option first.")


def listed_domain(context: Context, policy: str) -> str:
    """The domain that a list is narrowed to, empty for every domain: a token of a domain shows that domain only.

    Raises Forbidden unless the policy lets the actor list it.
    """
    domain_id = context.actor.domain_id
    target = {"target__domain_id": domain_id, "target__domain__id": domain_id} if domain_id else {}
    context.enforce(policy, **target)
    return domain_id


def user_target(user: User | None, user_id: str) -> Target:
    """What policies may say about a user."""
    out: Target = {"user_id": user_id, "target__user__id": user_id}
    return out | {"target__user__domain_id": user.domain_id} if user else out


def group_target(group: Group | None) -> Target:
    """What policies may say about a group."""
    return {"target__group__domain_id": group.domain_id, "target__group__id": group.id} if group else {}


def project_target(project: Project | None) -> Target:
    """What policies may say about a project, or about a domain that is taken for one."""
    if project is None:
        return {}
    return {"target__project__id": project.id, "target__project__domain_id": project.domain_id or None}


def role_target(role: Role | None) -> Target:
    """What policies may say about a role."""
    return {"target__role__name": role.name, "target__role__domain_id": role.domain_id or None} if role else {}


def find_user(tx: Tx, id_: str) -> User | None:
    """The user, if it is there: one that its directory has no more is not."""
    user = USERS.find(tx, id=id_)
    return None if user is None or user.source == GONE else user


def find_group(tx: Tx, id_: str) -> Group | None:
    """The group, likewise."""
    group = GROUPS.find(tx, id=id_)
    return None if group is None or group.source == GONE else group


def check_writable(source: str) -> None:
    """Raise Forbidden for a directory's own."""
    if source == DIRECTORY:
        raise Forbidden("LDAP does not support write operations")


def check_no_directory(tx: Tx, domain_id: str) -> None:
    """Raise Forbidden where new users and groups would have to be made in a directory."""
    if has_directory(tx, domain_id):
        raise Forbidden("LDAP does not support write operations")


def reach_user(tx: Tx, context: Context, user_id: str, policy: str) -> User:
    """The user, if the policy lets the actor. Raises Forbidden, then NotFound."""
    user = find_user(tx, user_id)
    context.enforce(policy, **user_target(user, user_id))
    if user is None:
        raise missing("user", user_id)
    return user


def reach_group(tx: Tx, context: Context, group_id: str, policy: str) -> Group:
    """The group, if the policy lets the actor. Raises Forbidden, then NotFound."""
    group = find_group(tx, group_id)
    context.enforce(policy, **group_target(group))
    if group is None:
        raise missing("group", group_id)
    return group


def reach_project(tx: Tx, context: Context, project_id: str, policy: str) -> Project:
    """The project, or the domain acting as one, if the policy lets the actor. Raises Forbidden, then NotFound."""
    project = PROJECTS.find(tx, id=project_id)
    context.enforce(policy, **project_target(project))
    if project is None:
        raise missing("project", project_id)
    return project


def reach_domain(tx: Tx, context: Context, domain_id: str, policy: str) -> Project:
    """The domain, if the policy lets the actor. Raises Forbidden, then NotFound."""
    domain = PROJECTS.find(tx, id=domain_id, is_domain=True)
    if domain is None and policy != "identity:get_domain":
        raise missing("domain", domain_id)
    context.enforce(policy, target__domain__id=domain_id)
    if domain is None:
        raise missing("domain", domain_id)
    return domain


def need_project(tx: Tx, id_: str) -> Project:
    """The project. Raises NotFound, for a domain too."""
    project = PROJECTS.find(tx, id=id_, is_domain=False)
    if project is None:
        raise missing("project", id_)
    return project


def need_domain(tx: Tx, id_: str) -> Project:
    """The domain. Raises NotFound."""
    domain = PROJECTS.find(tx, id=id_, is_domain=True)
    if domain is None:
        raise missing("domain", id_)
    return domain


def need_user(tx: Tx, id_: str) -> User:
    """The user. Raises NotFound."""
    user = find_user(tx, id_)
    if user is None:
        raise missing("user", id_)
    return user


def need_group(tx: Tx, id_: str) -> Group:
    """The group. Raises NotFound."""
    group = find_group(tx, id_)
    if group is None:
        raise missing("group", id_)
    return group


def need_role(tx: Tx, id_: str) -> Role:
    """The role. Raises NotFound."""
    role = ROLES.find(tx, id=id_)
    if role is None:
        raise missing("role", id_)
    return role
