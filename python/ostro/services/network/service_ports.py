"""A network's own port: the addresses of DHCP and metadata.

A network with a subnet that has DHCP has one port of owner ``network:distributed``, as OVN has. It is bound nowhere, because every
host that has the network answers for it: its MAC address is the network's ``service_mac`` and its addresses are the subnets'
``service_ip``. It comes and goes with the subnets and keeps their addresses from being given to anybody else.
"""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.wishes import FixedIp
from ostro.services.network.addresses import pool_ranges, to_number, to_text
from ostro.services.network.errors import subnet_exhausted
from ostro.services.network.ports import DOWN
from ostro.store.addresses import claim_address, find_free, release_address
from ostro.store.database import Tx
from ostro.store.networks import Network
from ostro.store.ports import DISTRIBUTED_OWNER, PORTS, SERVICE_DEVICE_PREFIX, Port, find_service_port, insert_ports
from ostro.store.subnets import Subnet


def add_service_ip(tx: Tx, context: Context, network: Network, subnet: Subnet) -> None:
    """Give the subnet an address of DHCP: the lowest that is free. Raises NetworkConflict when none is."""
    port = find_service_port(tx, network.id) or _insert_port(tx, context, network)
    if any(fixed.subnet_id == subnet.id for fixed in port.fixed_ips):
        return
    ranges = pool_ranges(subnet.allocation_pools)
    address = find_free(tx, subnet.id, ranges, 0) if ranges else None
    if address is None or not claim_address(tx, subnet.id, address, port.id):
        raise subnet_exhausted(subnet.id)
    _set_addresses(tx, port, [*port.fixed_ips, FixedIp(subnet.id, to_text(address))], context.now_us)


def _insert_port(tx: Tx, context: Context, network: Network) -> Port:
    port = Port(
        id=context.new_id(),
        network_id=network.id,
        project_id=network.project_id,
        name="",
        description="",
        mac_address=network.service_mac,
        admin_state_up=True,
        status=DOWN,
        device_id=SERVICE_DEVICE_PREFIX + network.id,
        device_owner=DISTRIBUTED_OWNER,
        fixed_ips=[],
        security_groups=[],
        address_pairs=[],
        port_security_enabled=False,
        binding_host="",
        host_id="",
        vnic_type="normal",
        binding_profile={},
        hostname="",
        nic_index=0,
        owned_by_server=False,
        nic_tag="",
        tags=[],
        revision_number=1,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    written = insert_ports(tx, [port], lambda: network.service_mac)
    assert written, "no other port of the network may take its service address"
    return port


def remove_service_ip(tx: Tx, context: Context, subnet: Subnet) -> None:
    """The subnet has no DHCP any more, or is going. The port goes with its last address."""
    port = find_service_port(tx, subnet.network_id)
    if port is None:
        return
    left = [fixed for fixed in port.fixed_ips if fixed.subnet_id != subnet.id]
    for fixed in port.fixed_ips:
        if fixed.subnet_id == subnet.id:
            release_address(tx, subnet.id, to_number(fixed.ip), port.id)
    if left:
        _set_addresses(tx, port, left, context.now_us)
    else:
        PORTS.delete(tx, port.id)


def _set_addresses(tx: Tx, port: Port, fixed_ips: list[FixedIp], now_us: int) -> None:
    if fixed_ips != port.fixed_ips:
        PORTS.update(tx, port.id, fixed_ips=fixed_ips, revision_number=port.revision_number + 1, updated_at_us=now_us)
