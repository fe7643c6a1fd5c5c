"""Subnets, IPv4.

``cidr`` is fixed when a subnet is made; the rest may change, and ports keep the addresses that they have.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound, Unsupported
from ostro.model.wishes import HostRoute
from ostro.services.network.access import acting_project, get_visible_network, owns, require_owner
from ostro.services.network.addresses import pool_ranges, to_number, to_text, usable
from ostro.services.network.changes import bump, change, check_revision
from ostro.services.network.errors import NetworkConflict, NetworkInvalid, invalid_input
from ostro.services.network.ports import remove_port
from ostro.services.network.quotas import check_quota
from ostro.services.network.service_ports import add_service_ip, remove_service_ip
from ostro.services.network.wishes import rewish_network
from ostro.store.addresses import Range, find_address_owner
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS, Network
from ostro.store.paging import Page, list_page
from ostro.store.ports import PORTS, has_user_address, list_addressed_ports
from ostro.store.subnets import SUBNETS, Pool, Subnet, list_network_subnets, visible_to

DNS_MOST = 5
ROUTES_MOST = 20
ROUTER_OWNER_PREFIX = "network:router"
NEW = "new subnet"


class SubnetSpec(msgspec.Struct, frozen=True):
    """A subnet as it is asked for. ``gateway_ip`` None is none, ``"auto"`` the first address; ``allocation_pools`` None is all but it."""

    network_id: str
    cidr: str
    ip_version: int = 4
    project_id: str = ""
    name: str = ""
    description: str = ""
    gateway_ip: str | None = "auto"
    enable_dhcp: bool = True
    allocation_pools: list[Pool] | None = None
    dns_nameservers: list[str] = []
    host_routes: list[HostRoute] = []
    service_types: list[str] = []


def create_subnets(tx: Tx, context: Context, specs: Sequence[SubnetSpec]) -> list[Subnet]:
    """Make subnets, all or none. The first one with DHCP gives its network a service port."""
    return [_create_subnet(tx, context, spec) for spec in specs]


def _create_subnet(tx: Tx, context: Context, spec: SubnetSpec) -> Subnet:
    network = get_visible_network(tx, context, spec.network_id)
    require_owner(context, network.project_id, "create_subnet")
    project_id = acting_project(context, spec.project_id or network.project_id, "create_subnet:project_id")
    check_quota(tx, context, project_id, "subnet")
    cidr = _parse_cidr(spec)
    if spec.enable_dhcp:
        _check_dhcp(cidr)
    _check_overlap(tx, network, cidr)
    gateway_ip = _choose_gateway(cidr, spec.gateway_ip)
    subnet = Subnet(
        id=context.new_id(),
        network_id=network.id,
        project_id=project_id,
        name=spec.name,
        description=spec.description,
        ip_version=4,
        cidr=str(cidr),
        gateway_ip=gateway_ip,
        enable_dhcp=spec.enable_dhcp,
        allocation_pools=choose_pools(cidr, gateway_ip, spec.allocation_pools),
        dns_nameservers=_check_dns(spec.dns_nameservers),
        host_routes=_check_routes(spec.host_routes),
        service_types=spec.service_types,
        tags=[],
        revision_number=0,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    SUBNETS.insert(tx, subnet)
    if subnet.enable_dhcp:
        add_service_ip(tx, context, network, subnet)
    _network_changed(tx, context, network)
    return subnet


def _network_changed(tx: Tx, context: Context, network: Network) -> None:
    """The network shows its subnets, and hosts serve them."""
    bump(tx, context, NETWORKS, network.id)
    rewish_network(tx, network)


def _parse_cidr(spec: SubnetSpec) -> ipaddress.IPv4Network:
    try:
        cidr = ipaddress.ip_network(spec.cidr, strict=False)
    except ValueError as error:
        raise NetworkInvalid(
            "HTTPBadRequest", f"Invalid input for cidr. Reason: '{spec.cidr}' is not a valid IP subnet."
        ) from error
    if cidr.version != spec.ip_version:
        raise invalid_input(f"cidr '{spec.cidr}' does not match the ip_version '{spec.ip_version}'")
    if not isinstance(cidr, ipaddress.IPv4Network):
        raise Unsupported("IPv6 subnets are not implemented yet.")
    if cidr.prefixlen == 0:
        raise invalid_input("0 is not allowed as CIDR prefix length")
    return cidr


def _check_dhcp(cidr: ipaddress.IPv4Network) -> None:
    """Raise NetworkInvalid for a prefix that DHCP can't serve."""
    if cidr.prefixlen > 30:
        raise invalid_input("Subnet has a prefix length that is incompatible with DHCP service enabled")
    if cidr.is_multicast:
        raise invalid_input("Multicast IP subnet is not supported if enable_dhcp is True")
    if cidr.is_loopback:
        raise invalid_input("Loopback IP subnet is not supported if enable_dhcp is True")
    if int(cidr.network_address) == 0:
        raise invalid_input("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")


def _check_overlap(tx: Tx, network: Network, cidr: ipaddress.IPv4Network) -> None:
    for other in list_network_subnets(tx, network.id):
        if cidr.overlaps(ipaddress.IPv4Network(other.cidr)):
            raise invalid_input(
                f"Requested subnet with cidr: {cidr} for network: {network.id} overlaps with another subnet"
            )


def _choose_gateway(cidr: ipaddress.IPv4Network, requested: str | None) -> str:
    """The gateway, empty for none. One outside the prefix is allowed, as in Neutron."""
    if requested is None:
        return ""
    if requested == "auto":
        return to_text(int(cidr.network_address) + 1)
    gateway = _parse_address("gateway_ip", requested)
    if cidr.prefixlen <= 30 and gateway in (cidr.network_address, cidr.broadcast_address):
        raise invalid_input("Gateway is not valid on subnet")
    return str(gateway)


def _parse_address(name: str, text: str) -> ipaddress.IPv4Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise NetworkInvalid(
            "HTTPBadRequest", f"Invalid input for {name}. Reason: '{text}' is not a valid IP address."
        ) from error
    if not isinstance(address, ipaddress.IPv4Address):
        raise invalid_input(f"{name} '{text}' does not match the ip_version '4'")
    return address


def choose_pools(cidr: ipaddress.IPv4Network, gateway_ip: str, requested: list[Pool] | None) -> list[Pool]:
    """The pools of a subnet: those asked for, or every address but the gateway. Raises NetworkInvalid, NetworkConflict."""
    if requested is None:
        return _default_pools(cidr, gateway_ip)
    ranges = [_parse_pool(pool) for pool in requested]
    within = usable(str(cidr))
    for r in ranges:
        if r.first < within.first or r.last > within.last:
            raise NetworkInvalid(
                "OutOfBoundsAllocationPool",
                f"The allocation pool {_show(r)} spans beyond the subnet cidr {cidr}.",
            )
    ranges.sort(key=lambda r: r.first)
    for low, high in pairwise(ranges):
        if high.first <= low.last:
            raise NetworkConflict(
                "OverlappingAllocationPools",
                f"Found overlapping allocation pools: {_show(low)} {_show(high)} for subnet {cidr}.",
            )
    _check_gateway(gateway_ip, ranges)
    return [Pool(to_text(r.first), to_text(r.last)) for r in ranges]


def _check_gateway(gateway_ip: str, ranges: Sequence[Range]) -> None:
    """Raise NetworkConflict for a gateway that could be given to a port."""
    if not gateway_ip:
        return
    gateway = to_number(gateway_ip)
    for r in ranges:
        if r.first <= gateway <= r.last:
            raise NetworkConflict(
                "GatewayConflictWithAllocationPools",
                f"Gateway ip {gateway_ip} conflicts with allocation pool {_show(r)}.",
            )


def _show(r: Range) -> str:
    return f"{to_text(r.first)}-{to_text(r.last)}"


def _parse_pool(pool: Pool) -> Range:
    first, last = (int(_parse_address("allocation_pools", end)) for end in (pool.start, pool.end))
    if first > last:
        raise NetworkInvalid("InvalidAllocationPool", f"The allocation pool {pool.start}-{pool.end} is not valid.")
    return Range(first, last)


def _default_pools(cidr: ipaddress.IPv4Network, gateway_ip: str) -> list[Pool]:
    whole = usable(str(cidr))
    gateway = to_number(gateway_ip) if gateway_ip and cidr.num_addresses > 1 else -1
    if not whole.first <= gateway <= whole.last:
        return [Pool(to_text(whole.first), to_text(whole.last))]
    parts = (Range(whole.first, gateway - 1), Range(gateway + 1, whole.last))
    return [Pool(to_text(r.first), to_text(r.last)) for r in parts if r.size > 0]


def _check_dns(servers: Sequence[str], subnet_id: str = NEW) -> list[str]:
    if len(servers) > DNS_MOST:
        raise NetworkInvalid(
            "DNSNameServersExhausted",
            f"Unable to complete operation for {subnet_id}. The number of DNS nameservers exceeds the limit {DNS_MOST}.",
        )
    if len(set(servers)) != len(servers):
        raise NetworkInvalid("HTTPBadRequest", "Invalid input for dns_nameservers. Reason: Duplicate nameserver.")
    return [str(_parse_address("dns_nameserver", server)) for server in servers]


def _check_routes(routes: Sequence[HostRoute], subnet_id: str = NEW) -> list[HostRoute]:
    if len(routes) > ROUTES_MOST:
        raise NetworkInvalid(
            "HostRoutesExhausted",
            f"Unable to complete operation for {subnet_id}. The number of host routes exceeds the limit {ROUTES_MOST}.",
        )
    checked = []
    for route in routes:
        try:
            destination = ipaddress.ip_network(route.destination, strict=False)
        except ValueError as error:
            raise NetworkInvalid(
                "HTTPBadRequest",
                f"Invalid input for host_routes. Reason: '{route.destination}' is not a valid IP subnet.",
            ) from error
        if destination.version != 4:
            raise invalid_input(f"destination '{route.destination}' does not match the ip_version '4'")
        checked.append(HostRoute(str(destination), str(_parse_address("nexthop", route.nexthop))))
    if len(set(checked)) != len(checked):
        raise NetworkInvalid("HTTPBadRequest", "Invalid input for host_routes. Reason: Duplicate hostroute.")
    return checked


def list_subnets(tx: Tx, context: Context, page: Page) -> list[Subnet]:
    """One page of subnets."""
    scope = () if context.is_admin else (visible_to(context.project_id),)
    return list_page(tx, SUBNETS, page.with_filters(*scope))


def get_subnet(tx: Tx, context: Context, subnet_id: str) -> Subnet:
    """A subnet that the actor sees, by itself or by its network. Raises NotFound."""
    subnet = SUBNETS.get(tx, subnet_id)
    if not owns(context, subnet.project_id):
        network = NETWORKS.get(tx, subnet.network_id)
        if not network.shared and network.project_id != context.project_id:
            raise NotFound("subnet", subnet_id)
    return subnet


def _own_subnet(tx: Tx, context: Context, subnet_id: str, rule: str) -> tuple[Subnet, Network]:
    subnet = get_subnet(tx, context, subnet_id)
    network = NETWORKS.get(tx, subnet.network_id)
    if not owns(context, subnet.project_id):
        require_owner(context, network.project_id, rule)
    return subnet, network


def update_subnet(
    tx: Tx, context: Context, subnet_id: str, changes: dict[str, Any], expected_revision: int | None = None
) -> Subnet:
    """Change a subnet. ``gateway_ip`` None takes the gateway away."""
    subnet, network = _own_subnet(tx, context, subnet_id, "update_subnet")
    check_revision(subnet, expected_revision)
    cidr = ipaddress.IPv4Network(subnet.cidr)
    _check_changes(tx, subnet, cidr, changes)
    if changes.get("enable_dhcp") and not subnet.enable_dhcp:
        _check_dhcp(cidr)
    changed = change(tx, SUBNETS, subnet, context.now_us, changes)
    if changed == subnet:
        return subnet
    if changed.enable_dhcp and not subnet.enable_dhcp:
        add_service_ip(tx, context, network, changed)
    if subnet.enable_dhcp and not changed.enable_dhcp:
        remove_service_ip(tx, context, subnet)
    rewish_network(tx, network)
    return changed


def _check_changes(tx: Tx, subnet: Subnet, cidr: ipaddress.IPv4Network, changes: dict[str, Any]) -> None:
    """Bring changed values into the form of the row; raise for those that can't be."""
    if "dns_nameservers" in changes:
        changes["dns_nameservers"] = _check_dns(changes["dns_nameservers"], subnet.id)
    if "host_routes" in changes:
        changes["host_routes"] = _check_routes(changes["host_routes"], subnet.id)
    if "gateway_ip" in changes:
        changes["gateway_ip"] = _choose_gateway(cidr, changes["gateway_ip"])
        if changes["gateway_ip"] != subnet.gateway_ip:
            _check_gateway_free(tx, subnet)
    gateway_ip = changes.get("gateway_ip", subnet.gateway_ip)
    if "allocation_pools" in changes:
        changes["allocation_pools"] = choose_pools(cidr, gateway_ip, changes["allocation_pools"])
    elif gateway_ip != subnet.gateway_ip:
        _check_gateway(gateway_ip, pool_ranges(subnet.allocation_pools))


def _check_gateway_free(tx: Tx, subnet: Subnet) -> None:
    """Raise NetworkConflict while a router has the gateway's address."""
    if not subnet.gateway_ip:
        return
    owner = find_address_owner(tx, subnet.id, to_number(subnet.gateway_ip))
    port = PORTS.find(tx, id=owner) if owner else None
    if port is not None and port.device_owner.startswith(ROUTER_OWNER_PREFIX):
        raise NetworkConflict(
            "GatewayIpInUse",
            f"Current gateway ip {subnet.gateway_ip} already in use by port {port.id}. Unable to update.",
        )


def delete_subnet(tx: Tx, context: Context, subnet_id: str, expected_revision: int | None = None) -> None:
    """Delete a subnet. Raises NetworkConflict while a user's port has an address of it."""
    subnet, network = _own_subnet(tx, context, subnet_id, "delete_subnet")
    check_revision(subnet, expected_revision)
    if has_user_address(tx, subnet_id):
        raise NetworkConflict(
            "SubnetInUse",
            f"Unable to complete operation on subnet {subnet_id}:"
            " One or more ports have an IP allocation from this subnet.",
        )
    remove_service_ip(tx, context, subnet)
    for port in list_addressed_ports(tx, subnet_id):
        remove_port(tx, port)
    SUBNETS.delete(tx, subnet_id)
    _network_changed(tx, context, network)
