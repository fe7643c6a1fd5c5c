"""Evacuation: a server is started on another host, because its own is down.

The host that had it may still run it, out of sight. So it is first wished to let go, in the very transaction that begins, and nothing is placed
anywhere before it has said that it has, or is fenced (`ostro.services.agents.hosts.is_fenced`), and so has every other host that the server is
yet to leave. What is in storage that hosts share is kept; a disk of the host's own is made from the image again. When the host comes back, it
finds that it has to let go.
"""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid
from ostro.model.servers import TaskState, VmState
from ostro.model.wishes import Noun, Phase, Power
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Waiting, Write, start_saga
from ostro.services.agents.hosts import is_fenced, is_up, waiting_for
from ostro.services.compute.instance_actions import EVERY_ACTION, finish, record_action
from ostro.services.compute.moves import (
    break_off,
    change_migration,
    check_target,
    claim_target,
    host_request,
    leave,
    lets_go,
    make_target_ready,
    open_migration,
    settle_on,
    take_back_loans,
)
from ostro.services.compute.servers import ABANDON, lock_free, put_wish, refresh_status, settle_again
from ostro.services.compute.visibility import get_server
from ostro.services.placement.engine import PlacementEngine
from ostro.store.allocations import list_by_provider
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.reports import find_current_report
from ostro.store.sagas import SAGAS
from ostro.store.server_migrations import SERVER_MIGRATIONS, Kind, ServerMigration, list_leaving
from ostro.store.servers import SERVERS, Fault, Server

SAGA = "server.evacuate"
ACTION = "evacuate"
LOOK_S = 2.0
"""How often it is looked whether a silent host is fenced by now: no report says so."""
START_S = 900.0
CAUSE_HOST = 500
STATES = (VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED, VmState.ERROR)


def begin_evacuation(
    tx: Tx, context: Context, engine: PlacementEngine, server_id: str, host_name: str | None, *, stay_off: bool
) -> None:
    """Have a server of a host that is down started on the host that was named, or on one that Placement chooses; or made there, ``stay_off``.

    It may have been doing anything. Raises Conflict by the server's state, Invalid when its host is up or it can't go there.
    """
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    if server.vm_state not in STATES:
        raise Conflict(f"Cannot 'evacuate' instance {server.id} while it is in vm_state {server.vm_state}")
    if server.deleting:
        raise Conflict(f"Cannot 'evacuate' instance {server.id} while it is in task_state {server.task_state}")
    if not server.host_id or not server.launched_at_us or SAGAS.find(tx, object_id=server.id, kind=ABANDON):
        raise Conflict(f"Instance {server.id} is not ready")
    if is_up(HOSTS.get(tx, server.host_id), context.now_us):
        raise Invalid(f"Compute service of {server.host_name} is still in use.")
    only = [check_target(tx, context, server, host_name).id] if host_name else None
    finish(tx, server.id, EVERY_ACTION, context.now_us, error="The server's host is down.")
    break_off(tx, context.new_id(), server, context.now_us, "The server's host is down.", heir=server.host_name)
    server = SERVERS.get(tx, server.id)
    # On its host; or on the target of an evacuation before this one, which has not come to that.
    (held,) = list_by_provider(tx, server.id).values()
    migration_id = context.new_id()
    request = host_request(tx, server, held, server.flavor, only)
    target = claim_target(tx, context, engine, server, request, migration_id)
    migration = open_migration(tx, context, server, Kind.EVACUATION, target, migration_id, "accepted")
    record_action(tx, context, server, ACTION)
    SERVERS.update(tx, server.id, migration_id=migration_id, moving=TaskState.REBUILDING, updated_at_us=context.now_us)
    leave(tx, context.new_id(), server, migration, server.host_id, target.name, context.now_us)
    params = {"migration": migration_id, "stay_off": stay_off}
    start_saga(tx, context.new_id(), SAGA, server.id, params, context.now_us)
    refresh_status(tx, server.id, context.now_us)


def _evacuated(tx: Tx, run: Run) -> tuple[Server, ServerMigration] | None:
    """None when the saga has been overtaken in the meantime, which it then just ends."""
    server = SERVERS.find(tx, id=run.object_id)
    migration = SERVER_MIGRATIONS.find(tx, uuid=run.params["migration"])
    if server is None or migration is None or server.migration_id != migration.uuid:
        return None
    return server, migration


def is_safe(tx: Tx, run: Run) -> Outcome:
    """Whether no host can run the server any more."""
    if _evacuated(tx, run) is None:
        return Ready()
    for migration in list_leaving(tx, run.object_id):
        host = HOSTS.find(tx, id=migration.leaving_host_id)
        if host is None:
            # It was fenced, or else it could not have been removed (`ostro.services.agents.removal`), and isn't let in any more.
            continue
        if not lets_go(tx, migration, host.id) and not is_fenced(tx, host, run.now_us, run.object_id):
            return Waiting(paused=True)
    return Ready()


def place(tx: Tx, run: Run) -> None:
    """The server is the target's."""
    found = _evacuated(tx, run)
    if found is None:
        return
    server, migration = found
    target = HOSTS.get(tx, migration.target_host_id)
    make_target_ready(tx, server, target, run.now_us)
    power = Power.OFF if run.params["stay_off"] else server.power
    changes = {"taken_from": server.host_name, "moving": TaskState.REBUILD_SPAWNING, "power": power}
    placed = settle_on(tx, server, target, run.now_us, **changes, failed=False, fault=None)
    take_back_loans(tx, migration.source_host_id)
    change_migration(tx, migration, run.now_us, status="pre-migrating")
    put_wish(tx, placed)
    refresh_status(tx, server.id, run.now_us)


def is_there(tx: Tx, run: Run) -> Outcome:
    """Whether the target has the server as it is wished."""
    found = _evacuated(tx, run)
    if found is None:
        return Ready()
    server, _ = found
    report = find_current_report(tx, server.host_id, Noun.SERVER, server.id)
    if report is not None and report.phase is Phase.FAILED:
        return Failed(report.reason or "The host has given up.")
    return (
        Ready() if report is not None and report.phase is Phase.READY else waiting_for(tx, server.host_id, run.now_us)
    )


def _end(tx: Tx, run: Run, status: str, **changes: object) -> None:
    found = _evacuated(tx, run)
    if found is None:
        return
    server, migration = found
    SERVERS.update(tx, server.id, migration_id="", moving=TaskState.NONE, **changes)
    over = "completed" if status == "done" and not migration.leaving_host_id else status
    change_migration(tx, migration, run.now_us, status=over, reason=run.fault)
    finish(tx, server.id, (ACTION,), run.now_us, error=run.fault or None)
    settle_again(tx, server.id, run.now_us)


def give_up(tx: Tx, run: Run) -> None:
    """The target could not start it: there it stays, as an error, and can be evacuated or rebooted again."""
    _end(tx, run, "failed", failed=True, fault=Fault(CAUSE_HOST, run.fault, "", run.now_us))


def evacuation_saga() -> Saga:
    """See the module."""
    return Saga(
        SAGA,
        (
            Await("safe", is_safe, LOOK_S, "unreachable: the clock stands still"),
            Write("placed", place, give_up),
            Await("there", is_there, START_S, f"The host did not start the server within {START_S:g} s."),
            Write("finished", lambda tx, run: _end(tx, run, "done")),
        ),
    )
