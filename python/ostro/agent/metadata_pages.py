"""The pages of the metadata service, made from wishes. Pure but for the random seed that each reader gets afresh."""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network

import msgspec

from ostro.model.wishes import NetworkWish, PortWish, ServerWish, SubnetWish

Directory = dict[str, "Directory | bytes"]

DOMAIN = "novalocal"
"""What Nova appends to host names; images and scripts know it."""
EC2_VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
)
SEED_BYTES = 512
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BYTES = "application/octet-stream"


class Guest(msgspec.Struct, frozen=True):
    """A server with its ports, in the order of its cards, and their networks by id."""

    server: ServerWish
    ports: Sequence[PortWish] = ()
    networks: dict[str, NetworkWish] = {}


class Page(msgspec.Struct, frozen=True):
    """An answer."""

    body: bytes
    content_type: str


def page(guest: Guest, path: str, rng: random.Random) -> Page | None:
    """The page at ``path``, None if there is none. Doubled and trailing slashes don't matter, as with Nova."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case []:
            return _listing([*EC2_VERSIONS, "latest"])
        case ["openstack"]:
            return _listing([*OPENSTACK_VERSIONS, "latest"])
        case ["openstack", version, *rest] if version == "latest" or version in OPENSTACK_VERSIONS:
            return _openstack(guest, rest, rng)
        case [version, *rest] if version == "latest" or version in EC2_VERSIONS:
            return _ec2(guest, rest)
    return None


def _listing(names: Sequence[str]) -> Page:
    return Page("\n".join(names).encode(), TEXT)


def _user_data(guest: Guest) -> bytes | None:
    return base64.b64decode(guest.server.user_data) if guest.server.user_data else None


def _hostname(guest: Guest) -> str:
    return f"{guest.server.hostname}.{DOMAIN}"


# ---- EC2 -----------------------------------------------------------------------------------------------------------


def _ec2(guest: Guest, parts: Sequence[str]) -> Page | None:
    user_data = _user_data(guest)
    match parts:
        case []:
            return _listing(["meta-data/"] + (["user-data"] if user_data is not None else []))
        case ["user-data"]:
            return Page(user_data, BYTES) if user_data is not None else None
        case ["meta-data", "public-keys"] if guest.server.keys:
            return _listing([f"{index}={key.name}" for index, key in enumerate(guest.server.keys)])
        case ["meta-data", *rest]:
            return _descend(_ec2_tree(guest), rest)
    return None


def _descend(tree: Directory, parts: Sequence[str]) -> Page | None:
    """Walk down the tree; a directory is shown as a listing, in which directories end with a slash."""
    node: Directory | bytes = tree
    for part in parts:
        found = node.get(part) if isinstance(node, dict) else None
        if found is None:
            return None
        node = found
    if isinstance(node, bytes):
        return Page(node, TEXT)
    return _listing([f"{name}/" if isinstance(child, dict) else name for name, child in sorted(node.items())])


def _ec2_tree(guest: Guest) -> Directory:
    server = guest.server
    address = next((ip.ip for port in guest.ports for ip in port.fixed_ips if ip_interface(ip.ip).version == 4), "")
    hostname = _hostname(guest).encode()
    tree: Directory = {
        "ami-id": _ec2_id("ami", server.image_id),
        "ami-launch-index": b"0",
        "block-device-mapping": {"ami": b"vda", "root": b"/dev/vda"},
        "hostname": hostname,
        "instance-action": b"none",
        "instance-id": _ec2_id("i", server.id),
        "local-hostname": hostname,
        "local-ipv4": address.encode(),
        "placement": {"availability-zone": server.availability_zone.encode()},
        "public-hostname": hostname,
        "public-ipv4": b"",
        "reservation-id": _ec2_id("r", server.id),
        "security-groups": b"",
    }
    if server.keys:
        tree["public-keys"] = {str(i): {"openssh-key": key.public_key.encode()} for i, key in enumerate(server.keys)}
    return tree


def _ec2_id(prefix: str, uuid: str) -> bytes:
    """EC2 ids have eight digits: the first of the UUID's."""
    return f"{prefix}-{uuid.replace('-', '')[:8] or '00000000'}".encode()


# ---- OpenStack -----------------------------------------------------------------------------------------------------


def _openstack(guest: Guest, parts: Sequence[str], rng: random.Random) -> Page | None:
    user_data = _user_data(guest)
    match parts:
        case []:
            names = ["meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json"]
            return _listing(sorted([*names, "user_data"] if user_data is not None else names))
        case ["meta_data.json"]:
            return _json(_meta_data(guest, rng))
        case ["network_data.json"]:
            return _json(network_data(guest))
        case ["vendor_data.json" | "vendor_data2.json"]:
            return _json({})
        case ["user_data"] if user_data is not None:
            return Page(user_data, BYTES)
    return None


def _json(document: object) -> Page:
    return Page(msgspec.json.encode(document), JSON)


def _meta_data(guest: Guest, rng: random.Random) -> dict[str, object]:
    server = guest.server
    document: dict[str, object] = {
        "uuid": server.id,
        "name": server.name,
        "hostname": _hostname(guest),
        "project_id": server.project_id,
        "availability_zone": server.availability_zone,
        "launch_index": 0,
        "random_seed": base64.b64encode(rng.randbytes(SEED_BYTES)).decode(),
        "devices": [],
        "dedicated_cpus": [],
    }
    if server.metadata:
        document["meta"] = server.metadata
    if server.keys:
        document["public_keys"] = {key.name: key.public_key for key in server.keys}
        document["keys"] = [{"name": key.name, "type": "ssh", "data": key.public_key} for key in server.keys]
    return document


def network_data(guest: Guest) -> dict[str, object]:
    """OpenStack's network_data.json: a link for each card, and what is to be configured on it."""
    links: list[object] = []
    networks: list[object] = []
    services: list[dict[str, str]] = []
    for port in guest.ports:
        network = guest.networks.get(port.network_id)
        links.append(
            {
                "id": port.tap,
                "vif_id": port.id,
                "type": "ovs",
                "mtu": network.mtu if network else None,
                "ethernet_mac_address": port.mac,
            }
        )
        subnets = {subnet.id: subnet for subnet in network.subnets} if network else {}
        for fixed in port.fixed_ips:
            subnet = subnets.get(fixed.subnet_id)
            if subnet is None:
                continue
            networks.append(_network(f"network{len(networks)}", port, fixed.ip, subnet))
            services += [{"type": "dns", "address": address} for address in subnet.dns]
    return {"links": links, "networks": networks, "services": services}


def _network(name: str, port: PortWish, ip: str, subnet: SubnetWish) -> dict[str, object]:
    net = ip_network(subnet.cidr)
    family = f"ipv{net.version}"
    document: dict[str, object] = {"id": name, "link": port.tap, "network_id": port.network_id}
    if subnet.dhcp and net.version == 4:
        return {**document, "type": "ipv4_dhcp"}
    routes = [_route(route.destination, route.nexthop) for route in subnet.host_routes]
    if subnet.gateway_ip:
        routes.insert(0, _route("0.0.0.0/0" if net.version == 4 else "::/0", subnet.gateway_ip))
    dns = [{"type": "dns", "address": address} for address in subnet.dns]
    return {
        **document,
        "type": family,
        "ip_address": ip,
        "netmask": str(net.netmask),
        "routes": routes,
        "services": dns,
    }


def _route(destination: str, gateway: str) -> dict[str, str]:
    net = ip_network(destination)
    return {"network": str(net.network_address), "netmask": str(net.netmask), "gateway": gateway}
