"""Who may call a route.

Each route names its policy as upstream does and has a default rule. A rule looks only at the actor's roles and scope; whether an
object belongs to the actor's project is decided by the services, which answer NotFound for what is another tenant's.

A policy that an operator has put into policy.yaml, or that a service ships in upstream's language (``Rule.POLICY``, as Identity does), takes
the place of the route's rule. Here it is asked whether *any* target could let the actor pass; the service asks again with the target.
"""

from __future__ import annotations

from enum import StrEnum

from ostro.model.context import Actor
from ostro.model.errors import Forbidden
from ostro.model.policy import Policies


class Rule(StrEnum):
    """The default rules. Roles are expanded by implication: an admin is a manager, a manager a member, a member a reader. A service is none of these."""

    PUBLIC = "public"
    """No token is needed."""
    AUTHENTICATED = "authenticated"
    READER = "reader"
    MEMBER = "member"
    MANAGER = "manager"
    """Who looks after a project: may move its servers between hosts, but not choose the host."""
    ADMIN = "admin"
    SERVICE = "service"
    """Another service, by its own role, or an administrator."""
    READER_OR_SERVICE = "reader or service"
    POLICY = "policy"
    """The policy's own rule, in upstream's language."""
    TARGET = "target"
    """The same, but the object is looked up first: upstream tells anybody with a token that there is no such object."""


def allows(rule: Rule, actor: Actor) -> bool:
    """Whether ``rule`` lets the actor pass."""
    match rule:
        case Rule.PUBLIC | Rule.AUTHENTICATED | Rule.TARGET:
            return True
        case Rule.POLICY:
            return False
        case Rule.READER | Rule.MEMBER | Rule.MANAGER | Rule.ADMIN:
            return rule.value in actor.roles
        case Rule.SERVICE:
            return "service" in actor.roles or "admin" in actor.roles
        case Rule.READER_OR_SERVICE:
            return "service" in actor.roles or "reader" in actor.roles


def check_scope(policy: str, actor: Actor) -> None:
    """Raise Forbidden for a token of a domain or of the system, whatever policy.yaml says: upstream's scope types can't be overridden either."""
    if actor.domain_id or actor.system:
        raise Forbidden(f"Policy doesn't allow {policy} to be performed.")


def enforce(policies: Policies, policy: str, rule: Rule, actor: Actor) -> None:
    """Raise Forbidden unless the policy, or else the rule, lets the actor pass."""
    if rule is Rule.TARGET:
        return
    if policy in policies:
        if not policies.may(policy, actor):
            raise Forbidden(f"You are not authorized to perform the requested action: {policy}.")
    elif not allows(rule, actor):
        raise Forbidden(f"Policy doesn't allow {policy} to be performed.")
