"""Rules of security groups: made and deleted, never changed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.network.access import acting_project, owns
from ostro.services.network.changes import bump
from ostro.services.network.errors import NetworkConflict, NetworkInvalid, group_not_found
from ostro.services.network.quotas import check_quota
from ostro.services.network.rules import RuleSpec, check_rule, fingerprint, new_rule
from ostro.services.network.security_groups import get_own_group
from ostro.services.network.wishes import rewish_group
from ostro.store.database import Tx
from ostro.store.paging import Page, list_page
from ostro.store.security_group_rules import (
    SECURITY_GROUP_RULES,
    SecurityGroupRule,
    find_duplicate,
    in_groups_of,
)
from ostro.store.security_groups import SECURITY_GROUPS, SecurityGroup, map_groups


class NewRule(msgspec.Struct, frozen=True):
    """A rule to be made in a group. An empty project is the actor's own."""

    group_id: str
    spec: RuleSpec
    project_id: str = ""


class RuleView(msgspec.Struct, frozen=True):
    """A rule, and whether its group is a default one."""

    rule: SecurityGroupRule
    in_default_group: bool

    @property
    def id(self) -> str:
        return self.rule.id


def create_security_group_rules(tx: Tx, context: Context, wanted: Sequence[NewRule]) -> list[RuleView]:
    """Make rules, all or none. All must be of one group and one project. Raises NetworkConflict for a duplicate."""
    if len({item.group_id for item in wanted}) > 1:
        raise NetworkInvalid(
            "SecurityGroupNotSingleGroupRules", "Only allowed to update rules for one security profile at a time"
        )
    if len({item.project_id or context.project_id for item in wanted}) > 1:
        raise NetworkInvalid(
            "SecurityGroupRulesNotSingleProject",
            "Multiple project_ids in bulk security group rule create not allowed",
        )
    checked = [msgspec.structs.replace(item, spec=check_rule(item.spec)) for item in wanted]
    if len({fingerprint(item.spec) for item in checked}) < len(checked):
        raise NetworkConflict("DuplicateSecurityGroupRuleInPost", "Duplicate Security Group Rule in POST.")
    group = get_own_group(tx, context, wanted[0].group_id)
    project_id = acting_project(context, wanted[0].project_id, "create_security_group_rule:project_id")
    check_quota(tx, context, project_id, "security_group_rule", len(checked))
    rules = [_insert_rule(tx, context, group, project_id, item.spec, rank) for rank, item in enumerate(checked)]
    bump(tx, context, SECURITY_GROUPS, group.id)
    rewish_group(tx, group.id)
    return [RuleView(rule, group.is_default) for rule in rules]


def _insert_rule(
    tx: Tx, context: Context, group: SecurityGroup, project_id: str, spec: RuleSpec, rank: int
) -> SecurityGroupRule:
    if spec.remote_group_id:
        remote = SECURITY_GROUPS.find(tx, id=spec.remote_group_id)
        if remote is None or not owns(context, remote.project_id):
            raise group_not_found(spec.remote_group_id)
    rule = new_rule(context, group.id, project_id, spec)
    duplicate_id = find_duplicate(tx, group.id, rule.fingerprint)
    if duplicate_id is not None:
        raise NetworkConflict(
            "SecurityGroupRuleExists", f"Security group rule already exists. Rule id is {duplicate_id}."
        )
    # The rank keeps the rules of one request in its order, which "the oldest first" alone would not.
    return SECURITY_GROUP_RULES.insert(tx, msgspec.structs.replace(rule, created_at_us=rule.created_at_us + rank))


def list_security_group_rules(tx: Tx, context: Context, page: Page) -> list[RuleView]:
    """One page of rules: two statements."""
    scope = () if context.is_admin else (in_groups_of(context.project_id),)
    return _views(tx, list_page(tx, SECURITY_GROUP_RULES, page.with_filters(*scope)))


def _views(tx: Tx, rules: Sequence[SecurityGroupRule]) -> list[RuleView]:
    groups = map_groups(tx, sorted({rule.security_group_id for rule in rules}))
    return [RuleView(rule, groups[rule.security_group_id].is_default) for rule in rules]


def get_security_group_rule(tx: Tx, context: Context, rule_id: str) -> RuleView:
    """Raises NotFound."""
    rule, group = _own_rule(tx, context, rule_id)
    return RuleView(rule, group.is_default)


def _own_rule(tx: Tx, context: Context, rule_id: str) -> tuple[SecurityGroupRule, SecurityGroup]:
    missing = NotFound("security group rule", rule_id, f"Security group rule {rule_id} does not exist")
    rule = SECURITY_GROUP_RULES.find(tx, id=rule_id)
    if rule is None:
        raise missing
    group = SECURITY_GROUPS.get(tx, rule.security_group_id)
    if not owns(context, rule.project_id) and not owns(context, group.project_id):
        raise missing
    return rule, group


def delete_security_group_rule(tx: Tx, context: Context, rule_id: str) -> None:
    """Delete a rule; connections that it let in are cut by the hosts."""
    rule, group = _own_rule(tx, context, rule_id)
    SECURITY_GROUP_RULES.delete(tx, rule.id)
    bump(tx, context, SECURITY_GROUPS, group.id)
    rewish_group(tx, group.id)
