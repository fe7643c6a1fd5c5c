"""The policy language, and Identity's rules in it."""

from __future__ import annotations

import pytest

from ostro.model.context import Actor
from ostro.model.errors import Bug, Invalid
from ostro.model.policy import Default, Policies, Target, parse_rule, read_overrides
from ostro.services.identity.rules import IDENTITY_POLICIES


def actor(*roles: str, project: str = "", domain: str = "", system: bool = False) -> Actor:
    return Actor("u1", "ann", "d1", "D", frozenset(roles), project_id=project, domain_id=domain, system=system)


def judge(rule: str, who: Actor, target: Target | None = None) -> bool | None:
    return Policies({"p": Default(rule)}).judge("p", who, target)


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("", True),
        ("@", True),
        ("!", False),
        ("role:member", True),
        ("role:MEMBER", True),
        ("role:admin", False),
        ("not role:admin", True),
        ("role:admin or role:member", True),
        ("role:admin and role:member", False),
        ("role:member or role:admin and role:nobody", True),
        ("(role:member or role:admin) and role:nobody", False),
        ("not (role:admin or role:nobody)", True),
        ("ROLE:member", False),
        ("user_id:u1", True),
        ("domain_id:None", True),
        ("'x':x", True),
        ("rule:missing", False),
    ],
)
def test_the_language(rule: str, verdict: bool) -> None:
    assert judge(rule, actor("member", project="p1")) is verdict


@pytest.mark.parametrize(
    "rule",
    [
        "role:",
        "role",
        "(role:a",
        "role:a)",
        "role:a role:b",
        "and",
        "not",
        "role:a and",
        "http://x",
        "http:x",
        "((" * 40,
    ],
)
def test_what_is_no_rule_is_refused(rule: str) -> None:
    if rule == "role:":
        assert judge(rule, actor("member")) is False
        return
    with pytest.raises(Invalid):
        parse_rule(rule)


def test_the_target_decides_when_it_is_there() -> None:
    rule = "role:admin or project_id:%(project)s and not None:%(project)s"
    member = actor("member", project="p1")
    assert judge(rule, member) is None
    assert judge(rule, member, {"project": "p1"}) is True
    assert judge(rule, member, {"project": "p2"}) is False
    assert judge(rule, member, {}) is False, "what the target does not have matches nothing"
    assert judge(rule, actor("admin")) is True
    assert judge("not project_id:%(project)s", member) is None
    assert judge("role:nobody and project_id:%(project)s", member) is False


def test_none_matches_none_only_if_the_target_says_so() -> None:
    assert judge("domain_id:%(domain)s", actor("reader"), {}) is False
    assert judge("domain_id:%(domain)s", actor("reader"), {"domain": None}) is True


def test_rules_that_go_in_circles_allow_nothing() -> None:
    policies = Policies({"a": Default("rule:b"), "b": Default("rule:a")})
    assert policies.judge("a", actor("admin"), {}) is False


def test_scopes_are_minded_also_by_overrides() -> None:
    policies = Policies({"p": Default("!", frozenset(("system",)))}, {"p": "@"})
    assert policies.may("p", actor("reader", system=True))
    assert not policies.may("p", actor("admin", domain="d1"))


def test_overrides_are_read_strictly() -> None:
    assert read_overrides(None) == {}
    assert read_overrides({"a": "role:x"}) == {"a": "role:x"}
    wrongs: list[object] = [[], {"a": 1}, {"a": "and"}]
    for wrong in wrongs:
        with pytest.raises(Invalid):
            read_overrides(wrong)
    with pytest.raises(Bug):
        Policies({}).judge("unheard-of", actor("admin"), {})


PERSONAS = {
    "system admin": actor("admin", "manager", "member", "reader", system=True),
    "system reader": actor("reader", system=True),
    "domain admin": actor("admin", "manager", "member", "reader", domain="d1"),
    "domain manager": actor("manager", "member", "reader", domain="d1"),
    "domain reader": actor("reader", domain="d1"),
    "project admin": actor("admin", "manager", "member", "reader", project="p1"),
    "project member": actor("member", "reader", project="p1"),
    "unscoped": actor(),
}
OWN = {"target.user.id": "u1", "target.user.domain_id": "d1", "target.credential.user_id": "u1", "user_id": "u1"}
OTHER = {"target.user.id": "u2", "target.user.domain_id": "d2", "target.credential.user_id": "u2", "user_id": "u2"}


@pytest.mark.parametrize(
    ("policy", "target", "allowed"),
    [
        ("create_user", OWN, "system admin, domain admin, domain manager, project admin"),
        ("create_user", OTHER, "system admin, domain admin, project admin"),
        ("get_user", OTHER, "system admin, system reader, domain admin, project admin"),
        ("get_user", {**OTHER, "target.user.domain_id": "d1"}, "system admin, system reader, domain admin, domain manager, domain reader, project admin"),
        ("get_user", OWN, ", ".join(PERSONAS)),
        ("create_domain", {}, "system admin, project admin"),
        ("list_endpoints", {}, "system admin, system reader, project admin"),
        ("get_region", {}, ", ".join(PERSONAS)),
        ("create_trust", {"target.trust.trustor_user_id": "u1"}, "project admin, project member, unscoped"),
        ("get_credential", OWN, ", ".join(PERSONAS)),
        ("get_credential", OTHER, "system admin, system reader, domain admin, project admin"),
        ("create_application_credential", OTHER, ""),
        ("ec2tokens_validate", {}, "system admin, domain admin, project admin"),
    ],
)  # fmt: skip
def test_identitys_personas(policy: str, target: Target, allowed: str) -> None:
    policies = Policies(IDENTITY_POLICIES)
    found = {name for name, who in PERSONAS.items() if policies.allows(f"identity:{policy}", who, target)}
    assert found == {name for name in allowed.split(", ") if name}


def test_a_manager_gives_only_what_is_below() -> None:
    """A domain's manager must not make itself an administrator."""
    policies = Policies(IDENTITY_POLICIES)
    there = {"target.user.domain_id": "d1", "target.project.domain_id": "d1", "target.role.domain_id": None}
    for role, allowed in (("manager", True), ("member", True), ("reader", True), ("admin", False), ("service", False)):
        target = {**there, "target.role.name": role}
        assert policies.allows("identity:create_grant", PERSONAS["domain manager"], target) is allowed
    elsewhere = {**there, "target.project.domain_id": "d2", "target.role.name": "reader"}
    assert not policies.allows("identity:create_grant", PERSONAS["domain manager"], elsewhere)
