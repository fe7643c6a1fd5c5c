"""Who sees which server: its own project, and administrators."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.store.database import Tx
from ostro.store.servers import SERVERS, Server


def find_server(tx: Tx, context: Context, server_id: str, *, deleted: bool = False) -> Server:
    """A server that the actor may see; with ``deleted`` also one whose tombstone is still there. Raises NotFound."""
    server = SERVERS.find(tx, id=server_id)
    seen = server is not None and (context.is_admin or server.project_id == context.project_id)
    if server is None or not seen or (server.deleted_at_us and not deleted):
        raise NotFound("instance", server_id, f"Instance {server_id} could not be found.")
    return server


def get_server(tx: Tx, context: Context, server_id: str) -> Server:
    """A living server that the actor may see. Raises NotFound."""
    return find_server(tx, context, server_id)
