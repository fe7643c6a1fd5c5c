"""The reference of all policies, in the form of a policy.yaml in which nothing is changed. ``make api`` writes it to ``api/policy.yaml``."""

from __future__ import annotations

from collections.abc import Sequence

from ostro.http.policy import Rule
from ostro.http.route import Service
from ostro.model.policy import Default
from ostro.services.identity.rules import IDENTITY_POLICIES

HEAD = """\
# Every policy of Ostro with its default. Written by `make api` from the routes.
# To change some, put just those into `policy.yaml` in the state directory, in OpenStack's policy language, and start Ostro again.
"""
RULES = {
    Rule.PUBLIC: "",
    Rule.AUTHENTICATED: "",
    Rule.READER: "role:reader",
    Rule.MEMBER: "role:member",
    Rule.ADMIN: "role:admin",
}


def _entry(name: str, default: Default, operations: Sequence[str]) -> str:
    lines = [f"# {operation}" for operation in operations]
    lines.append(f"# scopes: {', '.join(sorted(default.scopes))}")
    rule = default.rule.replace('"', '\\"')
    lines.append(f'#"{name}": "{rule}"')
    return "\n".join(lines)


def make_reference(services: Sequence[Service]) -> str:
    """The reference, by service and name."""
    operations: dict[str, list[str]] = {}
    defaults: dict[str, Default] = dict(IDENTITY_POLICIES)
    for service in services:
        for route in service.routes:
            operations.setdefault(route.policy, []).append(f"{route.method} {service.prefixes[0]}{route.path}")
            if route.rule in RULES:
                defaults.setdefault(route.policy, Default(RULES[route.rule]))
    return (
        "\n\n".join([HEAD, *(_entry(name, defaults[name], operations.get(name, [])) for name in sorted(defaults))])
        + "\n"
    )
