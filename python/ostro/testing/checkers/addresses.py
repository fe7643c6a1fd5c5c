"""Addresses: each belongs to one port, ports show exactly what they hold, and no two ports of a network have one MAC."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from ostro.services.network.addresses import to_number
from ostro.store.database import Tx
from ostro.store.ports import PORTS
from ostro.store.subnets import SUBNETS


def check_addresses(tx: Tx, now_us: int) -> list[str]:
    """See `ostro.testing.checkers`."""
    subnets = {subnet.id: ip_network(subnet.cidr) for subnet in SUBNETS.list(tx, order="id")}
    held = {(row[0], int(row[1])): row[2] for row in tx.all("SELECT subnet_id, address, port_id FROM addresses")}
    complaints: list[str] = []
    shown: dict[tuple[str, int], str] = {}
    macs: dict[tuple[str, str], str] = {}
    for port in PORTS.list(tx, order="id"):
        other = macs.setdefault((port.network_id, port.mac_address), port.id)
        if other != port.id:
            complaints.append(f"ports {other} and {port.id} have the same MAC {port.mac_address}")
        for fixed in port.fixed_ips:
            net, address = subnets.get(fixed.subnet_id), ip_address(fixed.ip)
            if net is None or address not in net:
                complaints.append(f"{fixed.ip} of port {port.id} is not in its subnet")
                continue
            key = (fixed.subnet_id, to_number(fixed.ip))
            if shown.setdefault(key, port.id) != port.id:
                complaints.append(f"ports {shown[key]} and {port.id} have the same address {fixed.ip}")
    for key in sorted({*shown, *held}):
        if shown.get(key) != held.get(key):
            complaints.append(f"address {key} is shown by {shown.get(key)} and held by {held.get(key)}")
    return complaints
