"""Every policy: its default, the operations that it decides, and by what other names operators' files may have it.

``make api`` writes them to ``api/policy.yaml``, in the form of a policy.yaml in which nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ostro.http.policy import Rule
from ostro.http.route import Route, Service
from ostro.model.policy import EVERY_SCOPE, Default, Policies
from ostro.services.identity.rules import IDENTITY_POLICIES

HEAD = """\
# Every policy of Ostro with its default. Written by `make api` from the routes.
# To change some, put just those into `policy.yaml` in the state directory, in OpenStack's policy language, and start Ostro again.
# Neutron's and Glance's names are good without their prefix too (`get_network`), and so are the deprecated names below.
"""
RULES = {
    Rule.PUBLIC: "",
    Rule.AUTHENTICATED: "",
    Rule.READER: "role:reader",
    Rule.MEMBER: "role:member",
    Rule.MANAGER: "role:manager",
    Rule.ADMIN: "role:admin",
    Rule.SERVICE: "role:service or role:admin",
    Rule.READER_OR_SERVICE: "role:reader or role:service",
}
PREFIXES = ("network:", "image:")
"""Of names that upstream's services have without them, in files of their own."""
DEPRECATED = {
    f"{old}:{verb}": old
    for old, verbs in {
        "os_compute_api:os-attach-interfaces": "list show create delete",
        "os_compute_api:os-deferred-delete": "force",
        "os_compute_api:os-hypervisors": "list list-detail statistics show uptime search servers",
        "os_compute_api:os-instance-actions": "list show",
        "os_compute_api:os-services": "list update delete",
        "volume_extension:quota_classes": "get update",
        "volume_extension:volume_image_metadata": "show set remove",
    }.items()
    for verb in verbs.split()
} | {f"volume_extension:type_{verb}": "volume_extension:types_manage" for verb in ("create", "update", "delete")}
"""A policy's name -> what upstream called it before."""
_OWN = "project_id:%(project_id)s"
SHARED = {
    "context_is_admin": "role:admin",
    "admin_api": "rule:context_is_admin",
    "admin_only": "rule:context_is_admin",
    "regular_user": "",
    "project_reader_api": f"role:reader and {_OWN}",
    "project_member_api": f"role:member and {_OWN}",
    "project_manager_api": f"role:manager and {_OWN}",
    "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
    "project_member_or_admin": "rule:project_member_api or rule:context_is_admin",
    "project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
    "service_api": "role:service",
    "admin_or_service_api": "role:admin or role:service",
    "admin_or_project_reader_or_service_api": "role:admin or rule:project_reader_api or role:service",
    "xena_system_admin_or_project_reader": f"role:admin or (role:reader and {_OWN})",
    "xena_system_admin_or_project_member": f"role:admin or (role:member and {_OWN})",
}
"""Rules of upstream's other services that operators' rules name. Where Identity has the same name, its rule is meant."""


def policies_of(route: Route) -> Iterator[tuple[str, Rule]]:
    """The route's policies: its own, and those of what a body may ask for."""
    yield route.policy, route.rule
    yield from route.actions.values()
    yield from route.also.items()


def make_defaults(services: Sequence[Service]) -> dict[str, Default]:
    """The defaults of all policies."""
    defaults = dict(IDENTITY_POLICIES)
    for service in services:
        scopes = frozenset(("project",)) if service.projects_only else EVERY_SCOPE
        for route in service.routes:
            for name, rule in policies_of(route):
                if rule in RULES:
                    defaults.setdefault(name, Default(RULES[rule], EVERY_SCOPE if rule is Rule.PUBLIC else scopes))
    return defaults


def declare_policies(policies: Policies, services: Sequence[Service]) -> None:
    """Make every service's policies known, so that an operator's rules may name them as upstream's files do."""
    shared = {name: Default(rule) for name, rule in SHARED.items()}
    policies.declare(shared | make_defaults(services), PREFIXES, DEPRECATED)


def _entry(name: str, default: Default, operations: Sequence[str]) -> str:
    lines = [f"# {operation}" for operation in operations]
    lines.append(f"# scopes: {', '.join(sorted(default.scopes))}")
    if name in DEPRECATED:
        lines.append(f"# deprecated name: {DEPRECATED[name]}")
    rule = default.rule.replace('"', '\\"')
    lines.append(f'#"{name}": "{rule}"')
    return "\n".join(lines)


def make_reference(services: Sequence[Service]) -> str:
    """The reference, by service and name."""
    operations: dict[str, list[str]] = {}
    for service in services:
        for route in service.routes:
            place = f"{route.method} {service.prefixes[0]}{route.path}"
            operations.setdefault(route.policy, []).append(place)
            for action, (name, _rule) in route.actions.items():
                operations.setdefault(name, []).append(f"{place} ({action})")
            for name in route.also:
                operations.setdefault(name, []).append(f"{place}, in part")
    defaults = {name: Default(rule) for name, rule in SHARED.items()} | make_defaults(services)
    return (
        "\n\n".join([HEAD, *(_entry(name, defaults[name], operations.get(name, [])) for name in sorted(defaults))])
        + "\n"
    )
