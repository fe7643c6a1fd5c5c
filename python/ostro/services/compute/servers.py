"""Servers: finding them, what their hosts are wished to do, and their status.

``refresh_status`` is the one writer of a server's states: it computes them from the row (the wish) and the host's last report, whenever
either has changed. ``put_wish`` is the one place that makes a server's wish, from rows alone, so it may be called as often as one likes.
``settle_server`` draws the conclusions of a report:

- the guest has powered itself off: that is what is wished from now on;
- volumes were plugged in or pulled out: the block service learns of it;
- the host has given up: an attachment that fails is taken back, anything else makes the server ERROR.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict
from ostro.model.servers import DEFAULT_ZONE, ServerFacts, TaskState, VmState, api_status, server_states
from ostro.model.times import iso_z
from ostro.model.volumes import AttachmentStatus
from ostro.model.wishes import AttachmentWish, Noun, Phase, Power, Report, ServerWish
from ostro.services.block.attachments import list_server_volumes, mark_attached, release
from ostro.services.compute.instance_actions import NIC_ACTIONS, POWER_ACTIONS, VOLUME_ACTIONS, finish, is_under_way
from ostro.services.compute.move_reports import note_progress, poke_leaving
from ostro.services.compute.moving_wishes import moving_wishes
from ostro.services.compute.visibility import get_server as get_server
from ostro.services.network.binding import detach_nic, list_server_ports
from ostro.store.attachments import Attachment
from ostro.store.block_devices import BLOCK_DEVICES
from ostro.store.database import Tx
from ostro.store.reports import find_current_report, find_report
from ostro.store.sagas import SAGAS
from ostro.store.server_migrations import SERVER_MIGRATIONS
from ostro.store.servers import SERVER_STARTS, SERVERS, Fault, Server, ServerStart
from ostro.store.wishes import add_wish, ask_generation, foresee_generation, set_wish

CAUSE_UNKNOWN = 500
READY_STATES = (VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED)
"""In these, volumes and ports can be plugged in and pulled out."""
UNLOCK = "os_compute_api:os-lock-server:unlock:unlock_override"
ABANDON = "server.abandon"
"""The saga of a server that its host is to be rid of, though it stays as an error."""


def lock_free(context: Context, server: Server) -> None:
    """Raise Conflict when the server is locked and the actor can't pass locks."""
    if server.locked and not context.may_also(UNLOCK, server.project_id, server.user_id):
        raise Conflict(f"Instance {server.id} is locked")


def require_state(
    server: Server, verb: str, states: Collection[VmState], tasks: Collection[TaskState] = (TaskState.NONE,)
) -> None:
    """Raise Conflict unless the server is in one of the states and no other task is under way."""
    if server.vm_state not in states:
        raise Conflict(f"Cannot '{verb}' instance {server.id} while it is in vm_state {server.vm_state}")
    if server.task_state not in tasks:
        raise Conflict(f"Cannot '{verb}' instance {server.id} while it is in task_state {server.task_state}")


def put_wish(tx: Tx, server: Server) -> None:
    """Tell the server's host what is wished of it now; while it moves, both of its hosts."""
    wish = make_wish(tx, server)
    if not server.migration_id:
        set_wish(tx, server.host_id, Noun.SERVER, server.id, wish)
        return
    for host_id, moved in moving_wishes(SERVER_MIGRATIONS.get(tx, server.migration_id), server, wish):
        set_wish(tx, host_id, Noun.SERVER, server.id, moved)


def add_new_wish(tx: Tx, server: Server, start: ServerStart | None, *, has_volumes: bool) -> None:
    """Tell the host of a server that is being created."""
    attachments = _own_attachments(tx, server.id) if has_volumes else []
    add_wish(tx, server.host_id, Noun.SERVER, server.id, _shape_wish(server, start, attachments))


def make_wish(tx: Tx, server: Server) -> ServerWish:
    """The server as its row has it."""
    return _shape_wish(server, SERVER_STARTS.find(tx, server_id=server.id), _own_attachments(tx, server.id))


def _shape_wish(server: Server, start: ServerStart | None, attachments: Sequence[Attachment]) -> ServerWish:
    return ServerWish(
        id=server.id,
        name=server.name,
        project_id=server.project_id,
        user_id=server.user_id,
        hostname=server.hostname,
        vcpus=server.vcpus,
        ram_mb=server.ram_mb,
        disk_gb=server.disk_gb,
        image_id="" if server.root_volume_id else server.image_id,
        root_volume_id=server.root_volume_id,
        root_limits=next((a.limits for a in attachments if a.volume_id == server.root_volume_id), {}),
        ports=server.ports,
        attachments=[
            AttachmentWish(a.id, a.volume_id, a.device.rpartition("/")[2], a.limits)
            for a in attachments
            if a.status is not AttachmentStatus.DETACHING and a.volume_id != server.root_volume_id
        ],
        power=server.power,
        reboots=server.reboots,
        reboot_hard=server.reboot_hard,
        user_data=start.user_data if start else "",
        keys=start.keys if start else [],
        metadata=server.metadata,
        availability_zone=DEFAULT_ZONE,
        created_at=iso_z(server.created_at_us),
        taken_from=server.taken_from,
    )


def _own_attachments(tx: Tx, server_id: str) -> list[Attachment]:
    """The attachments that Compute has made. Others name the server too, but whoever has a volume can make those, for any server."""
    made = {device.attachment_id for device in BLOCK_DEVICES.list(tx, server_id=server_id)}
    return [a for a in list_server_volumes(tx, [server_id])[server_id] if a.id in made]


def change_wish(tx: Tx, server: Server, now_us: int, **changes: object) -> Server:
    """Change columns that the wish is made from, tell the host, and refresh the status; the server as it is now.

    A server that is on its way off the host is not wished back there.
    """
    SERVERS.update(tx, server.id, updated_at_us=now_us, **changes)
    changed = msgspec.structs.replace(server, **changes)
    if changed.host_id and not changed.deleting and SAGAS.find(tx, object_id=server.id, kind=ABANDON) is None:
        put_wish(tx, changed)
    return refresh_status(tx, server.id, now_us) or changed


def refresh_status(tx: Tx, server_id: str, now_us: int) -> Server | None:
    """Write the states that follow from the row and the last report; the server as it is now, None when it is gone.

    Ends the actions that the new states are the end of. Writes nothing when nothing has changed.
    """
    server = SERVERS.find(tx, id=server_id)
    if server is None or server.deleted_at_us:
        return None
    report = find_report(tx, server.host_id, Noun.SERVER, server_id) if server.host_id else None
    return _write_states(tx, server, report, now_us)


def _write_states(tx: Tx, server: Server, report: Report | None, now_us: int) -> Server:
    # A new server is wished on, so a host that is done with it has started it, even if its guest has gone off again since.
    started = report is not None and report.phase is Phase.READY
    launched_at_us = server.launched_at_us or (now_us if started else 0)
    absent = report is None or report.phase is Phase.ABSENT
    states = server_states(
        ServerFacts(
            launched=launched_at_us > 0,
            failed=server.failed,
            deleting=server.deleting,
            wished=server.power,
            reboots=server.reboots,
            reboot_hard=server.reboot_hard,
            found=Power.UNKNOWN if absent or report is None else report.power,
            reboots_done=0 if report is None else report.reboots,
            moving=server.moving,
            resized=server.resized,
        )
    )
    changes = {
        "status": api_status(states),
        "vm_state": states.vm,
        "task_state": states.task,
        "power_state": states.power,
        "launched_at_us": launched_at_us,
    }
    if all(getattr(server, name) == value for name, value in changes.items()):
        return server
    SERVERS.update(tx, server.id, **changes, updated_at_us=now_us)
    if server.task_state is not TaskState.NONE and states.task is TaskState.NONE and states.vm is not VmState.ERROR:
        finish(tx, server.id, POWER_ACTIONS, now_us)
    return msgspec.structs.replace(server, **changes, updated_at_us=now_us)


def settle_server(tx: Tx, host_id: str, report: Report, now_us: int) -> None:
    """A host has reported on a server. Idempotent."""
    found, generation = SERVERS.ask(tx, id=report.id), ask_generation(tx, host_id, Noun.SERVER, report.id)
    server = next(iter(found()), None)
    is_home = server is not None and server.host_id == host_id and not server.migration_id
    if not is_home or report.phase is Phase.ABSENT:
        poke_leaving(tx, host_id, report)
    if server is None or server.deleted_at_us:
        return
    if server.migration_id:
        note_progress(tx, server.migration_id, host_id, report)
    if server.host_id != host_id:
        return
    if server.moving is not TaskState.NONE:
        # It may be off for the move, or run elsewhere already: nothing follows from that.
        _write_states(tx, server, report, now_us)
        return
    current = report.generation == generation()
    if not server.deleting:
        if current and report.phase is Phase.READY:
            server = _settle_ready(tx, server, report, now_us)
        elif current and report.phase is Phase.FAILED and server.launched_at_us:
            server = _settle_failed(tx, server, report, now_us)
    _write_states(tx, server, report, now_us)


def foresee_server(tx: Tx, host_id: str, report: Report) -> None:
    """``settle_server`` will be called (``Tx.foresee``)."""
    SERVERS.foresee(tx, id=report.id)
    foresee_generation(tx, host_id, Noun.SERVER, report.id)
    if report.phase is Phase.READY:
        BLOCK_DEVICES.foresee(tx, server_id=report.id)


def settle_again(tx: Tx, server_id: str, now_us: int) -> None:
    """A move of the server is over: what its host has said of it meanwhile counts now, unless something else has been wished since. Idempotent."""
    server = SERVERS.find(tx, id=server_id)
    if server is None or server.deleted_at_us:
        return
    report = find_current_report(tx, server.host_id, Noun.SERVER, server_id) if server.host_id else None
    if report is not None:
        settle_server(tx, server.host_id, report, now_us)
    refresh_status(tx, server_id, now_us)


def _settle_ready(tx: Tx, server: Server, report: Report, now_us: int) -> Server:
    """The host has done all that is wished."""
    _settle_volumes(tx, server, report, now_us)
    _settle_nics(tx, server, now_us)
    changes: dict[str, object] = {}
    if server.failed and server.launched_at_us:
        changes |= {"failed": False, "fault": None}
    went_off = report.power in (Power.OFF, Power.CRASHED) and report.reboots >= server.reboots
    if server.power is Power.ON and went_off:
        changes["power"] = Power.OFF
    if not changes:
        return server
    SERVERS.update(tx, server.id, **changes)
    server = msgspec.structs.replace(server, **changes)
    if "power" in changes:
        put_wish(tx, server)
    return server


def _settle_volumes(tx: Tx, server: Server, report: Report, now_us: int) -> None:
    """Tell the block service which volumes the host has plugged in and pulled out."""
    devices = BLOCK_DEVICES.list(tx, server_id=server.id)
    if not devices:
        return
    plugged = {*report.attached, server.root_volume_id}
    mark_attached(tx, server.id, plugged, now_us)
    for attachment in _own_attachments(tx, server.id):
        if attachment.status is AttachmentStatus.DETACHING and attachment.volume_id not in plugged:
            release_volume(tx, server.id, attachment.volume_id, now_us)
    finish(tx, server.id, VOLUME_ACTIONS, now_us)


def _settle_nics(tx: Tx, server: Server, now_us: int) -> None:
    """The host has plugged in the ports of the wish, and no other: give back those that have left it."""
    if not server.launched_at_us:
        return  # Nothing is plugged into a server before it has run.
    if not is_under_way(tx, server.id, "attach_interface") and not is_under_way(tx, server.id, "detach_interface"):
        return
    for port in list_server_ports(tx, [server.id])[server.id]:
        if port.port_id not in server.ports:
            detach_nic(tx, server.id, port.port_id, now_us)
    finish(tx, server.id, NIC_ACTIONS, now_us)


def release_volume(tx: Tx, server_id: str, volume_id: str, now_us: int) -> None:
    """The volume is no longer the server's. Idempotent."""
    BLOCK_DEVICES.delete_where(tx, server_id=server_id, volume_id=volume_id)
    release(tx, volume_id, server_id, now_us)


def _settle_failed(tx: Tx, server: Server, report: Report, now_us: int) -> Server:
    """The host has given up on a server that had been running."""
    attaching = [
        attachment
        for attachment in _own_attachments(tx, server.id)
        if attachment.status is AttachmentStatus.ATTACHING and attachment.volume_id not in report.attached
    ]
    if attaching:
        for attachment in attaching:
            release_volume(tx, server.id, attachment.volume_id, now_us)
        finish(tx, server.id, VOLUME_ACTIONS, now_us, error=report.reason)
        put_wish(tx, server)
        return server
    if server.ports and is_under_way(tx, server.id, "attach_interface"):
        # The newest is the one that it could not plug in.
        *kept, refused = server.ports
        detach_nic(tx, server.id, refused, now_us)
        finish(tx, server.id, NIC_ACTIONS, now_us, error=report.reason)
        return change_wish(tx, server, now_us, ports=kept)
    if server.failed:
        return server
    fault = Fault(CAUSE_UNKNOWN, report.reason or "The host has given up.", "", now_us)
    SERVERS.update(tx, server.id, failed=True, fault=fault)
    finish(tx, server.id, POWER_ACTIONS, now_us, error=fault.message)
    return msgspec.structs.replace(server, failed=True, fault=fault)
