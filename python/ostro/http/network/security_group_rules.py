"""``/v2.0/security-group-rules``."""

from __future__ import annotations

import ipaddress
from typing import Any

from ostro.http.network.body import PROJECT, TEXT, items_of, one_or_many, project_of, wrap
from ostro.http.network.listing import Attribute, Listing, common, pick
from ostro.http.network.listing import to_bool as bool_of_query
from ostro.http.network.listing import to_int as int_of_query
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, INTEGER, STRING, UUID, array, nullable, shape
from ostro.model.numbers import whole_number
from ostro.model.times import iso_z
from ostro.services.network import security_group_rules as service
from ostro.services.network.errors import NetworkInvalid
from ostro.services.network.rules import PROTOCOLS, RuleSpec
from ostro.services.network.security_group_rules import NewRule, RuleView
from ostro.services.network.security_groups import ensure_listed_default, lacks_default_group
from ostro.store.security_group_rules import SECURITY_GROUP_RULES, in_default_groups

_NUMBER = {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 16}, {"type": "null"}]}
_ITEM = {
    "type": "object",
    "required": ["security_group_id", "direction"],
    "properties": {
        **PROJECT,
        "security_group_id": UUID,
        "direction": {"enum": ["ingress", "egress"]},
        "ethertype": nullable(TEXT),
        "protocol": _NUMBER,
        "port_range_min": _NUMBER,
        "port_range_max": _NUMBER,
        "remote_ip_prefix": nullable(TEXT),
        "remote_group_id": nullable(TEXT),
        "remote_address_group_id": {"type": "null"},
        "description": nullable(TEXT),
    },
    "additionalProperties": False,
}
CREATE = one_or_many("security_group_rule", "security_group_rules", _ITEM)
VIEW = shape(
    {
        "id": STRING,
        "security_group_id": STRING,
        "project_id": STRING,
        "tenant_id": STRING,
        "direction": {"enum": ["ingress", "egress"]},
        "ethertype": {"enum": ["IPv4", "IPv6"]},
        "protocol": nullable(STRING),
        "port_range_min": nullable(INTEGER),
        "port_range_max": nullable(INTEGER),
        "remote_ip_prefix": nullable(STRING),
        "remote_group_id": nullable(STRING),
        "normalized_cidr": nullable(STRING),
        "belongs_to_default_sg": BOOLEAN,
        "description": STRING,
        "created_at": STRING,
        "updated_at": STRING,
        "revision_number": INTEGER,
    },
    required=(),
)
SHOWN = {"security_group_rule": VIEW}
_COMMON = {name: attribute for name, attribute in common().items() if name != "name"}
LISTING = Listing(
    "security_group_rules",
    SECURITY_GROUP_RULES,
    {
        **_COMMON,
        "security_group_id": Attribute("security_group_id"),
        "direction": Attribute("direction"),
        "ethertype": Attribute("ethertype"),
        "protocol": Attribute("protocol", sortable=False),
        "port_range_min": Attribute("port_range_min", int_of_query, sortable=False),
        "port_range_max": Attribute("port_range_max", int_of_query, sortable=False),
        "remote_ip_prefix": Attribute("remote_ip_prefix", sortable=False),
        "remote_group_id": Attribute("remote_group_id", sortable=False),
    },
    {"belongs_to_default_sg": lambda values: in_default_groups(bool_of_query(values[-1]))},
)


def rule_view(view: RuleView) -> dict[str, Any]:
    """A rule as the API shows it."""
    rule = view.rule
    prefix = rule.remote_ip_prefix
    return {
        "id": rule.id,
        "tenant_id": rule.project_id,
        "project_id": rule.project_id,
        "security_group_id": rule.security_group_id,
        "ethertype": rule.ethertype,
        "direction": rule.direction,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": prefix,
        "normalized_cidr": str(ipaddress.ip_network(prefix, strict=False)) if prefix else None,
        "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": None,
        "belongs_to_default_sg": view.in_default_group,
        "description": rule.description,
        "created_at": iso_z(rule.created_at_us),
        "updated_at": iso_z(rule.updated_at_us),
        "revision_number": rule.revision_number,
    }


def _protocol(value: Any) -> str | None:
    """A protocol by name or number. Raises NetworkInvalid."""
    if value is None or str(value).lower() == "any":
        return None
    text = str(value).lower()
    if text in PROTOCOLS or ((number := whole_number(text)) is not None and number <= 255):
        return text
    raise NetworkInvalid(
        "SecurityGroupRuleInvalidProtocol",
        f"Security group rule protocol {value} not supported. Only protocol values"
        f" {[None, 'any', *PROTOCOLS]} and integer representations [0 to 255] are supported.",
    )


def _ethertype(value: Any) -> str:
    for name in ("IPv4", "IPv6"):
        if (value or "IPv4").lower() == name.lower():
            return name
    raise NetworkInvalid(
        "SecurityGroupRuleInvalidEtherType",
        f"Security group rule for ethertype '{value}' not supported. Allowed values are ['IPv4', 'IPv6'].",
    )


def _port(value: Any) -> int | None:
    if value is None:
        return None
    number = whole_number(str(value))
    if number is not None and number <= 65535:
        return number
    raise NetworkInvalid("SecurityGroupInvalidPortValue", f"Invalid value for port {value}")


def _wanted(item: dict[str, Any]) -> NewRule:
    spec = RuleSpec(
        direction=item["direction"],
        ethertype=_ethertype(item.get("ethertype")),
        protocol=_protocol(item.get("protocol")),
        port_range_min=_port(item.get("port_range_min")),
        port_range_max=_port(item.get("port_range_max")),
        remote_ip_prefix=item.get("remote_ip_prefix") or None,
        remote_group_id=item.get("remote_group_id") or None,
        description=item.get("description") or "",
    )
    return NewRule(item["security_group_id"], spec, project_of(item))


async def ensure_default(req: Request) -> None:
    """Make the project's default group, so that the first list of groups or rules shows it. Writes only when it is missing."""
    project_id = req.query.get("project_id") or req.query.get("tenant_id") or ""
    if await req.read(lacks_default_group, project_id):
        await req.run(ensure_listed_default, project_id)


@NETWORK.route(
    "GET",
    f"{V2}/security-group-rules",
    policy="network:get_security_group_rule",
    rule=Rule.READER,
    response=shape({"security_group_rules": array(VIEW)}),
    query=LISTING.query,
    summary="List security group rules",
)
async def list_security_group_rules(req: Request) -> Reply:
    page = LISTING.page(req)
    await ensure_default(req)
    return LISTING.reply(req, await req.read(service.list_security_group_rules, page), page, rule_view)


@NETWORK.route(
    "POST",
    f"{V2}/security-group-rules",
    policy="network:create_security_group_rule",
    rule=Rule.MEMBER,
    status=201,
    body=CREATE,
    response=shape({**SHOWN, "security_group_rules": array(VIEW)}, required=()),
    summary="Create one security group rule or several",
)
async def create_security_group_rule(req: Request) -> Reply:
    wanted = [_wanted(item) for item in items_of(req, "security_group_rule", "security_group_rules")]
    views = await req.run(service.create_security_group_rules, wanted)
    return Reply(wrap(req, "security_group_rule", "security_group_rules", [rule_view(v) for v in views], pick(req)))


@NETWORK.route(
    "GET",
    f"{V2}/security-group-rules/{{rule_id}}",
    policy="network:get_security_group_rule",
    rule=Rule.READER,
    response=shape(SHOWN),
    query={"fields": STRING},
    summary="Show a security group rule",
)
async def show_security_group_rule(req: Request) -> Reply:
    return Reply(
        {
            "security_group_rule": pick(req)(
                rule_view(await req.read(service.get_security_group_rule, req.params["rule_id"]))
            )
        }
    )


@NETWORK.route(
    "DELETE",
    f"{V2}/security-group-rules/{{rule_id}}",
    policy="network:delete_security_group_rule",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete a security group rule",
)
async def delete_security_group_rule(req: Request) -> Reply:
    await req.run(service.delete_security_group_rule, req.params["rule_id"])
    return Reply()
