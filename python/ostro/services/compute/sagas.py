"""Compute's sagas.

``server.create`` waits until the host reports the server running and ends the action. If the host gives up or time is up, the server becomes
ERROR with the reason, is wished off the host, and ``server.abandon`` gives back what it held there once it is gone. ``server.delete``
waits until the host reports the server absent, then buries it. A host that is silent stops the clock: nothing is
decided about a machine that nobody can see.
"""

from __future__ import annotations

from ostro.model.ids import new_uuid
from ostro.model.wishes import Noun, Phase
from ostro.runtime.world import World
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Waiting, Write, start_saga
from ostro.services.agents.hosts import waiting_for
from ostro.services.compute.creation import BUILD_S
from ostro.services.compute.creation import SAGA as CREATE
from ostro.services.compute.deletion import SAGA as DELETE
from ostro.services.compute.deletion import bury, vacate
from ostro.services.compute.instance_actions import finish
from ostro.services.compute.servers import ABANDON, refresh_status
from ostro.services.compute.volumes import find_broken_volume
from ostro.services.network.binding import unbind_nics
from ostro.services.placement.engine import PlacementEngine
from ostro.store.database import Tx
from ostro.store.reports import find_current_report, is_absent
from ostro.store.servers import SERVERS, Fault, Server
from ostro.store.wishes import wish_absence

REMOVE_S = 3600.0
CAUSE_HOST = 500


def _living(tx: Tx, run: Run) -> Server | None:
    server = SERVERS.find(tx, id=run.object_id)
    return None if server is None or server.deleted_at_us else server


def _foresee(tx: Tx, server_id: str) -> None:
    SERVERS.foresee(tx, id=server_id)


def is_running(tx: Tx, run: Run) -> Outcome:
    """Whether the host has reported the new server running, or given up on it."""
    server = _living(tx, run)
    if server is None or server.launched_at_us:
        return Ready()
    report = find_current_report(tx, server.host_id, Noun.SERVER, server.id)
    if report is not None and report.phase is Phase.FAILED:
        return Failed(report.reason or "The host has given up.")
    broken = find_broken_volume(tx, server.id)
    if broken:
        return Failed(broken)
    return waiting_for(tx, server.host_id, run.now_us)


def is_gone(tx: Tx, run: Run) -> Outcome:
    """Whether the host no longer has the server."""
    server = _living(tx, run)
    if server is None or is_absent(tx, server.host_id, Noun.SERVER, server.id):
        return Ready()
    # There is no other way than to wait: giving anything back now could give it to two.
    return Waiting(paused=True)


def _end_create(tx: Tx, run: Run) -> None:
    finish(tx, run.object_id, ("create",), run.now_us)


def compute_sagas(world: World, engine: PlacementEngine) -> tuple[Saga, ...]:
    """The sagas, for one process."""

    def give_up(tx: Tx, run: Run) -> None:
        server = _living(tx, run)
        if server is None or server.deleting:
            return
        fault = Fault(CAUSE_HOST, run.fault, "", run.now_us)
        SERVERS.update(tx, server.id, failed=True, fault=fault)
        finish(tx, server.id, ("create",), run.now_us, error=run.fault)
        wish_absence(tx, server.host_id, Noun.SERVER, server.id)
        refresh_status(tx, server.id, run.now_us)
        start_saga(tx, new_uuid(world.random), ABANDON, server.id, {}, run.now_us)

    def leave_host(tx: Tx, run: Run) -> None:
        server = _living(tx, run)
        if server is None or not server.host_id:
            return
        vacate(tx, engine, server, run.now_us)
        unbind_nics(tx, server.id, run.now_us)
        SERVERS.update(tx, server.id, host_id="", host_name="")

    def end_delete(tx: Tx, run: Run) -> None:
        server = _living(tx, run)
        if server is not None:
            bury(tx, engine, server, lambda: new_uuid(world.random), run.now_us)

    return (
        Saga(
            CREATE,
            (
                Write("wished", _nothing, give_up),
                Await("running", is_running, BUILD_S, f"The host did not start the server within {BUILD_S:g} s."),
                Write("finished", _end_create),
            ),
            foresee=_foresee,
        ),
        Saga(
            ABANDON,
            (
                Await("gone", is_gone, REMOVE_S, "unreachable: the clock stands still"),
                Write("left", leave_host),
            ),
        ),
        Saga(
            DELETE,
            (
                Await("gone", is_gone, REMOVE_S, "unreachable: the clock stands still"),
                Write("buried", end_delete),
            ),
            foresee=_foresee,
        ),
    )


def _nothing(tx: Tx, run: Run) -> None:
    """The wish was set by whoever started the saga."""
