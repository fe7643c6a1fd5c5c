"""Live migration: a running server goes to another host and runs on meanwhile.

The saga ``server.live_migrate`` has one point of no return: the guest runs on the target. That is known from whichever host says so first, and
then ports, claims and wishes change over in one transaction. Before it, everything goes back by wishes: the target is left, the
source keeps the guest. The source says how its one attempt has ended; where it can't tell (its hypervisor was restarted at the wrong moment),
the target is told to take nothing more and to say whether it has the guest, and that decides. A host that is silent stops the clock,
unless it is a target that has yet to be sent anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound
from ostro.model.ids import new_uuid
from ostro.model.numbers import whole_number
from ostro.model.servers import TaskState, VmState
from ostro.model.wishes import MigrationReport, MigrationState, Noun, Phase, Report
from ostro.runtime.world import World
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Waiting, Write, start_saga
from ostro.services.agents.hosts import is_up
from ostro.services.compute.instance_actions import finish, record_action
from ostro.services.compute.moves import (
    UNDER_WAY,
    change_migration,
    check_source,
    check_target,
    check_volumes,
    claim_target,
    has_shared_root,
    host_request,
    leave,
    make_target_ready,
    open_migration,
    settle_on,
)
from ostro.services.compute.servers import lock_free, put_wish, refresh_status, require_state, settle_again
from ostro.services.compute.visibility import get_server
from ostro.services.network.binding import stop_expecting_nics
from ostro.services.placement.claims import swap_claims
from ostro.services.placement.engine import PlacementEngine
from ostro.store.allocations import list_by_provider
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.reports import find_current_report, find_report
from ostro.store.sagas import poke_sagas
from ostro.store.server_migrations import SERVER_MIGRATIONS, Kind, ServerMigration, Stage
from ostro.store.servers import SERVERS, Server

SAGA = "server.live_migrate"
ACTION = "live-migration"
READY_S = 900.0
"""The target may have to fetch and convert a large image first."""
SEND_S = 3600.0
SETTLE_S = 900.0


def begin_live_migration(
    tx: Tx, context: Context, engine: PlacementEngine, server_id: str, host_name: str | None, *, block: bool | None
) -> None:
    """Have a running server go to the host that was named, or to one that Placement chooses.

    ``block`` says whether disks are to be copied, None to find out. Raises Conflict by the server's state, Invalid when it can't go there.
    """
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    require_state(server, "live_migrate", (VmState.ACTIVE, VmState.PAUSED))
    source = check_source(tx, context, server)
    check_volumes(tx, server)
    copied = _copies_disks(tx, server, source.name, block=block)
    only = [check_target(tx, context, server, host_name).id] if host_name else None
    held = list_by_provider(tx, server.id).get(server.host_id, {})
    migration_id = context.new_id()
    request = host_request(tx, server, held, server.flavor, only)
    target = claim_target(tx, context, engine, server, request, migration_id)
    open_migration(tx, context, server, Kind.LIVE, target, migration_id, "preparing", disk_copied=copied)
    record_action(tx, context, server, ACTION)
    moved = {"migration_id": migration_id, "moving": TaskState.MIGRATING, "updated_at_us": context.now_us}
    SERVERS.update(tx, server.id, **moved)
    make_target_ready(tx, server, target, context.now_us)
    put_wish(tx, SERVERS.get(tx, server.id))
    start_saga(tx, context.new_id(), SAGA, server.id, {"migration": migration_id}, context.now_us)
    refresh_status(tx, server.id, context.now_us)


def _copies_disks(tx: Tx, server: Server, source_name: str, *, block: bool | None) -> bool:
    """Whether there is anything to copy. Raises Invalid when that isn't what was asked for."""
    shared = has_shared_root(tx, server)
    if block and shared:
        raise Invalid(f"{source_name} is not on local storage: Block migration can not be used with shared storage.")
    if block is False and not shared:
        raise Invalid(
            f"{source_name} is not on shared storage: Live migration can not be used without shared storage "
            "except a booted from volume VM which does not have a local disk."
        )
    return not shared


# ---- what can be done meanwhile ------------------------------------------------------------------------------------


def _find(tx: Tx, server_id: str, number: str) -> ServerMigration | None:
    id_ = whole_number(number)
    return None if id_ is None else SERVER_MIGRATIONS.find(tx, server_id=server_id, id=id_)


def get_live_migration(tx: Tx, context: Context, server_id: str, number: str) -> ServerMigration:
    """A live migration of the server that is under way. Raises NotFound with Compute's words."""
    get_server(tx, context, server_id)
    found = _find(tx, server_id, number)
    if found is None:
        raise NotFound("migration", number, f"Migration {number} for server {server_id} could not be found.")
    if found.kind is not Kind.LIVE or found.status not in UNDER_WAY:
        raise NotFound(
            "migration", number, f"Migration {number} for server {server_id} is not live-migration or not in progress."
        )
    return found


def _check_migrating(tx: Tx, context: Context, server_id: str, verb: str) -> None:
    """Raise NotFound, or Conflict by the server's state with Compute's word for what was asked."""
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    if server.task_state is not TaskState.MIGRATING:
        raise Conflict(f"Cannot '{verb}' instance {server_id} while it is in task_state {server.task_state or None}")


def _check_status(migration: ServerMigration, statuses: tuple[str, ...], verb: str) -> None:
    if migration.status not in statuses or migration.kind is not Kind.LIVE:
        raise Invalid(
            f"Migration {migration.id} state of instance {migration.server_id} is {migration.status}. Cannot {verb} while "
            "the migration is in this state."
        )


def force_completion(tx: Tx, context: Context, server_id: str, number: str) -> None:
    """Bring a migration to its end soon: by post-copy where the hypervisors can, else by pausing the guest. Raises NotFound, Conflict, Invalid."""
    _check_migrating(tx, context, server_id, "force_complete")
    migration = _find(tx, server_id, number)
    if migration is None:
        # Upstream's status for this one is 400.
        raise Invalid(f"Migration {number} not found for instance {server_id}")
    _check_status(migration, ("running",), "force complete")
    server = SERVERS.get(tx, server_id)
    record_action(tx, context, server, "live_migration_force_complete")
    change_migration(tx, migration, context.now_us, force_asked=True)
    put_wish(tx, server)


def abort(tx: Tx, context: Context, server_id: str, number: str, *, early: bool) -> None:
    """Break a migration off, before it has begun to send only if ``early``. Raises NotFound, Conflict, Invalid."""
    _check_migrating(tx, context, server_id, "abort live migration")
    migration = _find(tx, server_id, number)
    if migration is None:
        raise NotFound("migration", number, f"Migration {number} not found for instance {server_id}")
    _check_status(migration, ("running", "preparing", "queued") if early else ("running",), "abort live migration")
    server = SERVERS.get(tx, server_id)
    record_action(tx, context, server, "live_migration_cancel")
    change_migration(tx, migration, context.now_us, abort_asked=True)
    put_wish(tx, server)
    poke_sagas(tx, [server_id])


# ---- the saga ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moving:
    """The server and the migration that the saga is about."""

    server: Server
    migration: ServerMigration


def _moving(tx: Tx, run: Run) -> _Moving | None:
    """None when the saga has been overtaken in the meantime, which it then just ends."""
    server = SERVERS.find(tx, id=run.object_id)
    migration = SERVER_MIGRATIONS.find(tx, uuid=run.params["migration"])
    if server is None or migration is None or server.migration_id != migration.uuid:
        return None
    return _Moving(server, migration)


def _told(report: Report | None, migration: ServerMigration) -> MigrationReport | None:
    """What the report says of this migration."""
    found = report.migration if report is not None else None
    return found if found is not None and found.id == migration.uuid else None


def is_prepared(tx: Tx, run: Run) -> Outcome:
    """Whether the target is ready for the guest."""
    moving = _moving(tx, run)
    if moving is None:
        return Ready()
    migration = moving.migration
    if migration.abort_asked:
        return Failed("The migration was aborted.")
    report = find_current_report(tx, migration.target_host_id, Noun.SERVER, run.object_id)
    if report is not None and report.phase is Phase.FAILED:
        return Failed(report.reason or "The target has given up.")
    if report is not None and report.phase is Phase.READY and report.landing:
        return Ready()
    if not is_up(HOSTS.get(tx, migration.target_host_id), run.now_us):
        return Failed(f"Host {migration.target_host} does not answer.")
    return Waiting()


def _ended(tx: Tx, migration: ServerMigration) -> Outcome | None:
    """How the attempt has ended: Ready, the guest runs on the target; Failed, the source has it; Waiting, neither is known yet; None, and the
    source will never know."""
    target = find_current_report(tx, migration.target_host_id, Noun.SERVER, migration.server_id)
    told = _told(target, migration)
    if told is not None and told.state is MigrationState.MIGRATED:
        return Ready()
    source = find_current_report(tx, migration.source_host_id, Noun.SERVER, migration.server_id)
    if source is not None and source.phase is Phase.FAILED:
        return Failed(source.reason or "The source has given up.")
    told = _told(source, migration)
    match told.state if told is not None else MigrationState.RUNNING:
        case MigrationState.MIGRATED:
            return Ready()
        case MigrationState.FAILED | MigrationState.CANCELLED:
            assert told is not None
            return Failed(told.reason or "The migration failed.")
        case MigrationState.UNKNOWN:
            return None
        case MigrationState.RUNNING:
            return Waiting()


def has_ended(tx: Tx, run: Run) -> Outcome:
    """Whether the attempt is over, as far as the source knows."""
    moving = _moving(tx, run)
    if moving is None:
        return Ready()
    match _ended(tx, moving.migration):
        case Waiting():
            # However long it takes: while it goes on, nobody else may decide where the guest is.
            return Waiting(paused=True)
        case None:
            return Ready()
        case outcome:
            return outcome


def is_decided(tx: Tx, run: Run) -> Outcome:
    """Whether it is known where the guest is."""
    moving = _moving(tx, run)
    if moving is None:
        return Ready()
    migration = moving.migration
    outcome = _ended(tx, migration)
    if outcome is not None and not isinstance(outcome, Waiting):
        return outcome
    target = find_current_report(tx, migration.target_host_id, Noun.SERVER, migration.server_id)
    told = _told(target, migration)
    if migration.stage is Stage.CLOSING and told is not None and told.state is MigrationState.FAILED:
        return Failed("The source lost track of the migration, and the target has not got the server.")
    return Waiting(paused=True)


def begin_sending(tx: Tx, run: Run) -> None:
    """The target is ready: let the source know where."""
    moving = _moving(tx, run)
    if moving is None:
        return
    report = find_report(tx, moving.migration.target_host_id, Noun.SERVER, run.object_id)
    assert report is not None, "the step before has seen it"
    changes = {"stage": Stage.SENDING, "landing": report.landing, "status": "running"}
    change_migration(tx, moving.migration, run.now_us, **changes)
    put_wish(tx, moving.server)


def close_target(tx: Tx, run: Run) -> None:
    """The source can't tell how it has ended: have the target decide."""
    moving = _moving(tx, run)
    if moving is not None and _ended(tx, moving.migration) is None:
        change_migration(tx, moving.migration, run.now_us, stage=Stage.CLOSING)
        put_wish(tx, moving.server)


def _settling(tx: Tx, run: Run) -> Server | None:
    """The server after the switch; None when something else has begun with it."""
    server = SERVERS.find(tx, id=run.object_id)
    settling = server is not None and server.moving is TaskState.MIGRATING and not server.migration_id
    return server if settling else None


def is_settled(tx: Tx, run: Run) -> Outcome:
    """Whether the target has come to the server as an ordinary one of its own."""
    server = _settling(tx, run)
    report = find_current_report(tx, server.host_id, Noun.SERVER, server.id) if server is not None else None
    if server is None or (report is not None and report.phase in (Phase.READY, Phase.FAILED)):
        return Ready()
    return Waiting(paused=True)


def end_move(tx: Tx, run: Run) -> None:
    """The server is an ordinary one again, and all that its host has said of it counts."""
    server = _settling(tx, run)
    if server is None:
        return
    SERVERS.update(tx, server.id, moving=TaskState.NONE)
    finish(tx, server.id, LIVE_ACTIONS, run.now_us)
    settle_again(tx, server.id, run.now_us)


def live_migration_saga(world: World) -> Saga:
    """See the module."""

    def switch(tx: Tx, run: Run) -> None:
        moving = _moving(tx, run)
        if moving is None:
            return
        migration = moving.migration
        target = HOSTS.get(tx, migration.target_host_id)
        arrived = settle_on(tx, moving.server, target, run.now_us, migration_id="")
        put_wish(tx, arrived)
        saga_id = new_uuid(world.random)
        leave(tx, saga_id, arrived, migration, migration.source_host_id, target.name, run.now_us, status="completed")

    def stay(tx: Tx, run: Run) -> None:
        moving = _moving(tx, run)
        if moving is None:
            return
        server, migration = moving.server, moving.migration
        SERVERS.update(tx, server.id, migration_id="", moving=TaskState.NONE)
        swap_claims(tx, server.id, migration.uuid, run.now_us)
        stop_expecting_nics(tx, server.id, run.now_us)
        put_wish(tx, SERVERS.get(tx, server.id))
        finish(tx, server.id, LIVE_ACTIONS, run.now_us, error=run.fault)
        settle_again(tx, server.id, run.now_us)
        status = "cancelled" if migration.abort_asked else "error"
        saga_id = new_uuid(world.random)
        left = {"status": status, "reason": run.fault}
        leave(tx, saga_id, server, migration, migration.target_host_id, migration.source_host, run.now_us, **left)

    return Saga(
        SAGA,
        (
            Write("begun", _nothing, stay),
            Await("prepared", is_prepared, READY_S, f"The target was not ready within {READY_S:g} s."),
            Write("sending", begin_sending),
            Await("ended", has_ended, SEND_S, "unreachable: the clock stands still"),
            Write("closed", close_target),
            Await("decided", is_decided, SEND_S, "unreachable: the clock stands still"),
            Write("switched", switch),
            Await("settled", is_settled, SETTLE_S, "unreachable: the clock stands still"),
            Write("finished", end_move),
        ),
    )


LIVE_ACTIONS = (ACTION, "live_migration_force_complete", "live_migration_cancel")


def _nothing(tx: Tx, run: Run) -> None:
    """Whoever started the saga has done it."""
