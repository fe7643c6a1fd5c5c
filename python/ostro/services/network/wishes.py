"""What hosts must do about networks: the wishes of the network nouns, and when they change.

A host is wished **ports** that are bound to it; the **network** of each of them; every **security group** that one of them
uses; and as **peers** the ports of those networks that are bound to other hosts. A port that is **arriving** with its server is wished there
too, shut, so that its tap is there when the server is, and as a peer like anywhere else until it is bound. The functions here are called with rows as
they are after a change, and set or withdraw exactly what the change touches. `rewish_host` computes a host's whole list
afresh and must never find anything to change; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from ostro.model.errors import NotFound
from ostro.model.wishes import (
    NetworkWish,
    Noun,
    PeerWish,
    PortWish,
    RuleWish,
    SecurityGroupWish,
    Segment,
    SubnetWish,
)
from ostro.services.network.rules import protocol_number
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.networks import NETWORKS, Network
from ostro.store.ports import (
    COMPUTE_OWNER,
    PORTS,
    Port,
    find_service_port,
    is_group_on_host,
    is_network_on_host,
    list_bound_ports,
    list_remote_ports,
)
from ostro.store.security_group_rules import SecurityGroupRule, map_group_rules
from ostro.store.security_groups import SECURITY_GROUPS, SecurityGroup, list_group_hosts
from ostro.store.subnets import Subnet, list_network_subnets
from ostro.store.wishes import (
    add_wish,
    find_wished,
    foresee_hosts_wishing,
    foresee_wished,
    hosts_wishing,
    list_wished,
    set_wish,
    wish_absence,
)

TAP_PREFIX = "tap"
TAP_ID_CHARS = 11
"""Link names have 15 characters at most."""
NETWORK_NOUNS = (Noun.NETWORK, Noun.SECURITY_GROUP, Noun.PORT, Noun.PEER)


def tap_name(port_id: str) -> str:
    """The link device of a port."""
    return TAP_PREFIX + port_id[:TAP_ID_CHARS]


def make_network_wish(network: Network, subnets: Sequence[Subnet], service_port: Port | None) -> NetworkWish:
    """A network as a host sees it."""
    service_ips = {f.subnet_id: f.ip for f in service_port.fixed_ips} if service_port else {}
    return NetworkWish(
        id=network.id,
        name=network.name,
        segment=Segment(network.network_type, network.segmentation_id or 0, network.physical_network),
        mtu=network.mtu,
        service_mac=network.service_mac,
        subnets=[
            SubnetWish(
                id=s.id,
                cidr=s.cidr,
                gateway_ip=s.gateway_ip,
                dhcp=s.enable_dhcp,
                service_ip=service_ips.get(s.id, ""),
                dns=s.dns_nameservers,
                host_routes=s.host_routes,
            )
            for s in subnets
        ],
    )


def _filtered_protocol(protocol: str | None) -> str:
    """The protocol that hosts match, empty for any. Number 0 (``ip``, ``hopopt``) is any, as it is to iptables under Neutron."""
    return protocol if protocol is not None and protocol_number(protocol) else ""


def make_group_wish(group: SecurityGroup, rules: Iterable[SecurityGroupRule]) -> SecurityGroupWish:
    """A security group as a host sees it."""
    return SecurityGroupWish(
        id=group.id,
        name=group.name,
        stateful=group.stateful,
        rules=[
            RuleWish(
                id=r.id,
                direction=r.direction,
                ethertype=r.ethertype,
                protocol=_filtered_protocol(r.protocol),
                port_min=-1 if r.port_range_min is None else r.port_range_min,
                port_max=-1 if r.port_range_max is None else r.port_range_max,
                remote_ip_prefix=r.remote_ip_prefix or "",
                remote_group_id=r.remote_group_id or "",
            )
            for r in rules
        ],
    )


def make_port_wish(port: Port, network_up: bool, *, arriving: bool = False) -> PortWish:
    """A port as its host sees it, or the host where it arrives: there it is shut."""
    return PortWish(
        id=port.id,
        network_id=port.network_id,
        project_id=port.project_id,
        mac=port.mac_address,
        tap=tap_name(port.id),
        fixed_ips=port.fixed_ips,
        security_groups=port.security_groups,
        address_pairs=port.address_pairs,
        port_security=port.port_security_enabled,
        admin_up=port.admin_state_up and network_up and not arriving,
        server_id=port.device_id if port.device_owner.startswith(COMPUTE_OWNER) else "",
        hostname=port.hostname,
    )


def make_peer_wish(port: Port, tunnel_ip: str) -> PeerWish:
    """A port as other hosts see it."""
    return PeerWish(
        id=port.id,
        network_id=port.network_id,
        mac=port.mac_address,
        tunnel_ip=tunnel_ip,
        ips=[f.ip for f in port.fixed_ips],
        security_groups=port.security_groups,
        address_pairs=port.address_pairs,
    )


def _wish_network_on(tx: Tx, network: Network, host_ids: Iterable[str]) -> None:
    wish = make_network_wish(network, list_network_subnets(tx, network.id), find_service_port(tx, network.id))
    for host_id in host_ids:
        set_wish(tx, host_id, Noun.NETWORK, network.id, wish)


def _wish_group_on(tx: Tx, group_id: str, host_ids: Iterable[str]) -> None:
    group = SECURITY_GROUPS.get(tx, group_id)
    wish = make_group_wish(group, map_group_rules(tx, [group_id])[group_id])
    for host_id in host_ids:
        set_wish(tx, host_id, Noun.SECURITY_GROUP, group_id, wish)


def _tunnel_ips(tx: Tx, host_ids: Iterable[str]) -> dict[str, str]:
    return {host.id: host.tunnel_ip for host in HOSTS.list(tx, id=sorted(set(host_ids)))}


def place_port(tx: Tx, port: Port, network: Network, *, new: bool = False) -> None:
    """The port is now bound to ``port.host_id``: wish it there with all it needs, and tell its peers. No host has heard of a ``new`` one."""
    assert port.host_id, "the port is bound"
    _wish_needed(tx, port, network, port.host_id)
    put = add_wish if new else set_wish
    put(tx, port.host_id, Noun.PORT, port.id, make_port_wish(port, network.admin_state_up))
    _wish_peer(tx, port, put)
    if port.arriving_host_id:
        expect_port(tx, port, network)


def expect_port(tx: Tx, port: Port, network: Network) -> None:
    """The port is arriving at ``port.arriving_host_id``: wish it there, shut, with all it needs."""
    host_id = port.arriving_host_id
    _wish_needed(tx, port, network, host_id)
    set_wish(tx, host_id, Noun.PORT, port.id, make_port_wish(port, network.admin_state_up, arriving=True))


def switch_port(tx: Tx, port: Port, network: Network, left_host_id: str) -> None:
    """The port has arrived at ``port.host_id`` (its row says so): open it there, and tell its peers and the host that it has left."""
    place_port(tx, port, network)
    wish_absence(tx, port.host_id, Noun.PEER, port.id)
    withdraw_port(tx, port, left_host_id)


def _needed(network_id: str, group_ids: Sequence[str]) -> list[tuple[Noun, str]]:
    return [(Noun.NETWORK, network_id), *((Noun.SECURITY_GROUP, group_id) for group_id in group_ids)]


def foresee_placing(tx: Tx, host_id: str, network_id: str, group_ids: Sequence[str]) -> None:
    """``place_port`` will be called for a new port of these groups (``Tx.foresee``)."""
    foresee_wished(tx, host_id, _needed(network_id, group_ids))
    foresee_hosts_wishing(tx, Noun.NETWORK, network_id)


def _wish_needed(tx: Tx, port: Port, network: Network, host_id: str) -> None:
    """Wish what the port needs of a host, unless it is wished there already."""
    wished = find_wished(tx, host_id, _needed(network.id, port.security_groups))
    if (Noun.NETWORK, network.id) not in wished:
        _wish_network_on(tx, network, [host_id])
        remote = list_remote_ports(tx, network.id, host_id)
        tunnel_ips = _tunnel_ips(tx, (p.host_id for p in remote)) if remote else {}
        for peer in remote:
            set_wish(tx, host_id, Noun.PEER, peer.id, make_peer_wish(peer, tunnel_ips[peer.host_id]))
    for group_id in port.security_groups:
        if (Noun.SECURITY_GROUP, group_id) not in wished:
            _wish_group_on(tx, group_id, [host_id])


def _wish_peer(tx: Tx, port: Port, put: Callable[[Tx, str, Noun, str, PeerWish], object]) -> None:
    """Tell the other hosts of the network about the port."""
    others = [h for h in hosts_wishing(tx, Noun.NETWORK, port.network_id) if h != port.host_id]
    if not others:
        return
    wish = make_peer_wish(port, _tunnel_ips(tx, [port.host_id])[port.host_id])
    for host_id in others:
        put(tx, host_id, Noun.PEER, port.id, wish)


def displace_port(tx: Tx, port: Port) -> None:
    """The port was bound to ``port.host_id`` and is no more (its row says so, or is gone): withdraw what only it needed."""
    assert port.host_id, "the port was bound"
    for other_id in hosts_wishing(tx, Noun.PEER, port.id):
        wish_absence(tx, other_id, Noun.PEER, port.id)
    for host_id in filter(None, (port.host_id, port.arriving_host_id)):
        withdraw_port(tx, port, host_id)


def withdraw_port(tx: Tx, port: Port, host_id: str) -> None:
    """The port is not on this host any more, nor arriving there (its row says so, or is gone): withdraw what only it needed there."""
    wish_absence(tx, host_id, Noun.PORT, port.id)
    withdraw_groups(tx, host_id, port.security_groups)
    if is_network_on_host(tx, port.network_id, host_id):
        return
    wish_absence(tx, host_id, Noun.NETWORK, port.network_id)
    for peer in list_remote_ports(tx, port.network_id, host_id):
        wish_absence(tx, host_id, Noun.PEER, peer.id)


def withdraw_groups(tx: Tx, host_id: str, group_ids: Iterable[str]) -> None:
    """Withdraw those of the groups that no port of the host uses any more."""
    for group_id in group_ids:
        if not is_group_on_host(tx, group_id, host_id):
            wish_absence(tx, host_id, Noun.SECURITY_GROUP, group_id)


def rewish_port(tx: Tx, port: Port, network: Network) -> None:
    """What a bound port says has changed, but not where it is."""
    if port.host_id:
        place_port(tx, port, network)


def rewish_network(tx: Tx, network: Network) -> None:
    """The network, its subnets or its service port have changed."""
    host_ids = hosts_wishing(tx, Noun.NETWORK, network.id)
    if host_ids:
        _wish_network_on(tx, network, host_ids)


def rewish_network_ports(tx: Tx, network: Network) -> None:
    """The network's own state, which is part of its ports' wishes, has changed."""
    for port in list_bound_ports(tx, network.id):
        set_wish(tx, port.host_id, Noun.PORT, port.id, make_port_wish(port, network.admin_state_up))


def rewish_group(tx: Tx, group_id: str) -> None:
    """The group or its rules have changed."""
    host_ids = list_group_hosts(tx, group_id)
    if host_ids:
        _wish_group_on(tx, group_id, host_ids)


def compute_wishes(tx: Tx, host_id: str) -> dict[tuple[Noun, str], msgspec.Struct]:
    """Everything of the network nouns that the host must do, from the rows alone."""
    wishes: dict[tuple[Noun, str], msgspec.Struct] = {}
    bound = PORTS.list(tx, host_id=host_id, order="id")
    arriving = PORTS.list(tx, arriving_host_id=host_id, order="id")
    ports = [*bound, *arriving]
    networks = NETWORKS.by_key(NETWORKS.list(tx, id=sorted({p.network_id for p in ports}))) if ports else {}
    for network in networks.values():
        wishes[Noun.NETWORK, network.id] = make_network_wish(
            network, list_network_subnets(tx, network.id), find_service_port(tx, network.id)
        )
        remote = list_remote_ports(tx, network.id, host_id)
        tunnel_ips = _tunnel_ips(tx, (p.host_id for p in remote)) if remote else {}
        wishes.update({(Noun.PEER, p.id): make_peer_wish(p, tunnel_ips[p.host_id]) for p in remote})
    wishes.update({(Noun.PORT, p.id): make_port_wish(p, networks[p.network_id].admin_state_up) for p in bound})
    wishes.update({(Noun.PORT, p.id): make_port_wish(p, True, arriving=True) for p in arriving})
    group_ids = sorted({group_id for p in ports for group_id in p.security_groups})
    rules = map_group_rules(tx, group_ids)
    for group_id in group_ids:
        wishes[Noun.SECURITY_GROUP, group_id] = make_group_wish(SECURITY_GROUPS.get(tx, group_id), rules[group_id])
    return wishes


def rewish_host(tx: Tx, host_id: str) -> int:
    """Set the host's whole list of network wishes; how many were wrong. 0 unless something else wrote them.

    Raises NotFound for a host that is not there.
    """
    if HOSTS.find(tx, id=host_id) is None:
        raise NotFound("host", host_id)
    wanted = compute_wishes(tx, host_id)
    before = {(w.noun, w.id): (w.generation, w.body is not None) for w in list_wished(tx, host_id, NETWORK_NOUNS)}
    wrong = 0
    for (noun, id_), wish in wanted.items():
        generation = set_wish(tx, host_id, noun, id_, wish)
        wrong += before.get((noun, id_), (0, False))[0] != generation
    for (noun, id_), (_, present) in before.items():
        if present and (noun, id_) not in wanted:
            wish_absence(tx, host_id, noun, id_)
            wrong += 1
    return wrong


def rewish_tunnel(tx: Tx, host_id: str) -> None:
    """The host's tunnel address has changed: tell the hosts that reach its ports by it."""
    tunnel_ip = HOSTS.get(tx, host_id).tunnel_ip
    for port in PORTS.list(tx, host_id=host_id, order="id"):
        for other_id in hosts_wishing(tx, Noun.PEER, port.id):
            set_wish(tx, other_id, Noun.PEER, port.id, make_peer_wish(port, tunnel_ip))
