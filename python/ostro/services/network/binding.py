"""Compute's side of the network: the NICs of servers.

Compute calls these functions inside its own transactions, so a server and its ports are made, moved and deleted together. A port that was
made here belongs to its server and goes with it; one that the user made is only lent, and is unbound when the server is done with
it. The state of a port is otherwise the network service's alone.

Errors carry Compute's words, because it is Compute's user who reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound, QuotaExceeded
from ostro.model.wishes import FixedIp
from ostro.services.network.access import may_use_network, owns
from ostro.services.network.addresses import WantedIp
from ostro.services.network.default_groups import DEFAULT_NAME
from ostro.services.network.errors import NetworkConflict
from ostro.services.network.ports import DOWN, PortSpec, Sources, create_ports, remove_port
from ostro.services.network.wishes import TAP_PREFIX as TAP_PREFIX
from ostro.services.network.wishes import displace_port, expect_port, place_port, switch_port, withdraw_port
from ostro.services.network.wishes import tap_name as tap_name
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.networks import NETWORKS, Network, list_project_networks
from ostro.store.ports import COMPUTE_OWNER, PORTS, Port, ask_named_ports, list_device_ports
from ostro.store.subnets import list_network_subnets

MIGRATING_TO = "migrating_to"
"""What a port's binding profile says while its server moves, as under Nova."""


class RequestedNic(msgspec.Struct, frozen=True):
    """One NIC as POST /servers asks for it: a network (and perhaps an address on it), or a port that exists."""

    network_id: str = ""
    port_id: str = ""
    fixed_ip: str = ""
    tag: str = ""


class PortView(msgspec.Struct, frozen=True):
    """A server's NIC, for ``addresses`` and os-interface."""

    port_id: str
    server_id: str
    network_id: str
    network_name: str
    mac: str
    status: str
    tag: str
    fixed_ips: list[FixedIp]
    security_groups: list[str]


def resolve_auto_network(tx: Tx, context: Context) -> str | None:
    """The network for a server that names none: the only one that its project may use, None if there is none to use.

    Raises Conflict when there are several.
    """
    networks = list_project_networks(tx, context.project_id)
    if len(networks) > 1:
        raise Conflict(
            "Multiple possible networks found, use a Network ID to be more specific.",
        )
    return networks[0].id if networks else None


def resolve_groups(sources: Sources, project_id: str, names: Sequence[str]) -> list[str]:
    """Ids of security groups given by name or id; the project's default group for none.

    Raises Invalid for one that isn't there, Conflict for a name that several have.
    """
    if not names:
        return [sources.default_group(project_id)]
    ids: list[str] = []
    for name in names:
        if name == DEFAULT_NAME:
            ids.append(sources.default_group(project_id))
            continue
        found = sources.groups_named(project_id, name)
        if not found:
            raise Invalid(f"Security group {name} not found for project {project_id}.")
        if len(found) > 1:
            raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
        ids.append(found[0].id)
    return list(dict.fromkeys(ids))


def allocate_nics(
    tx: Tx,
    context: Context,
    *,
    server_id: str,
    hostname: str,
    project_id: str,
    host_id: str,
    nics: Sequence[RequestedNic],
    security_groups: Sequence[str] = (),
    az: str = "nova",
    sources: Sources | None = None,
) -> list[Port]:
    """Give a server its NICs, in order, bound to ``host_id`` (empty: not yet, see ``bind_nics``).

    ``security_groups`` are names or ids and apply to the ports that are made here. ``sources`` may be what the transaction has read already.
    All or nothing, as the transaction is.

    Raises Invalid and Conflict with Compute's messages.
    """
    sources = sources or Sources(tx, context)
    # Without any, a port gets the project's default group by itself.
    named = bool(security_groups) and any(nic.network_id for nic in nics)
    group_ids = resolve_groups(sources, project_id, security_groups) if named else None
    host_name = sources.host(host_id).name if host_id else ""
    ports: list[Port] = []
    for index, nic in enumerate(nics):
        if nic.port_id:
            port = _take_port(tx, context, nic, server_id, hostname, index, az)
            ports.append(_bind(tx, port, host_id, host_name, context.now_us) if host_id else port)
        else:
            network = _check_network(sources, nic)
            if not network.port_security_enabled and any(name != DEFAULT_NAME for name in security_groups):
                raise Invalid(
                    "Network requires port_security_enabled and subnet associated in order to apply security groups."
                )
            spec = PortSpec(
                network_id=network.id,
                project_id=project_id,
                device_id=server_id,
                device_owner=COMPUTE_OWNER + az,
                fixed_ips=[WantedIp(ip=nic.fixed_ip)] if nic.fixed_ip else None,
                security_groups=group_ids if network.port_security_enabled else [],
                binding_host=host_name,
                hostname=hostname,
                nic_index=index,
                nic_tag=nic.tag,
                owned_by_server=True,
            )
            ports.append(_make_port(tx, context, sources, spec, nic.fixed_ip))
    return ports


def _check_network(sources: Sources, nic: RequestedNic) -> Network:
    try:
        network = sources.network(nic.network_id)
    except NotFound as error:
        raise Invalid(f"Network {nic.network_id} could not be found.") from error
    if not sources.subnets(network.id):
        raise Invalid(f"Network {network.id} requires a subnet in order to boot instances on.")
    return network


def _make_port(tx: Tx, context: Context, sources: Sources, spec: PortSpec, fixed_ip: str) -> Port:
    """A port of the server's own."""
    try:
        return create_ports(tx, context, [spec], sources)[0]
    except NetworkConflict as error:
        if fixed_ip and error.kind == "IpAddressAlreadyAllocated":
            raise Invalid(f"Fixed IP address {fixed_ip} is already in use on instance {spec.device_id}.") from error
        if error.kind == "OverQuota":
            raise QuotaExceeded("Maximum number of ports exceeded") from error
        raise


def _take_port(tx: Tx, context: Context, nic: RequestedNic, server_id: str, hostname: str, index: int, az: str) -> Port:
    """A port of the user's, lent to the server."""
    port = PORTS.find(tx, id=nic.port_id)
    if port is None or not owns(context, port.project_id):
        raise Invalid(f"Port id {nic.port_id} could not be found.")
    if port.device_id:
        raise Conflict(f"Port {port.id} is still in use.")
    if not port.fixed_ips and not list_network_subnets(tx, port.network_id):
        raise Invalid(f"Port {port.id} requires a FixedIP in order to be used.")
    return _change(
        tx,
        port,
        context.now_us,
        device_id=server_id,
        device_owner=COMPUTE_OWNER + az,
        hostname=hostname,
        nic_index=index,
        nic_tag=nic.tag,
        owned_by_server=False,
    )


def _change(tx: Tx, port: Port, now_us: int, **changes: object) -> Port:
    """Write changes to the row; the row as it is now."""
    changes |= {"revision_number": port.revision_number + 1, "updated_at_us": now_us}
    PORTS.update(tx, port.id, **changes)
    return msgspec.structs.replace(port, **changes)


def _bind(tx: Tx, port: Port, host_id: str, host_name: str, now_us: int) -> Port:
    """Move the port to the host."""
    if port.host_id and port.host_id != host_id:
        PORTS.update(tx, port.id, host_id="", arriving_host_id="")
        displace_port(tx, port)
    port = _change(tx, port, now_us, host_id=host_id, binding_host=host_name, arriving_host_id="", status=DOWN)
    place_port(tx, port, NETWORKS.get(tx, port.network_id))
    return port


def bind_nics(tx: Tx, server_id: str, host_id: str, now_us: int) -> None:
    """The server is to run on this host now: all its ports with it."""
    host_name = HOSTS.get(tx, host_id).name
    for port in list_device_ports(tx, server_id):
        if port.host_id != host_id:
            _bind(tx, port, host_id, host_name, now_us)


def expect_nics(tx: Tx, server_id: str, host_id: str, now_us: int) -> None:
    """The server is to move to this host: make its ports ready there. Everybody finds them where they are. Idempotent."""
    host_name = HOSTS.get(tx, host_id).name
    for port in list_device_ports(tx, server_id):
        if port.host_id in ("", host_id):
            continue
        profile = {**port.binding_profile, MIGRATING_TO: host_name}
        expected = _change(tx, port, now_us, arriving_host_id=host_id, binding_profile=profile)
        expect_port(tx, expected, NETWORKS.get(tx, port.network_id))


def switch_nics(tx: Tx, server_id: str, host_id: str, now_us: int) -> None:
    """The server runs on this host now, where its ports were expected: from now on everybody finds them there. Idempotent."""
    host_name = HOSTS.get(tx, host_id).name
    for port in list_device_ports(tx, server_id):
        if port.arriving_host_id != host_id:
            continue
        changes: dict[str, object] = {"host_id": host_id, "binding_host": host_name, "arriving_host_id": ""}
        changes["binding_profile"] = {k: v for k, v in port.binding_profile.items() if k != MIGRATING_TO}
        switch_port(tx, _change(tx, port, now_us, **changes), NETWORKS.get(tx, port.network_id), port.host_id)


def stop_expecting_nics(tx: Tx, server_id: str, now_us: int) -> None:
    """The server does not move after all. Idempotent."""
    for port in list_device_ports(tx, server_id):
        if port.arriving_host_id:
            profile = {k: v for k, v in port.binding_profile.items() if k != MIGRATING_TO}
            _change(tx, port, now_us, arriving_host_id="", binding_profile=profile)
            withdraw_port(tx, port, port.arriving_host_id)


def unbind_nics(tx: Tx, server_id: str, now_us: int) -> None:
    """The server is on no host: its ports keep their addresses and are wished nowhere."""
    for port in list_device_ports(tx, server_id):
        _unbind(tx, port, now_us)


def _unbind(tx: Tx, port: Port, now_us: int) -> Port:
    unbound = _change(tx, port, now_us, host_id="", binding_host="", arriving_host_id="", status=DOWN)
    if port.host_id:
        displace_port(tx, port)
    return unbound


def release_nics(tx: Tx, server_id: str, now_us: int) -> None:
    """The server is gone: its own ports are deleted, lent ones are free again. Doing it again changes nothing."""
    for port in list_device_ports(tx, server_id):
        _release(tx, port, now_us)


def _release(tx: Tx, port: Port, now_us: int) -> None:
    if port.owned_by_server:
        remove_port(tx, port)
        return
    freed = _unbind(tx, port, now_us)
    PORTS.update(tx, freed.id, device_id="", device_owner="", hostname="", nic_index=0, nic_tag="", binding_profile={})


def attach_nic(
    tx: Tx,
    context: Context,
    *,
    server_id: str,
    hostname: str,
    project_id: str,
    host_id: str,
    nic: RequestedNic,
    security_groups: Sequence[str] = (),
    az: str = "nova",
) -> Port:
    """Give a server one more NIC, behind those that it has. Raises as ``allocate_nics`` does."""
    index = max((port.nic_index for port in list_device_ports(tx, server_id)), default=-1) + 1
    port = allocate_nics(
        tx,
        context,
        server_id=server_id,
        hostname=hostname,
        project_id=project_id,
        host_id=host_id,
        nics=[nic],
        security_groups=security_groups,
        az=az,
    )[0]
    PORTS.update(tx, port.id, nic_index=index)
    return msgspec.structs.replace(port, nic_index=index)


def check_known(tx: Tx, context: Context, nic: RequestedNic) -> None:
    """Raise NotFound unless the port or network that the NIC names is there for whoever asks."""
    if nic.port_id:
        port = PORTS.find(tx, id=nic.port_id)
        if port is None or not owns(context, port.project_id):
            raise NotFound("port", nic.port_id, f"Port id {nic.port_id} could not be found.")
        return
    network = NETWORKS.find(tx, id=nic.network_id)
    if network is None or not may_use_network(context, network):
        raise NotFound("network", nic.network_id, f"Network {nic.network_id} could not be found.")


def detach_nic(tx: Tx, server_id: str, port_id: str, now_us: int) -> None:
    """Take a NIC away from a server. Raises NotFound when it hasn't got it."""
    port = PORTS.find(tx, id=port_id, device_id=server_id)
    if port is None:
        raise NotFound("port", port_id)
    _release(tx, port, now_us)


def list_server_ports(tx: Tx, server_ids: Sequence[str]) -> dict[str, list[PortView]]:
    """The NICs of servers, by server, in their order: one statement. Every id that was asked for is in the answer."""
    return ask_server_ports(tx, server_ids)()


def ask_server_ports(tx: Tx, server_ids: Sequence[str]) -> Callable[[], dict[str, list[PortView]]]:
    """``list_server_ports`` for whoever has more to ask."""
    named = ask_named_ports(tx, server_ids)

    def look() -> dict[str, list[PortView]]:
        out: dict[str, list[PortView]] = {id_: [] for id_ in server_ids}
        for network_name, port in named():
            out[port.device_id].append(_view_port(port, network_name))
        return out

    return look


def _view_port(port: Port, network_name: str) -> PortView:
    return PortView(
        port_id=port.id,
        server_id=port.device_id,
        network_id=port.network_id,
        network_name=network_name,
        mac=port.mac_address,
        status=port.status,
        tag=port.nic_tag,
        fixed_ips=port.fixed_ips,
        security_groups=port.security_groups,
    )
