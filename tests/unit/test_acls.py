"""Access lists of containers: whom they let in, and whom not though it is called the same."""

from __future__ import annotations

import pytest

from ostro.model.context import NOBODY, Actor
from ostro.services.object.acls import Access, Visitor, is_allowed, is_owner


def actor(
    *roles: str, project: str = "", domain: str = "", system: bool = False, home: str = "default", user_home: str = ""
) -> Actor:
    """Ann, whose id is u1, for a project called web."""
    return Actor(
        "u1",
        "ann",
        user_home or home,
        "",
        frozenset(roles),
        project_id=project,
        project_name="web" if project else "",
        project_domain_id=home if project else "",
        domain_id=domain,
        system=system,
    )


@pytest.mark.parametrize("access", list(Access))
def test_a_role_on_a_domain_or_the_system_owns_no_account(access: Access) -> None:
    for role in ("reselleradmin", "admin", "member", "reader"):
        assert not is_owner(actor(role, domain="default"), "p1", access)
        assert not is_owner(actor(role, system=True), "p1", access)
        assert not is_owner(actor(role), "p1", access)
        assert not is_owner(actor(role), "", access), "no account is that of no project"
    assert is_owner(actor("reselleradmin", project="p2"), "p1", access)
    assert not is_owner(actor("admin", project="p2"), "p1", access)
    assert not is_owner(NOBODY, "", access)


@pytest.mark.parametrize(
    ("entry", "who", "let_in"),
    [
        ("p1:u1", actor("member", project="p1"), True),
        ("p1:*", actor("member", project="p1"), True),
        ("*:u1", actor("member", project="p2"), True),
        ("*:u1", actor("member", domain="d"), True),
        ("*:u1", actor(), True),
        ("web:ann", actor("member", project="p1"), True),
        ("web:*", actor("member", project="p1"), True),
        ("*:ann", actor("member", project="p1"), True),
        ("web:ann", actor("member", project="p1", home="evil"), False),
        ("web:*", actor("member", project="p1", home="evil"), False),
        ("*:ann", actor("member", project="p1", home="evil"), False),
        ("*:ann", actor("member", project="p1", user_home="evil"), False),
        ("p1:ann", actor("member", project="p1", user_home="evil"), False),
        (":u1", actor("member", domain="d"), False),
        (":ann", actor(), False),
        (":*", actor(), False),
        ("p1:", actor("member", project="p1"), False),
        ("auditor", actor("auditor", project="p1"), True),
        ("auditor", actor("auditor", domain="d"), False),
        ("auditor", actor("auditor", system=True), False),
        ("*:*", actor("auditor", domain="d"), True),
        ("*:*", NOBODY, False),
        (":", NOBODY, False),
        ("", NOBODY, False),
    ],
)
def test_an_entry_lets_in_whom_it_names(entry: str, who: Actor, let_in: bool) -> None:
    assert is_allowed(Visitor(who), Access.READ, entry, "") is let_in
    assert is_allowed(Visitor(who), Access.WRITE, "", entry) is let_in
    assert not is_allowed(Visitor(who), Access.OWN, entry, entry)


def test_names_in_an_account_of_another_domain_are_nobodys() -> None:
    """Its owner means its own domain's project, and a stranger of the default domain is called the same."""
    stranger = Visitor(actor("member", project="p1"), by_name=False)
    assert not is_allowed(stranger, Access.READ, "web:ann,web:*,*:ann", "")
    assert is_allowed(stranger, Access.READ, "p1:u1", "")
