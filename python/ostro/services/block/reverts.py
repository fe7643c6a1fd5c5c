"""Volumes that become again what they were at their latest snapshot.

The request notes which snapshot that is; the volume's host makes it so once, however often it is told, and while it does, nobody can have the
volume::

    volume.revert   wish -> reverted -> done      late or failed: error, for what the volume holds isn't known then

The snapshot stays, and is the latest one still.
"""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid
from ostro.model.volumes import SnapshotStatus, VolumeStatus
from ostro.model.wishes import Noun, Phase
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Write, start_saga
from ostro.services.agents.hosts import waiting_for
from ostro.services.block.attachments import get_own_volume
from ostro.services.block.snapshots import refresh_snapshot
from ostro.services.block.status import refresh_status
from ostro.services.block.wishes import wish_volume
from ostro.store.database import Tx
from ostro.store.reports import find_current_report
from ostro.store.snapshots import SNAPSHOTS, Snapshot
from ostro.store.volumes import VOLUMES, Volume

REVERT_MOST_S = 86_400.0


def revert_volume(tx: Tx, context: Context, volume_id: str, snapshot_id: str) -> None:
    """Have the volume become what it was at its latest snapshot, which the client names.

    Raises NotFound, Invalid for any other snapshot or a volume that has grown since, Conflict while one of the two is not available.
    """
    volume = get_own_volume(tx, context, volume_id)
    latest = _latest_snapshot(tx, volume_id)
    if latest.id != snapshot_id:
        raise Invalid(f"Specified snapshot ID {snapshot_id} is None or not the latest one of volume {volume_id}.")
    named = f"Can't revert volume {volume_id} to its latest snapshot {snapshot_id}."
    if latest.size_gb != volume.size_gb:
        raise Invalid(f"{named} The volume size must be equal to the snapshot size.")
    if volume.status is not VolumeStatus.AVAILABLE:
        raise Conflict(f"Invalid volume: {named} Volume's status must be 'available'.")
    if latest.status is not SnapshotStatus.AVAILABLE:
        raise Conflict(f"Invalid snapshot: {named} Snapshot's status must be 'available'.")
    revert_id = context.new_id()
    _note(tx, volume, snapshot_id, revert_id, context.now_us)
    start_saga(tx, context.new_id(), "volume.revert", volume_id, {"revert_id": revert_id}, context.now_us)


def _latest_snapshot(tx: Tx, volume_id: str) -> Snapshot:
    found = SNAPSHOTS.list(tx, volume_id=volume_id, order="created_at_us DESC, id DESC", limit=1)
    if not found:
        raise Invalid(f"Volume {volume_id} has no snapshots.")
    return found[0]


def forget_revert(tx: Tx, volume: Volume, now_us: int) -> None:
    """Nothing is to be reverted any more. Idempotent."""
    if volume.reverting_to:
        _note(tx, volume, "", "", now_us)


def _note(tx: Tx, volume: Volume, snapshot_id: str, revert_id: str, now_us: int) -> None:
    """Note what the volume is to be reverted to, for its host and both statuses."""
    VOLUMES.update(tx, volume.id, reverting_to=snapshot_id, revert_id=revert_id)
    changed = refresh_status(tx, volume.id, now_us)
    assert changed is not None, "it was found just now"
    refresh_snapshot(tx, snapshot_id or volume.reverting_to, now_us)
    if not changed.deleting:
        wish_volume(tx, changed)


# -- the saga ------------------------------------------------------------------------------------------------------


def _wished(tx: Tx, run: Run) -> None:
    """The request has written the wish in the transaction that started the saga."""


def _find(tx: Tx, run: Run) -> Volume | None:
    """The volume while it is this revert's."""
    return VOLUMES.find(tx, id=run.object_id, revert_id=run.params["revert_id"])


def _reverted(tx: Tx, run: Run) -> Outcome:
    volume = _find(tx, run)
    if volume is None:
        return Ready()
    if volume.fault:
        return Failed(volume.fault)
    report = find_current_report(tx, volume.host_id, Noun.VOLUME, volume.id)
    if report is not None and report.phase is Phase.READY:
        return Ready()
    return waiting_for(tx, volume.host_id, run.now_us)


def _done(tx: Tx, run: Run) -> None:
    volume = _find(tx, run)
    if volume is not None:
        forget_revert(tx, volume, run.now_us)


def _give_up(tx: Tx, run: Run) -> None:
    """Say why it came to nothing; its host need not try any more."""
    volume = _find(tx, run)
    if volume is not None:
        VOLUMES.update(tx, volume.id, fault=run.fault or "The operation was given up.")
        forget_revert(tx, volume, run.now_us)


def revert_saga() -> Saga:
    """See the module's docstring."""
    return Saga(
        "volume.revert",
        (
            Write("wish", _wished, undo=_give_up),
            Await("reverted", _reverted, REVERT_MOST_S, "The host did not revert the volume within a day."),
            Write("done", _done),
        ),
    )
