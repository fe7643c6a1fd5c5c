"""What a security group rule may say, and when two of them say the same. Pure.

Source: the Networking API reference, "Security group rules". Protocol names are kept as given, lower-cased, and compared by number; the
whole port range is no range; ICMPv6 under its older names and number becomes ``ipv6-icmp``.
"""

from __future__ import annotations

import ipaddress

import msgspec

from ostro.model.context import Context
from ostro.services.network.errors import NetworkInvalid
from ostro.store.security_group_rules import SecurityGroupRule

PROTOCOLS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "hopopt": 0,
    "icmp": 1,
    "igmp": 2,
    "ip": 0,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
    "icmpv6": 58,
}
ICMP, ICMP6 = 1, 58
WITH_PORTS = {6: "TCP", 17: "UDP", 132: "SCTP", 33: "DCCP", 136: "UDPLITE"}
ONLY_IPV6 = frozenset((41, 44, 58, 59, 60, 43))
ICMP6_ALIASES = frozenset(("icmp", "icmpv6"))
PORT_MOST = 65535
ANYWHERE = frozenset(("0.0.0.0/0", "::/0"))


class RuleSpec(msgspec.Struct, frozen=True):
    """A rule as it is asked for. None is any."""

    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    description: str = ""


def new_rule(context: Context, group_id: str, project_id: str, spec: RuleSpec) -> SecurityGroupRule:
    """The row of a rule that has been checked."""
    return SecurityGroupRule(
        id=context.new_id(),
        security_group_id=group_id,
        project_id=project_id,
        description=spec.description,
        direction=spec.direction,
        ethertype=spec.ethertype,
        protocol=spec.protocol,
        port_range_min=spec.port_range_min,
        port_range_max=spec.port_range_max,
        remote_ip_prefix=spec.remote_ip_prefix,
        remote_group_id=spec.remote_group_id,
        fingerprint=fingerprint(spec),
        revision_number=0,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )


def fingerprint(spec: RuleSpec) -> str:
    """The same for rules that admit the same."""
    number = protocol_number(spec.protocol)
    prefix = spec.remote_ip_prefix
    parts = (
        spec.direction,
        spec.ethertype,
        number,
        spec.port_range_min,
        spec.port_range_max,
        None if prefix in ANYWHERE else prefix,
        spec.remote_group_id,
    )
    return "|".join("" if part is None else str(part) for part in parts)


def protocol_number(protocol: str | None) -> int | None:
    """The protocol's number, None for any."""
    if protocol is None:
        return None
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def check_rule(spec: RuleSpec) -> RuleSpec:
    """The rule in its canonical form. Raises NetworkInvalid for what can't be."""
    spec = _canonical(spec)
    _check_ports(spec)
    if spec.remote_ip_prefix is not None:
        spec = msgspec.structs.replace(spec, remote_ip_prefix=_check_prefix(spec.remote_ip_prefix, spec.ethertype))
    if spec.ethertype == "IPv4" and protocol_number(spec.protocol) in ONLY_IPV6:
        raise _refuse(
            "SecurityGroupEthertypeConflictWithProtocol",
            f"Invalid ethertype {spec.ethertype} for protocol {spec.protocol}.",
        )
    if spec.remote_ip_prefix and spec.remote_group_id:
        raise _refuse(
            "SecurityGroupMultipleRemoteEntites",
            "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.",
        )
    return spec


def _refuse(kind: str, message: str) -> NetworkInvalid:
    return NetworkInvalid(kind, message)


def _canonical(spec: RuleSpec) -> RuleSpec:
    if spec.ethertype == "IPv6" and spec.protocol in ICMP6_ALIASES:
        spec = msgspec.structs.replace(spec, protocol="ipv6-icmp")
    elif spec.ethertype == "IPv6" and spec.protocol == str(ICMP):
        spec = msgspec.structs.replace(spec, protocol=str(ICMP6))
    if (spec.port_range_min, spec.port_range_max) == (1, PORT_MOST):
        spec = msgspec.structs.replace(spec, port_range_min=None, port_range_max=None)
    return spec


def _check_ports(spec: RuleSpec) -> None:
    low, high = spec.port_range_min, spec.port_range_max
    if low is None and high is None:
        return
    number = protocol_number(spec.protocol)
    if number is None:
        raise _refuse("SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
    if number in WITH_PORTS:
        if low == 0 or high == 0:
            raise _refuse("SecurityGroupInvalidPortValue", "Invalid value for port 0")
        if low is None or high is None or low > high:
            raise _refuse(
                "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max"
            )
    elif number in (ICMP, ICMP6):
        _check_icmp(low, high)
    else:
        raise _refuse(
            "SecurityGroupInvalidProtocolForPort",
            f"Ports cannot be specified for protocol {number}."
            f" Ports are only supported for {', '.join(WITH_PORTS.values())}.",
        )


def _check_icmp(type_: int | None, code: int | None) -> None:
    for value, field, attribute in ((type_, "type", "port_range_min"), (code, "code", "port_range_max")):
        if value is not None and not 0 <= value <= 255:
            raise _refuse(
                "SecurityGroupInvalidIcmpValue",
                f"Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255.",
            )
    if type_ is None and code is not None:
        raise _refuse(
            "SecurityGroupMissingIcmpType",
            f"ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.",
        )


def _check_prefix(prefix: str, ethertype: str) -> str:
    """The prefix with its length, host bits as given."""
    try:
        interface = ipaddress.ip_interface(prefix)
    except ValueError as error:
        raise _refuse("InvalidCIDR", f"Invalid CIDR {prefix} given as IP prefix.") from error
    if ethertype != f"IPv{interface.version}":
        raise _refuse(
            "SecurityGroupRuleParameterConflict",
            f"Conflicting value ethertype {ethertype} for CIDR {prefix}",
        )
    return str(interface)
