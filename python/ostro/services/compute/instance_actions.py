"""Instance actions: the log of what was asked of a server."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.model.wishes import Phase, Report, Stage
from ostro.services.compute.visibility import find_server
from ostro.store.database import Tx
from ostro.store.instance_actions import (
    ERROR,
    INSTANCE_ACTIONS,
    SUCCESS,
    InstanceAction,
    find_under_way,
    finish_actions,
    foresee_under_way,
)
from ostro.store.servers import Server

EVENTS = {
    "create": "compute__do_build_and_run_instance",
    "delete": "compute_terminate_instance",
    "start": "compute_start_instance",
    "stop": "compute_stop_instance",
    "reboot": "compute_reboot_instance",
    "attach_volume": "compute_attach_volume",
    "detach_volume": "compute_detach_volume",
    "attach_interface": "compute_attach_interface",
    "detach_interface": "compute_detach_interface",
    "live-migration": "compute_live_migration",
    "live_migration_force_complete": "compute_live_migration_force_complete",
    "live_migration_cancel": "compute_live_migration_abort",
    "migrate": "compute_prep_resize",
    "resize": "compute_prep_resize",
    "confirmResize": "compute_confirm_resize",
    "revertResize": "compute_revert_resize",
    "evacuate": "compute_rebuild_instance",
}
"""The event of each action; the others are done at once and have none."""
STAGES_MOST = 50
ACCEPTED, REPORTED, FINISHED = "accepted", "reported", "finished"
POWER_ACTIONS = ("start", "stop", "reboot")
VOLUME_ACTIONS = ("attach_volume", "detach_volume")
NIC_ACTIONS = ("attach_interface", "detach_interface")
EVERY_ACTION = tuple(EVENTS)


def record_action(tx: Tx, context: Context, server: Server, action: str) -> None:
    """Note that the actor asks this of the server. What has no event is finished at once."""
    event = EVENTS.get(action, "")
    INSTANCE_ACTIONS.put_new(
        tx,
        InstanceAction(
            server_id=server.id,
            request_id=context.request_id,
            action=action,
            user_id=context.user_id,
            project_id=context.project_id,
            event=event,
            host_name=server.host_name,
            message=None,
            result="" if event else SUCCESS,
            started_at_us=context.now_us,
            finished_at_us=0 if event else context.now_us,
        ),
    )


def finish(tx: Tx, server_id: str, actions: Collection[str], now_us: int, *, error: str | None = None) -> None:
    """End the unfinished actions of these kinds, well or with an error."""
    finish_actions(tx, server_id, actions, result=ERROR if error else SUCCESS, message=error, now_us=now_us)


def is_under_way(tx: Tx, server_id: str, action: str) -> bool:
    """Whether such an action has not ended yet."""
    return INSTANCE_ACTIONS.count(tx, server_id=server_id, action=action, finished_at_us=0) > 0


def note_stages(tx: Tx, report: Report, now_us: int) -> None:
    """Note what a host says it has passed, with the action that is under way. Stages that were told before are not noted again.

    Hosts' clocks may be off, so a stage is neither before its action nor after its report.
    """
    if not report.stages:
        return
    action = find_under_way(tx, report.id)
    if action is None:
        return
    told = [Stage(s.name, min(max(s.at_us, action.started_at_us), now_us)) for s in report.stages]
    new = [stage for stage in told if stage not in action.stages]
    if report.phase is not Phase.WORKING:
        new.append(Stage(REPORTED, now_us))
    stages = [*action.stages, *new][:STAGES_MOST]
    INSTANCE_ACTIONS.set_where(tx, {"stages": stages}, server_id=report.id, request_id=action.request_id)


def foresee_stages(tx: Tx, report: Report) -> None:
    """``note_stages`` will be called (``Tx.foresee``)."""
    if report.stages:
        foresee_under_way(tx, report.id)


def list_actions(tx: Tx, context: Context, server_id: str, *, deleted: bool) -> list[InstanceAction]:
    """A server's actions, the newest first; of a deleted one too if ``deleted``."""
    find_server(tx, context, server_id, deleted=deleted)
    return INSTANCE_ACTIONS.list(tx, server_id=server_id, order="started_at_us DESC, request_id DESC")


def get_action(tx: Tx, context: Context, server_id: str, request_id: str, *, deleted: bool) -> InstanceAction:
    """One action. Raises NotFound."""
    find_server(tx, context, server_id, deleted=deleted)
    action = INSTANCE_ACTIONS.find(tx, server_id=server_id, request_id=request_id)
    if action is None:
        raise NotFound("action", request_id, f"Action {request_id} not found")
    return action


def list_timeline(tx: Tx, context: Context, server_id: str) -> list[InstanceAction]:
    """A server's actions with all their stages, the oldest first; of a deleted one too while it is remembered."""
    actions = list_actions(tx, context, server_id, deleted=True)
    return [_with_ends(action) for action in reversed(actions)]


def _with_ends(action: InstanceAction) -> InstanceAction:
    ends = [Stage(FINISHED, action.finished_at_us)] if action.finished_at_us else []
    stages = [Stage(ACCEPTED, action.started_at_us), *sorted(action.stages, key=lambda stage: stage.at_us), *ends]
    return msgspec.structs.replace(action, stages=stages)
