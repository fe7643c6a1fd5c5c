"""The group called default, which every project has from the moment it first needs one, and the rules that groups are born with.

Any group starts with egress to anywhere on both families; the default one also takes in what its own members send.
"""

from __future__ import annotations

from ostro.model.context import Context
from ostro.services.network.rules import RuleSpec, new_rule
from ostro.store.database import Tx
from ostro.store.security_group_rules import SECURITY_GROUP_RULES
from ostro.store.security_groups import SECURITY_GROUPS, SecurityGroup

DEFAULT_NAME = "default"
DESCRIPTION = "Default security group"
ETHERTYPES = ("IPv4", "IPv6")


def find_default_group(tx: Tx, project_id: str) -> SecurityGroup | None:
    """The project's default group, if it has been made."""
    return SECURITY_GROUPS.find(tx, project_id=project_id, is_default=True)


def ensure_default_group(tx: Tx, context: Context, project_id: str) -> SecurityGroup:
    """The project's default group, made now if it isn't there."""
    found = find_default_group(tx, project_id)
    if found is not None:
        return found
    group = SecurityGroup(
        id=context.new_id(),
        project_id=project_id,
        name=DEFAULT_NAME,
        description=DESCRIPTION,
        stateful=True,
        is_default=True,
        tags=[],
        revision_number=1,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    SECURITY_GROUPS.insert(tx, group)
    add_birth_rules(tx, context, group)
    return group


def add_birth_rules(tx: Tx, context: Context, group: SecurityGroup) -> None:
    """The rules that a new group has."""
    specs = [RuleSpec(direction="egress", ethertype=ethertype) for ethertype in ETHERTYPES]
    if group.is_default:
        specs += [
            RuleSpec(direction="ingress", ethertype=ethertype, remote_group_id=group.id) for ethertype in ETHERTYPES
        ]
    for spec in specs:
        SECURITY_GROUP_RULES.insert(tx, new_rule(context, group.id, group.project_id, spec))
