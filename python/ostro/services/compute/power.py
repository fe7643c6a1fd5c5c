"""Power: start, stop and reboot are changes of the wish. The host carries them out, and the status says how far it has come."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict
from ostro.model.servers import TaskState, VmState
from ostro.model.wishes import Power
from ostro.services.compute.instance_actions import record_action
from ostro.services.compute.servers import change_wish, lock_free, require_state
from ostro.services.compute.visibility import get_server
from ostro.store.database import Tx
from ostro.store.servers import Server

_HARD_FROM = (VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.ERROR)
_HARD_DURING = (TaskState.NONE, TaskState.REBOOTING, TaskState.REBOOTING_HARD)


def _on_host(tx: Tx, context: Context, server_id: str) -> Server:
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    return server


def _launched(server: Server) -> None:
    if not server.launched_at_us or not server.host_id:
        raise Conflict(f"Instance {server.id} is not ready")


def start_server(tx: Tx, context: Context, server_id: str) -> None:
    """Switch a stopped server on. Raises Conflict in other states."""
    server = _on_host(tx, context, server_id)
    require_state(server, "start", (VmState.STOPPED,))
    _launched(server)
    record_action(tx, context, server, "start")
    change_wish(tx, server, context.now_us, power=Power.ON)


def stop_server(tx: Tx, context: Context, server_id: str) -> None:
    """Switch a running server off, its guest first. Raises Conflict in other states."""
    server = _on_host(tx, context, server_id)
    require_state(server, "stop", (VmState.ACTIVE, VmState.ERROR))
    _launched(server)
    record_action(tx, context, server, "stop")
    change_wish(tx, server, context.now_us, power=Power.OFF)


def reboot_server(tx: Tx, context: Context, server_id: str, *, hard: bool) -> None:
    """Reboot: soft asks the guest and needs a running server, hard works from most states. Raises Conflict."""
    server = _on_host(tx, context, server_id)
    if hard:
        require_state(server, "reboot", _HARD_FROM, _HARD_DURING)
    else:
        require_state(server, "reboot", (VmState.ACTIVE,))
    _launched(server)
    record_action(tx, context, server, "reboot")
    change_wish(
        tx,
        server,
        context.now_us,
        power=Power.ON,
        reboots=server.reboots + 1,
        reboot_hard=hard,
        failed=False,
        fault=None,
    )


def lock_server(tx: Tx, context: Context, server_id: str, reason: str | None) -> None:
    """Keep everybody but administrators from changing the server."""
    server = get_server(tx, context, server_id)
    record_action(tx, context, server, "lock")
    change_wish(tx, server, context.now_us, locked=True, locked_reason=reason)


def unlock_server(tx: Tx, context: Context, server_id: str) -> None:
    """The opposite."""
    server = get_server(tx, context, server_id)
    record_action(tx, context, server, "unlock")
    change_wish(tx, server, context.now_us, locked=False, locked_reason=None)


def reset_state(tx: Tx, context: Context, server_id: str, *, error: bool) -> None:
    """An administrator declares the server failed, or sound."""
    server = get_server(tx, context, server_id)
    change_wish(tx, server, context.now_us, failed=error, fault=None)
