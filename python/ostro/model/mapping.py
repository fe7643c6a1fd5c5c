"""Mapping rules: from what an identity provider says of somebody to a user, groups and projects of ours. Pure.

The language is Keystone's. A rule has ``remote`` requirements and ``local`` results. When every requirement is met, the results hold, with ``{0}``, ``{1}``
and so on standing for the values of the requirements that have no ``any_one_of`` or ``not_any_of``, in order. The first user that comes out of a
rule is the user; groups add up.

An assertion is a set of values for each attribute. What the provider said as one text stays one value, whatever is in it: upstream, which gets all
values of an attribute as one text, splits at semicolons and evaluates lists, so that a user who may choose a display name can make several values of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostro.model.errors import Invalid

Assertion = Mapping[str, Sequence[str]]
Values = list[str]

SCHEMA_VERSIONS = ("1.0", "2.0")
CONDITIONS = ("any_one_of", "not_any_of", "whitelist", "blacklist")
USER_TYPES = ("ephemeral", "local")
_PLACE = re.compile(r"\{\{|\}\}|\{(\d*)\}")
NOTHING = "Could not map any federated user properties to identity values. Check debug logs or the mapping used for additional details."


class DomainRef(msgspec.Struct, frozen=True):
    """A domain by id or name."""

    id: str = ""
    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.id or self.name)


class MappedUser(msgspec.Struct, frozen=True):
    """Who it is. ``id`` is what the provider calls the user for good; a local user is one that is here already."""

    id: str = ""
    name: str = ""
    email: str = ""
    domain: DomainRef = DomainRef()
    local: bool = False


class MappedGroup(msgspec.Struct, frozen=True):
    """A group by name."""

    name: str
    domain: DomainRef


class MappedProject(msgspec.Struct, frozen=True):
    """A project that the user is to have, with these roles by name. Without a domain it is the provider's."""

    name: str
    roles: tuple[str, ...]
    domain: DomainRef = DomainRef()


class Mapped(msgspec.Struct, frozen=True):
    """What the rules made of an assertion."""

    user: MappedUser
    group_ids: tuple[str, ...] = ()
    groups: tuple[MappedGroup, ...] = ()
    projects: tuple[MappedProject, ...] = ()


def apply_rules(rules: Sequence[Mapping[str, Any]], schema_version: str, assertion: Assertion) -> Mapped:
    """What the rules make of an assertion. Raises Invalid when no rule fits, or one can't be carried out."""
    results: list[Mapping[str, Any]] = []
    for rule in rules:
        places = _match(rule["remote"], assertion)
        if places is not None:
            results += [_fill(local, places) for local in rule["local"]]
    if not results:
        raise Invalid(NOTHING)
    return _collect(results, honours_domain=schema_version == "2.0")


def _match(requirements: Sequence[Mapping[str, Any]], assertion: Assertion) -> list[Values] | None:
    """The values for ``{0}`` and so on; None when a requirement isn't met."""
    places: list[Values] = []
    for wanted in requirements:
        values = list(assertion.get(wanted["type"], ()))
        regex = wanted.get("regex", False)
        if not values:
            return None
        if "any_one_of" in wanted:
            if not any(_is_among(value, wanted["any_one_of"], regex) for value in values):
                return None
        elif "not_any_of" in wanted:
            if any(_is_among(value, wanted["not_any_of"], regex) for value in values):
                return None
        elif "blacklist" in wanted:
            places.append([value for value in values if not _is_among(value, wanted["blacklist"], regex)])
        elif "whitelist" in wanted:
            places.append([value for value in values if _is_among(value, wanted["whitelist"], regex)])
        else:
            places.append(values)
    return places


def _is_among(value: str, wanted: Sequence[Any], regex: bool) -> bool:
    if regex:
        return any(re.search(str(pattern), value) for pattern in wanted)
    return value in wanted


def _fill(item: Any, places: list[Values]) -> Any:
    """A local result with values in their places. A text that is a place alone becomes the list of its values where there are several, or none."""
    if isinstance(item, Mapping):
        return {key: _fill(value, places) for key, value in item.items()}
    if isinstance(item, list):
        return [_fill(value, places) for value in item]
    if not isinstance(item, str):
        return item
    alone = re.fullmatch(r"\{(\d*)\}", item)
    if alone:
        values = _place(places, int(alone[1] or 0))
        return values[0] if len(values) == 1 else list(values)
    order = iter(range(len(places) + 1))
    return _PLACE.sub(lambda found: _fill_one(found, places, order), item)


def _fill_one(found: re.Match[str], places: list[Values], order: Any) -> str:
    text = found[0]
    if text in ("{{", "}}"):
        return text[0]
    values = _place(places, int(found[1]) if found[1] else next(order))
    return values[0] if len(values) == 1 else str(values)


def _place(places: list[Values], index: int) -> Values:
    if index >= len(places):
        raise Invalid("Local section in mapping refers to a remote match that doesn't exist.")
    return places[index]


def _text(value: Any) -> str:
    """A value where one text is wanted; several read as upstream shows them, none is empty."""
    if isinstance(value, list):
        return str(value) if value else ""
    return str(value) if value is not None else ""


def _domain(value: Any) -> DomainRef:
    given = value if isinstance(value, Mapping) else {}
    return DomainRef(_text(given.get("id")), _text(given.get("name")))


def _names(value: Any) -> list[str]:
    """Names of groups: a list that came of values, or a list that the mapping's author wrote as one text."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    return [_text(value)]


def _collect(results: Sequence[Mapping[str, Any]], *, honours_domain: bool) -> Mapped:
    user: MappedUser | None = None
    group_ids: dict[str, None] = {}
    groups: dict[MappedGroup, None] = {}
    projects: tuple[MappedProject, ...] = ()
    for result in results:
        default = _domain(result.get("domain")) if honours_domain else DomainRef()
        if "user" in result and user is None:
            user = _user(result["user"], default)
        if "group" in result:
            group = result["group"]
            if "id" in group:
                group_ids[_text(group["id"])] = None
            else:
                groups[MappedGroup(_text(group["name"]), _domain(group["domain"]))] = None
        if "groups" in result:
            domain = _domain(result.get("domain"))
            if not domain:
                raise Invalid("Invalid rule: both 'groups' and 'domain' keywords must be specified.")
            groups |= dict.fromkeys(MappedGroup(name, domain) for name in _names(result["groups"]))
        if "group_ids" in result:
            group_ids |= dict.fromkeys(_names(result["group_ids"]))
        if "projects" in result:
            projects = tuple(_project(item, default, honours_domain) for item in result["projects"])
    return Mapped(user or MappedUser(), tuple(group_ids), tuple(groups), projects)


def _user(given: Mapping[str, Any], default: DomainRef) -> MappedUser:
    texts = {name: _text(given.get(name)) for name in ("id", "name", "email")}
    return MappedUser(**texts, domain=_domain(given.get("domain")) or default, local=given.get("type") == "local")


def _project(given: Mapping[str, Any], default: DomainRef, honours_domain: bool) -> MappedProject:
    domain = (_domain(given.get("domain")) or default) if honours_domain else DomainRef()
    return MappedProject(_text(given["name"]), tuple(_text(role["name"]) for role in given["roles"]), domain)


def prepare_rules(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rules whose lists of groups, written as one text such as ``"['a', 'b']"``, are lists. Values of an assertion are never read so."""
    return [{**rule, "local": [_prepare(local) for local in rule["local"]]} for rule in rules]


def _prepare(local: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(local)
    for name in ("groups", "group_ids"):
        text = out.get(name)
        if isinstance(text, str) and text.lstrip().startswith("["):
            try:
                written = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                continue
            if isinstance(written, list):
                out[name] = [str(item) for item in written]
    return out


def check_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    """What a schema can't say of rules: expressions can be compiled, and places have a requirement. Raises Invalid."""
    for rule in rules:
        places = 0
        for wanted in rule["remote"]:
            given = [name for name in CONDITIONS if name in wanted]
            places += not given or given[0] in ("whitelist", "blacklist")
            if wanted.get("regex"):
                for pattern in wanted.get(given[0], ()) if given else ():
                    _check_pattern(str(pattern))
        for local in rule["local"]:
            _fill(local, [["x"]] * places)


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise Invalid(f"Invalid regular expression in the mapping: {pattern}: {error}.") from error
