"""Servers: states, and how they follow from what is wished and what was found.

``server_states`` is the whole truth: the services materialise it (``services/compute/servers.refresh_status``) and nobody else writes
a state. ``api_status`` is the API's one word for a pair of states. Source: Nova's "Server concepts" and ``vm_states``, ``task_states``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from ostro.model.wishes import Power

DEFAULT_ZONE = "nova"


class VmState(StrEnum):
    """What a server is."""

    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    RESIZED = "resized"
    ERROR = "error"
    DELETED = "deleted"


class TaskState(StrEnum):
    """What is being done with it. NONE shows as null."""

    NONE = ""
    SPAWNING = "spawning"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    DELETING = "deleting"
    MIGRATING = "migrating"
    RESIZE_PREP = "resize_prep"
    RESIZE_MIGRATING = "resize_migrating"
    RESIZE_MIGRATED = "resize_migrated"
    RESIZE_FINISH = "resize_finish"
    RESIZE_REVERTING = "resize_reverting"
    RESIZE_CONFIRMING = "resize_confirming"
    REBUILDING = "rebuilding"
    REBUILD_SPAWNING = "rebuild_spawning"


class PowerState(IntEnum):
    """What its domain was last found doing, as the API numbers it."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6


POWER_STATES = {
    Power.ON: PowerState.RUNNING,
    Power.OFF: PowerState.SHUTDOWN,
    Power.PAUSED: PowerState.PAUSED,
    Power.CRASHED: PowerState.CRASHED,
    Power.UNKNOWN: PowerState.NOSTATE,
}


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """All that a server's states follow from.

    ``wished`` and ``reboots`` are the wish; ``found`` and ``reboots_done`` the host's last report. ``launched`` once the host has
    reported it running for the first time; ``failed`` when the host has given up, or none could take it. ``moving`` is the task of a server
    that goes to another host or gets another flavor, and it is ``resized`` while that waits to be confirmed.
    """

    launched: bool
    failed: bool
    deleting: bool
    wished: Power
    reboots: int
    reboot_hard: bool
    found: Power = Power.UNKNOWN
    reboots_done: int = 0
    moving: TaskState = TaskState.NONE
    resized: bool = False


@dataclass(frozen=True, slots=True)
class ServerStates:
    """The three states."""

    vm: VmState
    task: TaskState
    power: PowerState


def server_states(facts: ServerFacts) -> ServerStates:
    """The states that the facts add up to."""
    return ServerStates(_vm_state(facts), _task_state(facts), POWER_STATES[facts.found])


def _vm_state(facts: ServerFacts) -> VmState:
    if facts.failed:
        return VmState.ERROR
    if not facts.launched:
        return VmState.BUILDING
    if facts.resized:
        return VmState.RESIZED
    if facts.moving is not TaskState.NONE and facts.found is not Power.PAUSED:
        # On its way it may be switched off, or be nobody's; it is what it was, and will be again.
        return VmState.ACTIVE if facts.wished is Power.ON else VmState.STOPPED
    match facts.found:
        case Power.ON:
            return VmState.ACTIVE
        case Power.PAUSED:
            return VmState.PAUSED
        case Power.OFF | Power.CRASHED:
            return VmState.STOPPED
        case Power.UNKNOWN:
            # The host hasn't said yet: it is what was wished before.
            return VmState.ACTIVE if facts.wished is Power.ON else VmState.STOPPED


def _task_state(facts: ServerFacts) -> TaskState:
    if facts.deleting:
        return TaskState.DELETING
    if facts.moving is not TaskState.NONE:
        return facts.moving
    if facts.failed:
        return TaskState.NONE
    if not facts.launched:
        return TaskState.SPAWNING
    if facts.reboots > facts.reboots_done:
        return TaskState.REBOOTING_HARD if facts.reboot_hard else TaskState.REBOOTING
    running = facts.found in (Power.ON, Power.PAUSED)
    if facts.wished is Power.ON and not running:
        return TaskState.POWERING_ON
    if facts.wished is Power.OFF and running:
        return TaskState.POWERING_OFF
    return TaskState.NONE


_STATUS = {
    VmState.BUILDING: "BUILD",
    VmState.ACTIVE: "ACTIVE",
    VmState.PAUSED: "PAUSED",
    VmState.STOPPED: "SHUTOFF",
    VmState.RESIZED: "VERIFY_RESIZE",
    VmState.ERROR: "ERROR",
    VmState.DELETED: "DELETED",
}


_RESIZING = frozenset(
    (TaskState.RESIZE_PREP, TaskState.RESIZE_MIGRATING, TaskState.RESIZE_MIGRATED, TaskState.RESIZE_FINISH)
)
_REBUILDING = frozenset((TaskState.REBUILDING, TaskState.REBUILD_SPAWNING))
_ALIVE = frozenset((VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED))


def api_status(states: ServerStates) -> str:
    """The API's word."""
    if states.task in _REBUILDING and states.vm in _ALIVE | {VmState.ERROR}:
        return "REBUILD"
    if states.vm in _ALIVE and states.task in _RESIZING:
        return "RESIZE"
    if states.vm in _ALIVE and states.task is TaskState.MIGRATING:
        return "MIGRATING"
    if states.vm is VmState.RESIZED and states.task is TaskState.RESIZE_REVERTING:
        return "REVERT_RESIZE"
    if states.vm in (VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED):
        if states.task is TaskState.REBOOTING:
            return "REBOOT"
        if states.task is TaskState.REBOOTING_HARD:
            return "HARD_REBOOT"
    return _STATUS[states.vm]
