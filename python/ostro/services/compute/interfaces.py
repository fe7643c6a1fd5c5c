"""The ports of a server, as the network service has them; plugged in and pulled out while it lives.

An interface is attached when the host reports the server's wish with its port carried out. One that is detached leaves the wish at once; the
port is given back when the host has reported that, so that its address is nobody else's before.
"""

from __future__ import annotations

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound
from ostro.services.compute.instance_actions import record_action
from ostro.services.compute.servers import READY_STATES, change_wish, lock_free, require_state
from ostro.services.compute.visibility import get_server
from ostro.services.network.binding import (
    PortView,
    RequestedNic,
    attach_nic,
    check_known,
    list_server_ports,
    resolve_auto_network,
)
from ostro.store.database import Tx
from ostro.store.servers import SERVERS

NICS_MOST = 16
"""They share a virtual machine's root ports with its disks."""


def list_ports(tx: Tx, context: Context, server_id: str) -> list[PortView]:
    """A server's ports, in the order of its NICs."""
    get_server(tx, context, server_id)
    return list_server_ports(tx, [server_id])[server_id]


def get_port(tx: Tx, context: Context, server_id: str, port_id: str) -> PortView:
    """One port of a server. Raises NotFound."""
    for port in list_ports(tx, context, server_id):
        if port.port_id == port_id:
            return port
    raise NotFound("port", port_id, f"Port {port_id} is not attached to instance {server_id}")


def is_foreign_server(tx: Tx, device_id: str, project_id: str) -> bool:
    """Whether this is the id of another project's server."""
    server = SERVERS.find(tx, id=device_id) if device_id else None
    return server is not None and not server.deleted_at_us and server.project_id != project_id


def attach_interface(tx: Tx, context: Context, server_id: str, nic: RequestedNic) -> PortView:
    """Have one more port plugged into a server; by nothing asked for, on its project's only network.

    Raises NotFound for a server, port or network that isn't there, Conflict by states, Invalid.
    """
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    require_state(server, "attach_interface", READY_STATES)
    if not server.host_id:
        raise Conflict(f"Instance {server_id} is not ready")
    if len(server.ports) >= NICS_MOST:
        raise Invalid(f"A server may have {NICS_MOST} interfaces.")
    if not nic.network_id and not nic.port_id:
        network_id = resolve_auto_network(tx, context)
        if network_id is None:
            raise Invalid("No network is there to attach the interface to.")
        nic = msgspec.structs.replace(nic, network_id=network_id)
    check_known(tx, context, nic)
    port = attach_nic(
        tx,
        context,
        server_id=server.id,
        hostname=server.hostname,
        project_id=server.project_id,
        host_id=server.host_id,
        nic=nic,
    )
    record_action(tx, context, server, "attach_interface")
    change_wish(tx, server, context.now_us, ports=[*server.ports, port.id])
    return get_port(tx, context, server_id, port.id)


def detach_interface(tx: Tx, context: Context, server_id: str, port_id: str) -> None:
    """Have a port pulled out of a server. Raises NotFound, Conflict by states, Invalid when it is on its way out already."""
    server = get_server(tx, context, server_id)
    get_port(tx, context, server_id, port_id)
    lock_free(context, server)
    require_state(server, "detach_interface", READY_STATES)
    if port_id not in server.ports:
        raise Invalid(f"Port {port_id} is being detached from instance {server_id}.")
    record_action(tx, context, server, "detach_interface")
    change_wish(tx, server, context.now_us, ports=[id_ for id_ in server.ports if id_ != port_id])


def forget_port(tx: Tx, server_id: str, port_id: str, now_us: int) -> None:
    """A port was deleted behind its server's back: the server goes on without it. Nothing happens when it hasn't got it."""
    server = SERVERS.find(tx, id=server_id)
    if server is not None and not server.deleted_at_us and port_id in server.ports:
        change_wish(tx, server, now_us, ports=[id_ for id_ in server.ports if id_ != port_id])
