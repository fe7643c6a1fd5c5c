"""The policy language of OpenStack: rules as operators write them in policy.yaml, read and evaluated.

    rule      role:admin or (role:manager and domain_id:%(target.user.domain_id)s)
    checks    role:NAME   rule:NAME   ATTRIBUTE:VALUE   @ (always)   ! (never)   the empty text (always)
    words     and or not ( )

In ``ATTRIBUTE:VALUE`` the left side is an attribute of whoever asks (``user_id``, ``token.project.domain.id``) or a literal (``'member'``,
``None``); the right side may name attributes of the target by ``%(name)s``. An attribute that the target doesn't have makes the check fail.

Evaluation is three-valued. Before the target is known (a request whose object has not been looked up) a check that needs it is neither true
nor false: ``may`` then tells whether anything could still allow the call, ``allows`` decides once the target is there. That way nobody
learns of an object's existence, and no body is parsed, for a call that would be refused whatever the object.

What an operator put into policy.yaml counts also under the names by which upstream's services have it in files of their own (``get_network``,
where we say ``network:get_network``), and under names that upstream has deprecated, as long as the policy's present name isn't there too.

Source: oslo.policy's documentation. Checks by HTTP (``http:``) are refused when a file is read.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ostro.model.errors import Bug, Invalid

if TYPE_CHECKING:
    from ostro.model.context import Actor

Target = Mapping[str, object]
Verdict = bool | None
"""None: it depends on the target."""
Attributes = Mapping[str, object]

_PLACE = re.compile(r"%\(([^)]*)\)s")
_RULE_NAMES = re.compile(r"rule:([^\s()]+)")
_DEPTH_MOST = 32
_WORDS = ("and", "or", "not")


@dataclass(frozen=True)
class _Asked:
    """One evaluation."""

    who: Attributes
    roles: frozenset[str]
    target: Target | None
    rules: Mapping[str, Check]
    depth: int = 0


Check = Callable[[_Asked], Verdict]


def _always(_asked: _Asked) -> Verdict:
    return True


def _never(_asked: _Asked) -> Verdict:
    return False


def _role(name: str) -> Check:
    wanted = name.lower()
    return lambda asked: wanted in asked.roles


def _rule(name: str) -> Check:
    def check(asked: _Asked) -> Verdict:
        found = asked.rules.get(name)
        if found is None or asked.depth >= _DEPTH_MOST:
            return False
        return found(_Asked(asked.who, asked.roles, asked.target, asked.rules, asked.depth + 1))

    return check


def _attribute(left: str, right: str) -> Check:
    """Compare an attribute of the actor, or a literal, with a text that may name attributes of the target."""
    try:
        literal, is_literal = literal_eval(left), True
    except (ValueError, SyntaxError):
        literal, is_literal = None, False
    places = _PLACE.findall(right)

    def check(asked: _Asked) -> Verdict:
        if is_literal:
            value = literal
        elif left in asked.who:
            value = asked.who[left]
        else:
            return False
        if not places:
            return str(value) == right
        if asked.target is None:
            return None
        if any(place not in asked.target for place in places):
            return False
        target = asked.target
        return str(value) == _PLACE.sub(lambda m: str(target[m[1]]), right)

    return check


def _not(inner: Check) -> Check:
    def check(asked: _Asked) -> Verdict:
        verdict = inner(asked)
        return None if verdict is None else not verdict

    return check


def _and(left: Check, right: Check) -> Check:
    def check(asked: _Asked) -> Verdict:
        first = left(asked)
        if first is False:
            return False
        second = right(asked)
        return False if second is False else (None if None in (first, second) else True)

    return check


def _or(left: Check, right: Check) -> Check:
    def check(asked: _Asked) -> Verdict:
        first = left(asked)
        if first is True:
            return True
        second = right(asked)
        return True if second is True else (None if None in (first, second) else False)

    return check


def _tokens(text: str) -> list[str]:
    """Words, parentheses and checks; parentheses inside ``%(...)s`` belong to their check."""
    out: list[str] = []
    for word in text.split():
        bare = word.lstrip("(")
        out += ["("] * (len(word) - len(bare))
        closed = bare.rstrip(")")
        if closed:
            out.append(closed.lower() if closed.lower() in _WORDS else closed)
        out += [")"] * (len(bare) - len(closed))
    return out


def _atom(token: str) -> Check:
    if token == "@":
        return _always
    if token == "!":
        return _never
    kind, colon, match = token.partition(":")
    if not colon or not kind or kind in ("http", "https"):
        raise Invalid(f"Not a check of the policy language: {token}")
    if kind == "role":
        return _role(match)
    return _rule(match) if kind == "rule" else _attribute(kind, match)


class _Parser:
    """Recursive descent: ``or`` binds weaker than ``and``, ``and`` weaker than ``not``."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._left = _tokens(text)[::-1]

    def parse(self) -> Check:
        check = self._either(0)
        if self._left:
            raise self._wrong()
        return check

    def _wrong(self) -> Invalid:
        return Invalid(f"Not a rule of the policy language: {self._text}")

    def _take(self, *tokens: str) -> bool:
        if self._left and self._left[-1] in tokens:
            self._left.pop()
            return True
        return False

    def _either(self, depth: int) -> Check:
        check = self._both(depth)
        while self._take("or"):
            check = _or(check, self._both(depth))
        return check

    def _both(self, depth: int) -> Check:
        check = self._single(depth)
        while self._take("and"):
            check = _and(check, self._single(depth))
        return check

    def _single(self, depth: int) -> Check:
        if depth > _DEPTH_MOST or not self._left:
            raise self._wrong()
        if self._take("not"):
            return _not(self._single(depth + 1))
        if self._take("("):
            check = self._either(depth + 1)
            if not self._take(")"):
                raise self._wrong()
            return check
        token = self._left.pop()
        if token in (*_WORDS, ")"):
            raise self._wrong()
        return _atom(token)


def parse_rule(text: str) -> Check:
    """A rule's check. Raises Invalid."""
    return _Parser(text).parse() if text.strip() else _always


def attributes_of(actor: Actor) -> dict[str, object]:
    """What rules may say about whoever asks. What a token doesn't have is None."""
    domain_id, project_id = actor.domain_id or None, actor.project_id or None
    project_domain_id = actor.project_domain_id or None
    return {
        "user_id": actor.user_id,
        "user_domain_id": actor.user_domain_id,
        "project_id": project_id,
        "tenant_id": project_id,
        "project_domain_id": project_domain_id,
        "domain_id": domain_id,
        "system_scope": "all" if actor.system else None,
        "token.domain.id": domain_id,
        "token.project.id": project_id,
        "token.project.domain.id": project_domain_id,
        "token.user.id": actor.user_id,
        "is_admin": "admin" in actor.roles,
        "is_admin_project": True,
    }


def scope_of(actor: Actor) -> str:
    """The kind of a token's scope, as scope types count it: an unscoped token is a project's without a role."""
    if actor.system:
        return "system"
    return "domain" if actor.domain_id else "project"


EVERY_SCOPE = frozenset(("system", "domain", "project"))


@dataclass(frozen=True)
class Default:
    """The rule of a policy as it ships: its text, and the scopes that a token must have one of."""

    rule: str
    scopes: frozenset[str] = EVERY_SCOPE


class Policies:
    """All rules of a process by upstream's names: the defaults, and what the operator has put in their place."""

    def __init__(self, defaults: Mapping[str, Default], overrides: Mapping[str, str] | None = None) -> None:
        self.defaults = dict(defaults)
        self.overrides = dict(overrides or {})
        self._used: set[str] = set()
        self._judged = self.defaults.keys() | self.overrides.keys()
        texts = {name: default.rule for name, default in self.defaults.items()} | self.overrides
        self._rules: dict[str, Check] = {name: parse_rule(text) for name, text in texts.items()}

    def declare(
        self, defaults: Mapping[str, Default], prefixes: Sequence[str] = (), deprecated: Mapping[str, str] | None = None
    ) -> None:
        """Make further policies known, so that overrides may name them: by ``rule:``, without one of the prefixes, or by a deprecated name."""
        for name, default in defaults.items():
            self._rules.setdefault(name, parse_rule(default.rule))
            self.defaults.setdefault(name, default)
            for other in _other_names(name, prefixes, deprecated or {}):
                if other in self.overrides and name not in self.overrides:
                    self.overrides[name] = self.overrides[other]
                    self._rules[name] = self._rules[other]
                    self._judged.add(name)
                    self._used.add(other)

    def __contains__(self, name: str) -> bool:
        """Whether a policy is judged by its rule in this language, and not by its route's."""
        return name in self._judged

    def unknown(self) -> list[str]:
        """Names in the operator's file that are no policy, and that no rule there mentions: most likely slips of the pen."""
        named = {match for text in self.overrides.values() for match in _RULE_NAMES.findall(text)}
        return sorted(self.overrides.keys() - self.defaults.keys() - self._used - named)

    def judge(self, name: str, actor: Actor, target: Target | None) -> Verdict:
        """The verdict of a policy; None when it depends on a target that isn't given. Raises Bug for a name that nobody declared."""
        rule = self._rules.get(name)
        if rule is None:
            raise Bug(f"No policy is named {name}.")
        default = self.defaults.get(name)
        if default is not None and scope_of(actor) not in default.scopes:
            return False
        return rule(_Asked(attributes_of(actor), actor.roles, target, self._rules))

    def may(self, name: str, actor: Actor) -> bool:
        """Whether some target could let the actor pass."""
        return self.judge(name, actor, None) is not False

    def allows(self, name: str, actor: Actor, target: Target) -> bool:
        """Whether the actor may do this to the target."""
        return self.judge(name, actor, target) is True


def _other_names(name: str, prefixes: Sequence[str], deprecated: Mapping[str, str]) -> list[str]:
    """By what else a policy may be called, the best first."""
    out = [name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)]
    return [*out, deprecated[name]] if name in deprecated else out


def read_overrides(data: Any) -> dict[str, str]:
    """The rules of a parsed policy.yaml. Raises Invalid for what is not a rule, so that a mistake opens nothing."""
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise Invalid("A policy file maps names of policies to rules, both texts.")
    texts = {name: _text_of(rule) for name, rule in data.items()}
    for text in texts.values():
        parse_rule(text)
    return texts


def _text_of(rule: Any) -> str:
    """A rule as a text. The oldest files have lists: any of these, where one that is a list is all of its own."""
    match rule:
        case str():
            return rule
        case list():
            return " or ".join(_text_of_part(part) for part in rule) or "@"
        case _:
            raise Invalid("A policy file maps names of policies to rules, both texts.")


def _text_of_part(part: Any) -> str:
    parts = [part] if isinstance(part, str) else part
    if not isinstance(parts, list) or not all(isinstance(one, str) for one in parts):
        raise Invalid("A policy file's list holds checks, or lists of checks.")
    return f"({' and '.join(parts) or '@'})"


NO_POLICIES = Policies({})
