"""Resizing and cold migration: a server is switched off, goes to a host with another flavor or the same one, and waits there to be confirmed.

Until then the host that it has left keeps its disk and its part of the host, so it can be taken back as it was. A resize may stay on its host; then
the server is merely made anew there, and a disk that has grown stays as large when it is taken back.

Sagas ``server.resize`` and ``server.revert``. On another host nothing starts before the first has switched the server off, and when it is taken back
nothing starts before the second has let go. What fails before the server has changed over goes back by itself; what fails after
that is an error to look at, and can still be taken back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.model.ids import new_uuid
from ostro.model.numbers import whole_number
from ostro.model.quotas import DISK_GB, MEMORY_MB, VCPU
from ostro.model.servers import TaskState, VmState
from ostro.model.wishes import Noun, Phase, Power, Report
from ostro.runtime.world import World
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Waiting, Write, start_saga
from ostro.services.agents.hosts import is_up, waiting_for
from ostro.services.compute.creation import flavor_view
from ostro.services.compute.flavors import get_flavor
from ostro.services.compute.instance_actions import finish, record_action
from ostro.services.compute.moves import (
    change_migration,
    check_source,
    check_target,
    check_volumes,
    claim_target,
    host_request,
    leave,
    lets_go,
    make_target_ready,
    open_migration,
    settle_on,
)
from ostro.services.compute.quotas import check_growth
from ostro.services.compute.servers import lock_free, put_wish, refresh_status, require_state, settle_again
from ostro.services.compute.visibility import get_server
from ostro.services.network.binding import expect_nics, stop_expecting_nics
from ostro.services.placement.claims import release_claim, swap_claims
from ostro.services.placement.engine import PlacementEngine
from ostro.store.database import Tx
from ostro.store.flavors import Flavor
from ostro.store.hosts import HOSTS
from ostro.store.reports import find_current_report
from ostro.store.server_migrations import SERVER_MIGRATIONS, Kind, ServerMigration, Stage, list_unconfirmed
from ostro.store.servers import SERVERS, Server

RESIZE, REVERT = "server.resize", "server.revert"
STEP_S = 3600.0
"""A disk may have to be copied."""
_SHAPE = ("flavor_id", "flavor", "vcpus", "ram_mb", "disk_gb")
_OFF = (Power.OFF, Power.CRASHED, Power.UNKNOWN)
_ACTIONS = ("migrate", "resize")


# ---- what is asked -------------------------------------------------------------------------------------------------


def begin_cold_migration(
    tx: Tx, context: Context, engine: PlacementEngine, server_id: str, host_name: str | None
) -> None:
    """Have a server go to the host that was named, or to one that Placement chooses. Raises Conflict by its state, Invalid."""
    server = _get_movable(tx, context, server_id, "migrate")
    _begin(tx, context, engine, server, Kind.COLD, _shape_of(server), host_name)


def begin_resize(tx: Tx, context: Context, engine: PlacementEngine, server_id: str, flavor_id: str) -> None:
    """Have a server get another flavor. Raises Conflict by its state, Invalid for a flavor that it can't have, QuotaExceeded."""
    server = _get_movable(tx, context, server_id, "resize")
    try:
        flavor = get_flavor(tx, context, flavor_id)
    except NotFound as error:
        raise Invalid(f"Unable to locate requested flavor. {error.message}") from error
    if flavor.id == server.flavor_id:
        raise Invalid("When resizing, instances must change flavor!")
    disk_gb = 0 if server.root_volume_id else flavor.disk_gb or server.disk_gb
    if disk_gb < server.disk_gb:
        raise Invalid(
            "Unable to resize disk down: the flavor's disk is smaller than the one that the server has, "
            f"{server.disk_gb} GB."
        )
    more = {
        VCPU: flavor.vcpus - server.vcpus,
        MEMORY_MB: flavor.ram_mb - server.ram_mb,
        DISK_GB: disk_gb - server.disk_gb,
    }
    check_growth(tx, context, server.project_id, more)
    _begin(tx, context, engine, server, Kind.RESIZE, _shape_with(flavor, disk_gb), None)


def _get_movable(tx: Tx, context: Context, server_id: str, verb: str) -> Server:
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    require_state(server, verb, (VmState.ACTIVE, VmState.STOPPED))
    check_source(tx, context, server)
    check_volumes(tx, server)
    return server


def _shape_of(server: Server) -> dict[str, Any]:
    return {name: getattr(server, name) for name in _SHAPE}


def _shape_with(flavor: Flavor, disk_gb: int) -> dict[str, Any]:
    return {
        "flavor_id": flavor.id,
        "flavor": flavor_view(flavor),
        "vcpus": flavor.vcpus,
        "ram_mb": flavor.ram_mb,
        "disk_gb": disk_gb,
    }


def _resources(shape: Mapping[str, Any]) -> dict[str, int]:
    view = json.loads(shape["flavor"])
    asked = {
        "VCPU": shape["vcpus"],
        "MEMORY_MB": shape["ram_mb"],
        "DISK_GB": shape["disk_gb"] + int(view.get("ephemeral", 0)),
    }
    for key, value in view.get("extra_specs", {}).items():
        if key.startswith("resources:") and (amount := whole_number(str(value))) is not None:
            asked[key.removeprefix("resources:")] = amount
    return {name: amount for name, amount in asked.items() if amount > 0}


def _begin(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    server: Server,
    kind: Kind,
    shape: dict[str, Any],
    host_name: str | None,
) -> None:
    only = [check_target(tx, context, server, host_name).id] if host_name else None
    migration_id = context.new_id()
    request = host_request(tx, server, _resources(shape), shape["flavor"], only, stay=kind is Kind.RESIZE)
    target = claim_target(tx, context, engine, server, request, migration_id)
    shapes = {"old_shape": _shape_of(server), "new_shape": shape}
    open_migration(tx, context, server, kind, target, migration_id, "pre-migrating", **shapes)
    record_action(tx, context, server, "resize" if kind is Kind.RESIZE else "migrate")
    moved = {"migration_id": migration_id, "moving": TaskState.RESIZE_PREP, "updated_at_us": context.now_us}
    SERVERS.update(tx, server.id, **moved)
    if target.id != server.host_id:
        make_target_ready(tx, server, target, context.now_us)
    put_wish(tx, SERVERS.get(tx, server.id))
    start_saga(tx, context.new_id(), RESIZE, server.id, {"migration": migration_id}, context.now_us)
    refresh_status(tx, server.id, context.now_us)


# ---- confirming and reverting --------------------------------------------------------------------------------------


def _get_resized(tx: Tx, context: Context, server_id: str, verb: str) -> tuple[Server, ServerMigration]:
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    if not server.resized or server.task_state is not TaskState.NONE or server.deleting:
        require_state(server, verb, (VmState.RESIZED,))
        raise Invalid("Instance has not been resized.")
    return server, SERVER_MIGRATIONS.get(tx, server.migration_id)


def confirm(tx: Tx, context: Context, engine: PlacementEngine, server_id: str) -> None:
    """Keep a server as it is now, and give back what was kept of it as it was. Raises Conflict by its state."""
    server, migration = _get_resized(tx, context, server_id, "confirmResize")
    record_action(tx, context, server, "confirmResize")
    _confirm(tx, engine, context.new_id(), server, migration, context.now_us)
    finish(tx, server.id, ("confirmResize",), context.now_us)


def _confirm(
    tx: Tx, engine: PlacementEngine, saga_id: str, server: Server, migration: ServerMigration, now_us: int
) -> None:
    SERVERS.update(tx, server.id, migration_id="", resized=False, updated_at_us=now_us)
    server = SERVERS.get(tx, server.id)
    if migration.source_host_id == migration.target_host_id:
        release_claim(tx, migration.uuid, now_us, engine)
        change_migration(tx, migration, now_us, status="confirmed")
    else:
        leave(tx, saga_id, server, migration, migration.source_host_id, server.host_name, now_us, status="confirmed")
    put_wish(tx, server)
    refresh_status(tx, server.id, now_us)


def confirm_late(
    tx: Tx, engine: PlacementEngine, new_id: Callable[[], str], before_us: int, now_us: int, limit: int
) -> int:
    """Confirm what has waited since before then; how many there were."""
    found = list_unconfirmed(tx, before_us, limit)
    for migration in found:
        server = SERVERS.find(tx, id=migration.server_id)
        if server is not None and server.migration_id == migration.uuid and server.resized:
            _confirm(tx, engine, new_id(), server, migration, now_us)
        else:
            change_migration(tx, migration, now_us, status="error")
    return len(found)


def begin_revert(tx: Tx, context: Context, server_id: str) -> None:
    """Take a server back as it was. Raises Conflict by its state, Invalid when the host that has kept it doesn't answer."""
    server, migration = _get_resized(tx, context, server_id, "revertResize")
    source = HOSTS.get(tx, migration.source_host_id)
    if not is_up(source, context.now_us):
        raise Invalid(f"Compute service of {source.name} is unavailable at this time.")
    record_action(tx, context, server, "revertResize")
    change_migration(tx, migration, context.now_us, status="reverting", stage=Stage.REVERTING)
    SERVERS.update(tx, server.id, moving=TaskState.RESIZE_REVERTING, failed=False, fault=None)
    put_wish(tx, SERVERS.get(tx, server.id))
    start_saga(tx, context.new_id(), REVERT, server.id, {"migration": migration.uuid}, context.now_us)
    refresh_status(tx, server.id, context.now_us)


# ---- the sagas -----------------------------------------------------------------------------------------------------


class _Moving(msgspec.Struct, frozen=True):
    server: Server
    migration: ServerMigration

    @property
    def stays(self) -> bool:
        """Whether it is on one host all the time."""
        return self.migration.source_host_id == self.migration.target_host_id


def _moving(tx: Tx, run: Run) -> _Moving | None:
    """None when the saga has been overtaken in the meantime, which it then just ends."""
    server = SERVERS.find(tx, id=run.object_id)
    migration = SERVER_MIGRATIONS.find(tx, uuid=run.params["migration"])
    if server is None or migration is None or server.migration_id != migration.uuid:
        return None
    return _Moving(server, migration)


def _reported(tx: Tx, host_id: str, server_id: str, now_us: int) -> Report | Outcome:
    """What the host has said of the wish as it is now, when it has carried it out."""
    report = find_current_report(tx, host_id, Noun.SERVER, server_id)
    if report is not None and report.phase is Phase.FAILED:
        return Failed(report.reason or "The host has given up.")
    return report if report is not None and report.phase is Phase.READY else waiting_for(tx, host_id, now_us)


def is_off(tx: Tx, run: Run) -> Outcome:
    """Whether the host that has the server has switched it off."""
    moving = _moving(tx, run)
    if moving is None:
        return Ready()
    report = _reported(tx, moving.migration.source_host_id, run.object_id, run.now_us)
    if not isinstance(report, Report):
        return report
    return Ready() if report.power in _OFF else waiting_for(tx, moving.migration.source_host_id, run.now_us)


def begin_moving(tx: Tx, run: Run) -> None:
    """It is off: have the target take over its disk."""
    moving = _moving(tx, run)
    if moving is None:
        return
    report = find_current_report(tx, moving.migration.source_host_id, Noun.SERVER, run.object_id)
    offer = report.offer if report is not None else ""
    stage = Stage.PREPARING if moving.stays else Stage.SENDING
    change_migration(tx, moving.migration, run.now_us, stage=stage, landing=offer, status="migrating")
    SERVERS.update(tx, moving.server.id, moving=TaskState.RESIZE_MIGRATING)
    put_wish(tx, SERVERS.get(tx, moving.server.id))
    refresh_status(tx, moving.server.id, run.now_us)


def has_moved(tx: Tx, run: Run) -> Outcome:
    """Whether the target has the disk."""
    moving = _moving(tx, run)
    if moving is None or moving.stays:
        return Ready()
    target_id = moving.migration.target_host_id
    if not is_up(HOSTS.get(tx, target_id), run.now_us):
        return Failed(f"Host {moving.migration.target_host} does not answer.")
    report = _reported(tx, target_id, run.object_id, run.now_us)
    return Ready() if isinstance(report, Report) else report


def change_over(tx: Tx, run: Run) -> None:
    """The server is the target's, in its new shape."""
    moving = _moving(tx, run)
    if moving is None:
        return
    target = HOSTS.get(tx, moving.migration.target_host_id)
    change_migration(tx, moving.migration, run.now_us, stage=Stage.OVER, status="post-migrating")
    shape = moving.migration.new_shape
    changed = settle_on(tx, moving.server, target, run.now_us, moving=TaskState.RESIZE_FINISH, **shape)
    put_wish(tx, changed)
    refresh_status(tx, changed.id, run.now_us)


def has_settled(tx: Tx, run: Run) -> Outcome:
    """Whether the server's host has come to the server as it is wished now, or has given up."""
    moving = _moving(tx, run)
    host_id = moving.server.host_id if moving is not None else ""
    report = find_current_report(tx, host_id, Noun.SERVER, run.object_id) if host_id else None
    if moving is None or (report is not None and report.phase in (Phase.READY, Phase.FAILED)):
        return Ready()
    return Waiting(paused=True)


def end_resize(tx: Tx, run: Run) -> None:
    """The server waits to be confirmed."""
    moving = _moving(tx, run)
    if moving is None:
        return
    change_migration(tx, moving.migration, run.now_us, status="finished")
    SERVERS.update(tx, moving.server.id, moving=TaskState.NONE, resized=True)
    finish(tx, moving.server.id, _ACTIONS, run.now_us)
    settle_again(tx, moving.server.id, run.now_us)


def has_let_go(tx: Tx, run: Run) -> Outcome:
    """Whether the server can be started where it was."""
    moving = _moving(tx, run)
    if moving is None:
        return Ready()
    migration = moving.migration
    if moving.stays:
        return is_off(tx, run)
    return Ready() if lets_go(tx, migration, migration.target_host_id) else Waiting(paused=True)


def resize_sagas(world: World, engine: PlacementEngine) -> tuple[Saga, ...]:
    """See the module."""

    def stay(tx: Tx, run: Run) -> None:
        """It has not changed over, and goes on where it is as it was."""
        moving = _moving(tx, run)
        if moving is None:
            return
        server, migration = moving.server, moving.migration
        stop_expecting_nics(tx, server.id, run.now_us)
        _give_back(tx, moving, run, "error")
        finish(tx, server.id, _ACTIONS, run.now_us, error=run.fault)
        settle_again(tx, server.id, run.now_us)
        assert migration.source_host_id == server.host_id, "it has not changed over"

    def take_back(tx: Tx, run: Run) -> None:
        """The target has let go: the server is the source's, in its old shape."""
        moving = _moving(tx, run)
        if moving is None:
            return
        source = HOSTS.get(tx, moving.migration.source_host_id)
        expect_nics(tx, moving.server.id, source.id, run.now_us)
        settle_on(tx, moving.server, source, run.now_us, resized=False, **moving.migration.old_shape)
        _give_back(tx, moving, run, "reverted")

    def _give_back(tx: Tx, moving: _Moving, run: Run, status: str) -> None:
        """The server is where it was and has what it had there; the target leaves."""
        migration = moving.migration
        swap_claims(tx, moving.server.id, migration.uuid, run.now_us)
        SERVERS.update(tx, moving.server.id, migration_id="", moving=TaskState.NONE)
        server = SERVERS.get(tx, moving.server.id)
        put_wish(tx, server)
        if moving.stays:
            release_claim(tx, migration.uuid, run.now_us, engine)
            change_migration(tx, migration, run.now_us, stage=Stage.OVER, status=status, reason=run.fault)
        else:
            over = {"status": status, "reason": run.fault}
            saga_id = new_uuid(world.random)
            leave(tx, saga_id, server, migration, migration.target_host_id, server.host_name, run.now_us, **over)

    def end_revert(tx: Tx, run: Run) -> None:
        finish(tx, run.object_id, ("revertResize",), run.now_us)
        settle_again(tx, run.object_id, run.now_us)

    late = f"It took longer than {STEP_S:g} s."
    return (
        Saga(
            RESIZE,
            (
                Write("begun", _nothing, stay),
                Await("off", is_off, STEP_S, late),
                Write("moving", begin_moving),
                Await("moved", has_moved, STEP_S, late),
                Write("changed", change_over),
                Await("settled", has_settled, STEP_S, "unreachable: the clock stands still"),
                Write("finished", end_resize),
            ),
        ),
        Saga(
            REVERT,
            (
                Await("let_go", has_let_go, STEP_S, "unreachable: the clock stands still"),
                Write("taken_back", take_back),
                Write("finished", end_revert),
            ),
        ),
    )


def _nothing(tx: Tx, run: Run) -> None:
    """Whoever started the saga has done it."""
