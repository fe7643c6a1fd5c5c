"""The ports of a server, as the network service has them."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.compute.servers import change_wish
from ostro.services.compute.visibility import get_server
from ostro.services.network.binding import PortView, list_server_ports
from ostro.store.database import Tx
from ostro.store.servers import SERVERS


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


def forget_port(tx: Tx, server_id: str, port_id: str, now_us: int) -> None:
    """A port was deleted behind its server's back: the server goes on without it. Nothing happens when it hasn't got it."""
    server = SERVERS.find(tx, id=server_id)
    if server is not None and not server.deleted_at_us and port_id in server.ports:
        change_wish(tx, server, now_us, ports=[id_ for id_ in server.ports if id_ != port_id])
