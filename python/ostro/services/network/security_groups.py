"""Security groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.services.network.access import acting_project, owns
from ostro.services.network.changes import change, check_revision
from ostro.services.network.default_groups import (
    DEFAULT_NAME,
    ETHERTYPES,
    add_birth_rules,
    ensure_default_group,
    find_default_group,
)
from ostro.services.network.errors import NetworkConflict, group_not_found
from ostro.services.network.quotas import check_quotas
from ostro.services.network.wishes import rewish_group
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.security_group_rules import (
    SECURITY_GROUP_RULES,
    SecurityGroupRule,
    list_referring_groups,
    map_group_rules,
)
from ostro.store.security_groups import SECURITY_GROUPS, SecurityGroup, has_members


class SecurityGroupSpec(msgspec.Struct, frozen=True):
    """A group as it is asked for. An empty project is the actor's own."""

    project_id: str = ""
    name: str = ""
    description: str = ""
    stateful: bool = True


class SecurityGroupView(msgspec.Struct, frozen=True):
    """A group and its rules."""

    group: SecurityGroup
    rules: list[SecurityGroupRule]

    @property
    def id(self) -> str:
        return self.group.id


def ensure_listed_default(tx: Tx, context: Context, project_id: str) -> None:
    """Make the default group before groups or rules of a project are listed, as Neutron does."""
    project_id = project_id or context.project_id
    if project_id and owns(context, project_id):
        ensure_default_group(tx, context, project_id)


def lacks_default_group(tx: Tx, context: Context, project_id: str) -> bool:
    """Whether ``ensure_listed_default`` has something to do."""
    project_id = project_id or context.project_id
    return bool(project_id) and owns(context, project_id) and find_default_group(tx, project_id) is None


def create_security_groups(tx: Tx, context: Context, specs: Sequence[SecurityGroupSpec]) -> list[SecurityGroupView]:
    """Make groups with the rules that every group starts with, all or none. Raises NetworkConflict for a full quota."""
    projects = [spec.project_id for spec in specs]
    check_quotas(tx, context, projects, "security_group")
    check_quotas(tx, context, projects * len(ETHERTYPES), "security_group_rule")
    return [_create_group(tx, context, spec) for spec in specs]


def _create_group(tx: Tx, context: Context, spec: SecurityGroupSpec) -> SecurityGroupView:
    project_id = acting_project(context, spec.project_id, "create_security_group:project_id")
    _check_name(spec.name)
    ensure_default_group(tx, context, project_id)
    group = SecurityGroup(
        id=context.new_id(),
        project_id=project_id,
        name=spec.name,
        description=spec.description,
        stateful=spec.stateful,
        is_default=False,
        tags=[],
        revision_number=1,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    SECURITY_GROUPS.insert(tx, group)
    add_birth_rules(tx, context, group)
    return view_group(tx, group)


def _check_name(name: str) -> None:
    if name.lower() == DEFAULT_NAME:
        raise NetworkConflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")


def view_group(tx: Tx, group: SecurityGroup) -> SecurityGroupView:
    """A group with its rules."""
    return SecurityGroupView(group, map_group_rules(tx, [group.id])[group.id])


def list_security_groups(tx: Tx, context: Context, page: Page) -> list[SecurityGroupView]:
    """One page of groups: two statements."""
    scope = () if context.is_admin else (Filter("project_id", context.project_id),)
    groups = list_page(tx, SECURITY_GROUPS, page.with_filters(*scope))
    rules = map_group_rules(tx, [group.id for group in groups])
    return [SecurityGroupView(group, rules[group.id]) for group in groups]


def get_own_group(tx: Tx, context: Context, group_id: str) -> SecurityGroup:
    """Raises NotFound."""
    group = SECURITY_GROUPS.find(tx, id=group_id)
    if group is None or not owns(context, group.project_id):
        raise group_not_found(group_id)
    return group


def get_security_group(tx: Tx, context: Context, group_id: str) -> SecurityGroupView:
    """Raises NotFound."""
    return view_group(tx, get_own_group(tx, context, group_id))


def update_security_group(
    tx: Tx, context: Context, group_id: str, changes: dict[str, Any], expected_revision: int | None = None
) -> SecurityGroupView:
    """Change a group. The default one keeps its name, and one that ports use its statefulness."""
    group = get_own_group(tx, context, group_id)
    check_revision(group, expected_revision)
    if "name" in changes:
        if group.is_default:
            raise NetworkConflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
        _check_name(changes["name"])
    if changes.get("stateful", group.stateful) != group.stateful and has_members(tx, group_id):
        raise _in_use(group_id)
    changed = change(tx, SECURITY_GROUPS, group, context.now_us, changes)
    if (changed.name, changed.stateful) != (group.name, group.stateful):
        rewish_group(tx, group_id)
    return view_group(tx, changed)


def _in_use(group_id: str) -> NetworkConflict:
    return NetworkConflict("SecurityGroupInUse", f"Security Group {group_id} in use.")


def delete_security_group(tx: Tx, context: Context, group_id: str, expected_revision: int | None = None) -> None:
    """Delete a group that no port uses; rules of other groups that name it go with it."""
    group = get_own_group(tx, context, group_id)
    check_revision(group, expected_revision)
    if has_members(tx, group_id):
        raise _in_use(group_id)
    if group.is_default and not context.is_admin:
        raise NetworkConflict(
            "SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group."
        )
    referring = list_referring_groups(tx, group_id)
    SECURITY_GROUP_RULES.delete_where(tx, remote_group_id=group_id)
    SECURITY_GROUPS.delete(tx, group_id)
    for other_id in referring:
        if other_id != group_id:
            rewish_group(tx, other_id)
