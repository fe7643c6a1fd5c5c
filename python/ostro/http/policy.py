"""Who may call a route.

Each route names its policy as upstream does and has a default rule. A rule looks only at the actor's roles and scope; whether an
object belongs to the actor's project is decided by the services, which answer NotFound for what is another tenant's.
"""

from __future__ import annotations

from enum import StrEnum

from ostro.model.context import Actor
from ostro.model.errors import Forbidden


class Rule(StrEnum):
    """The default rules. Roles are expanded by implication, so an admin is a member and a member is a reader."""

    PUBLIC = "public"
    """No token is needed."""
    AUTHENTICATED = "authenticated"
    READER = "reader"
    MEMBER = "member"
    ADMIN = "admin"


def allows(rule: Rule, actor: Actor) -> bool:
    """Whether ``rule`` lets the actor pass."""
    match rule:
        case Rule.PUBLIC | Rule.AUTHENTICATED:
            return True
        case Rule.READER | Rule.MEMBER | Rule.ADMIN:
            return rule.value in actor.roles


def enforce(policy: str, rule: Rule, actor: Actor) -> None:
    """Raise Forbidden unless the rule lets the actor pass."""
    if not allows(rule, actor):
        raise Forbidden(f"Policy doesn't allow {policy} to be performed.")
