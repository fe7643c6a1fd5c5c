"""Mapping rules: what Keystone's language says, case by case, and what it can't be made to say."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.errors import Invalid
from ostro.model.mapping import DomainRef, Mapped, MappedGroup, MappedUser, apply_rules, check_rules, prepare_rules

ANN = {
    "UserName": ["ann"],
    "FirstName": ["Ann"],
    "LastName": ["Archer"],
    "Email": ["ann@acme.example"],
    "orgPersonType": ["Employee", "Contractor"],
    "groups": ["staff", "ops", "admins"],
}
USER = {"user": {"name": "{0}"}}


def rule(remote: list[Any], *local: dict[str, Any]) -> dict[str, Any]:
    return {"local": list(local), "remote": remote}


def mapped(*rules: dict[str, Any], version: str = "1.0", said: dict[str, list[str]] | None = None) -> Mapped:
    return apply_rules(prepare_rules(rules), version, ANN if said is None else said)


def test_values_take_their_places() -> None:
    remote = [{"type": "FirstName"}, {"type": "LastName"}, {"type": "Email"}]
    user = mapped(rule(remote, {"user": {"name": "{0} {1}", "email": "{2}", "id": "{2}"}})).user
    assert user == MappedUser(id="ann@acme.example", name="Ann Archer", email="ann@acme.example")


def test_conditions_take_no_place() -> None:
    remote = [{"type": "orgPersonType", "any_one_of": ["Employee"]}, {"type": "UserName"}]
    assert mapped(rule(remote, USER)).user.name == "ann"


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"any_one_of": ["Employee", "Guest"]}, True),
        ({"any_one_of": ["Guest"]}, False),
        ({"any_one_of": ["mploy"]}, False),
        ({"any_one_of": ["mploy"], "regex": True}, True),
        ({"any_one_of": ["^ploy"], "regex": True}, False),
        ({"not_any_of": ["Guest"]}, True),
        ({"not_any_of": ["Contractor"]}, False),
        ({"not_any_of": ["^Con"], "regex": True}, False),
        ({"not_any_of": ["^Cox"], "regex": True}, True),
        ({"any_one_of": []}, False),
        ({"not_any_of": []}, True),
    ],
)
def test_conditions(condition: dict[str, Any], fits: bool) -> None:
    rules = rule([{"type": "UserName"}, {"type": "orgPersonType", **condition}], USER)
    if fits:
        assert mapped(rules).user.name == "ann"
    else:
        with pytest.raises(Invalid, match="Could not map"):
            mapped(rules)


def test_what_was_not_said_meets_no_condition() -> None:
    """Not even a negative one: who has no type at all is not known to be no guest."""
    with pytest.raises(Invalid):
        mapped(rule([{"type": "UserName"}, {"type": "absent", "not_any_of": ["x"]}], USER))
    with pytest.raises(Invalid):
        mapped(rule([{"type": "absent"}], USER))


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ({"whitelist": ["staff", "ops", "other"]}, ["staff", "ops"]),
        ({"blacklist": ["admins"]}, ["staff", "ops"]),
        ({"whitelist": ["^s", "^o"], "regex": True}, ["staff", "ops"]),
        ({"blacklist": ["^adm"], "regex": True}, ["staff", "ops"]),
        ({"whitelist": ["staff"]}, ["staff"]),
        ({"whitelist": []}, []),
        ({}, ["staff", "ops", "admins"]),
    ],
)
def test_lists_of_groups(condition: dict[str, Any], names: list[str]) -> None:
    remote: list[dict[str, Any]] = [{"type": "UserName"}, {"type": "groups", **condition}]
    found = mapped(rule(remote, USER, {"groups": "{1}", "domain": {"name": "acme"}}))
    assert found.groups == tuple(MappedGroup(name, DomainRef(name="acme")) for name in names)
    assert mapped(rule(remote, USER, {"group_ids": "{1}"})).group_ids == tuple(names)


def test_groups_of_several_rules_add_up_and_the_first_user_is_the_user() -> None:
    first = rule([{"type": "UserName"}], USER, {"group": {"id": "g1"}})
    second = rule([{"type": "Email"}], USER, {"group": {"name": "{0}", "domain": {"id": "default"}}})
    third = rule([{"type": "UserName", "any_one_of": ["bob"]}], {"group": {"id": "g3"}})
    found = mapped(first, second, third)
    assert found.user.name == "ann"
    assert found.group_ids == ("g1",)
    assert found.groups == (MappedGroup("ann@acme.example", DomainRef(id="default")),)


def test_projects_and_their_roles() -> None:
    project = {"name": "home of {0}", "roles": [{"name": "member"}, {"name": "reader"}], "domain": {"id": "d"}}
    local = {"projects": [project], "domain": {"name": "acme"}, **USER}
    (found,) = mapped(rule([{"type": "UserName"}], local), version="2.0").projects
    assert (found.name, found.roles, found.domain) == ("home of ann", ("member", "reader"), DomainRef(id="d"))
    (older,) = mapped(rule([{"type": "UserName"}], local)).projects
    assert older.domain == DomainRef(), "schema 1.0 knows no domain but the provider's"


def test_domains_of_users() -> None:
    remote = [{"type": "UserName"}]
    own = {"user": {"name": "{0}", "domain": {"id": "own"}}}
    assert mapped(rule(remote, own)).user.domain == DomainRef(id="own")
    assert mapped(rule(remote, {**USER, "domain": {"id": "d"}})).user.domain == DomainRef()
    assert mapped(rule(remote, {**USER, "domain": {"id": "d"}}), version="2.0").user.domain == DomainRef(id="d")


def test_local_users() -> None:
    local = {"user": {"name": "{0}", "type": "local", "domain": {"name": "Default"}}}
    assert mapped(rule([{"type": "UserName"}], local)).user.local


def test_several_values_where_one_is_wanted_read_as_upstream_shows_them() -> None:
    remote = [{"type": "orgPersonType"}]
    assert mapped(rule(remote, USER)).user.name == "['Employee', 'Contractor']"
    assert mapped(rule(remote, {"user": {"name": "x-{0}"}})).user.name == "x-['Employee', 'Contractor']"


def test_what_somebody_says_of_himself_is_one_value_whatever_it_looks_like() -> None:
    """Upstream splits at semicolons and evaluates lists: a display name could add groups."""
    said = {"name": ["['admins', 'x']"], "more": ["a;admins"], "UserName": ["{0.__class__}"]}
    remote = [{"type": "UserName"}, {"type": "name"}, {"type": "more"}]
    local = {"groups": "{1}", "domain": {"id": "d"}}
    other = {"groups": "{2}", "domain": {"id": "d"}}
    found = mapped(rule(remote, USER, local, other), said=said)
    assert [group.name for group in found.groups] == ["['admins', 'x']", "a;admins"]
    assert found.user.name == "{0.__class__}"
    with pytest.raises(Invalid):
        mapped(rule([{"type": "more", "any_one_of": ["admins"]}], USER), said=said)


def test_lists_that_the_author_wrote() -> None:
    local = {"groups": "['a', 'b']", "domain": {"id": "d"}}
    found = mapped(rule([{"type": "UserName"}], USER, local))
    assert [group.name for group in found.groups] == ["a", "b"]
    assert mapped(rule([{"type": "UserName"}], USER, {"group_ids": "[not a list"})).group_ids == ("[not a list",)


def test_braces() -> None:
    assert mapped(rule([{"type": "UserName"}], {"user": {"name": "{{{0}}}"}})).user.name == "{ann}"
    remote = [{"type": "FirstName"}, {"type": "LastName"}]
    assert mapped(rule(remote, {"user": {"name": "{} {}"}})).user.name == "Ann Archer"


def test_groups_need_a_domain() -> None:
    with pytest.raises(Invalid, match="domain"):
        mapped(rule([{"type": "UserName"}], {"groups": "{0}"}))


def test_rules_that_can_never_be_carried_out() -> None:
    with pytest.raises(Invalid, match="remote match"):
        check_rules([rule([{"type": "a"}], {"user": {"name": "{1}"}})])
    with pytest.raises(Invalid, match="remote match"):
        check_rules([rule([{"type": "a", "any_one_of": ["x"]}], USER)])
    with pytest.raises(Invalid, match="regular expression"):
        check_rules([rule([{"type": "a", "any_one_of": ["("], "regex": True}], {"user": {"name": "x"}})])
    check_rules([rule([{"type": "a", "whitelist": ["("]}], USER)])
