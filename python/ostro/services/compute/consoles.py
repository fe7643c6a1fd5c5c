"""The console log: a question to the server's host."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict
from ostro.model.wishes import AskWish
from ostro.services.agents.asks import put_ask
from ostro.services.agents.hosts import is_up
from ostro.services.compute.visibility import get_server
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS


def ask_console(tx: Tx, context: Context, server_id: str, ask_id: str, length: int) -> str:
    """Ask the server's host for the last ``length`` lines (-1 for all that is kept); the host's id.

    Raises Conflict when there is no console yet, or nobody to ask.
    """
    server = get_server(tx, context, server_id)
    if not server.host_id or not server.launched_at_us:
        raise Conflict(f"Instance {server_id} is not ready")
    if not is_up(HOSTS.get(tx, server.host_id), context.now_us):
        raise Conflict(f"Instance {server_id} is not ready: its host does not answer.")
    put_ask(tx, server.host_id, AskWish(ask_id, "console_log", server_id, length), context.now_us)
    return server.host_id
