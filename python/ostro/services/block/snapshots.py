"""Snapshots of volumes: made by the volume's host, beside the volume, and there until they are deleted.

A volume with snapshots can't be deleted (unless they are to go with it) nor moved to another kind of storage. A snapshot in files is a copy
and claims room; one in Ceph shares what it holds with its volume and claims none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Invalid, NoCapacity, NotFound
from ostro.model.volumes import LOCAL, SnapshotStatus, VolumeStatus, snapshot_status
from ostro.model.wishes import Noun, Phase, Report, SnapshotWish
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Waiting, Write, start_saga
from ostro.services.block.attachments import get_own_volume
from ostro.services.block.quotas import check_new_snapshot
from ostro.services.placement.claims import Owner, claim_host, release_claim
from ostro.services.placement.engine import HostRequest, PlacementEngine
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.reports import is_absent
from ostro.store.snapshots import SNAPSHOTS, Snapshot
from ostro.store.volumes import VOLUMES, Volume
from ostro.store.wishes import find_generation, set_wish, wish_absence

CREATE_MOST_S = 3600.0
DELETE_MOST_S = 86_400.0
METADATA_MOST = 128
DELETABLE = frozenset((SnapshotStatus.AVAILABLE, SnapshotStatus.ERROR, SnapshotStatus.ERROR_DELETING))


class SnapshotDraft(msgspec.Struct, frozen=True):
    """What a client says of a new snapshot. ``force``: also of a volume that is plugged in."""

    volume_id: str
    name: str = ""
    description: str = ""
    metadata: dict[str, str] = {}
    force: bool = False


def get_snapshot(tx: Tx, context: Context, snapshot_id: str) -> Snapshot:
    """The snapshot if it belongs to whoever asks. Raises NotFound."""
    found = SNAPSHOTS.find(tx, id=snapshot_id)
    if found is None or not (context.is_admin or found.project_id == context.project_id):
        raise NotFound("snapshot", snapshot_id)
    return found


def list_snapshots(tx: Tx, context: Context, page: Page, *, all_tenants: bool = False) -> list[Snapshot]:
    """A page of snapshots."""
    if not (all_tenants and context.is_admin):
        page = page.with_filters(Filter("project_id", context.project_id))
    return list_page(tx, SNAPSHOTS, page)


def create_snapshot(tx: Tx, context: Context, engine: PlacementEngine, draft: SnapshotDraft) -> Snapshot:
    """Have the volume's host keep what the volume holds. Raises NotFound, Invalid, OverQuota."""
    volume = get_own_volume(tx, context, draft.volume_id)
    _check_volume(volume, force=draft.force)
    check_new_snapshot(tx, context, volume.project_id, volume.volume_type_id, volume.size_gb)
    snapshot = Snapshot(
        id=context.new_id(),
        project_id=volume.project_id,
        user_id=context.user_id,
        volume_id=volume.id,
        name=draft.name,
        description=draft.description,
        size_gb=volume.size_gb,
        status=SnapshotStatus.CREATING,
        built=False,
        deleting=False,
        fault="",
        host_id=volume.host_id,
        backend=volume.wished_backend,
        volume_type_id=volume.volume_type_id,
        metadata=dict(draft.metadata),
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    fault = _claim(tx, context, engine, snapshot)
    if fault:
        snapshot = msgspec.structs.replace(snapshot, fault=fault, status=SnapshotStatus.ERROR, host_id="")
    SNAPSHOTS.insert(tx, snapshot)
    if snapshot.host_id:
        set_wish(tx, snapshot.host_id, Noun.SNAPSHOT, snapshot.id, SnapshotWish(snapshot.id, volume.id))
        start_saga(tx, context.new_id(), "snapshot.create", snapshot.id, {}, context.now_us)
    return snapshot


def _check_volume(volume: Volume, *, force: bool) -> None:
    """Raise Invalid unless a snapshot of the volume can be made now."""
    if volume.status is VolumeStatus.AVAILABLE:
        return
    if volume.status is not VolumeStatus.IN_USE or not force:
        raise Invalid(
            f"Invalid volume: Volume {volume.id} status must be available, but current status is: {volume.status}."
        )
    if volume.wished_backend == LOCAL:
        raise Invalid(
            f"Invalid volume: Volume {volume.id} is in files and plugged in; a snapshot of it can be made when it is unplugged."
        )


def _claim(tx: Tx, context: Context, engine: PlacementEngine, snapshot: Snapshot) -> str:
    """Take room for a snapshot that needs some; why there is none, or nothing."""
    if snapshot.backend != LOCAL:
        return ""
    request = HostRequest(resources={"DISK_GB": snapshot.size_gb}, only_hosts=[snapshot.host_id])
    owner = Owner(snapshot.id, snapshot.project_id, snapshot.user_id, "SNAPSHOT")
    try:
        claim_host(tx, engine, request, owner, seed=context.rng.getrandbits(32), now_us=context.now_us)
    except NoCapacity as error:
        return error.message
    return ""


def update_snapshot(tx: Tx, context: Context, snapshot_id: str, changes: Mapping[str, str]) -> Snapshot:
    """Change name or description. Raises NotFound."""
    get_snapshot(tx, context, snapshot_id)
    if changes:
        SNAPSHOTS.update(tx, snapshot_id, **changes, updated_at_us=context.now_us)
    return get_snapshot(tx, context, snapshot_id)


def change_snapshot_metadata(
    tx: Tx, context: Context, snapshot_id: str, entries: Mapping[str, str], *, replace: bool
) -> dict[str, str]:
    """Add to the entries, or replace them all; the entries then. Raises NotFound, Invalid for too many."""
    snapshot = get_snapshot(tx, context, snapshot_id)
    changed = dict(entries) if replace else {**snapshot.metadata, **entries}
    if len(changed) > METADATA_MOST:
        raise Invalid(f"Invalid metadata: at most {METADATA_MOST} entries are allowed.")
    SNAPSHOTS.update(tx, snapshot_id, metadata=changed, updated_at_us=context.now_us)
    return changed


def remove_snapshot_key(tx: Tx, context: Context, snapshot_id: str, key: str) -> None:
    """Remove one entry. Raises NotFound."""
    entries = dict(get_snapshot(tx, context, snapshot_id).metadata)
    if entries.pop(key, None) is None:
        raise NotFound("metadata", key, "Metadata item was not found")
    SNAPSHOTS.update(tx, snapshot_id, metadata=entries, updated_at_us=context.now_us)


def delete_snapshot(tx: Tx, context: Context, snapshot_id: str, *, force: bool = False) -> None:
    """Wish the snapshot gone. One that is going already stays so. Raises NotFound, Invalid for one in use."""
    snapshot = get_snapshot(tx, context, snapshot_id)
    if snapshot.status is SnapshotStatus.DELETING:
        return
    if not force and snapshot.status not in DELETABLE:
        raise Invalid(
            "Invalid snapshot: Snapshot status must be available or error or error_deleting, "
            f"but current status is {snapshot.status}."
        )
    if _is_restoring(tx, snapshot):
        raise Invalid(f"Invalid snapshot: volume {snapshot.volume_id} is being reverted to snapshot {snapshot_id}.")
    if VOLUMES.count(tx, snapshot_id=snapshot_id, built=False, fault=""):
        raise Invalid(f"Invalid snapshot: a volume is being made from snapshot {snapshot_id}.")
    if not snapshot.host_id:
        forget_snapshot(tx, snapshot_id, context.now_us)
        return
    SNAPSHOTS.update(tx, snapshot_id, deleting=True, fault="")
    refresh_snapshot(tx, snapshot_id, context.now_us)
    wish_absence(tx, snapshot.host_id, Noun.SNAPSHOT, snapshot_id)
    start_saga(tx, context.new_id(), "snapshot.delete", snapshot_id, {}, context.now_us)


def delete_snapshots_of(tx: Tx, context: Context, volume_id: str) -> None:
    """Wish all snapshots of a volume gone. Raises Invalid when one is in use."""
    for snapshot in SNAPSHOTS.list(tx, volume_id=volume_id, order="created_at_us, id"):
        delete_snapshot(tx, context, snapshot.id)


def reset_snapshot(tx: Tx, context: Context, snapshot_id: str, status: str) -> None:
    """An administrator says that a snapshot is well again, or isn't. Raises NotFound, Invalid."""
    snapshot = get_snapshot(tx, context, snapshot_id)
    if status == SnapshotStatus.ERROR:
        SNAPSHOTS.update(tx, snapshot_id, fault="Set by an administrator.")
    elif status == SnapshotStatus.AVAILABLE and snapshot.built and not snapshot.deleting:
        SNAPSHOTS.update(tx, snapshot_id, fault="")
    else:
        raise Invalid(
            f"Invalid input received: snapshot {snapshot_id} is {snapshot.status} and can't be set to {status}."
        )
    refresh_snapshot(tx, snapshot_id, context.now_us)


def refresh_snapshot(tx: Tx, snapshot_id: str, now_us: int) -> None:
    """Write the status that follows from the row, if there is one."""
    found = SNAPSHOTS.find(tx, id=snapshot_id)
    if found is None:
        return
    restoring = _is_restoring(tx, found)
    status = snapshot_status(built=found.built, deleting=found.deleting, faulty=bool(found.fault), restoring=restoring)
    if status is not found.status:
        SNAPSHOTS.update(tx, snapshot_id, status=status, updated_at_us=now_us)


def _is_restoring(tx: Tx, snapshot: Snapshot) -> bool:
    """Whether its volume is being reverted to it."""
    volume = VOLUMES.find(tx, id=snapshot.volume_id)
    return volume is not None and volume.reverting_to == snapshot.id


def settle_snapshot(tx: Tx, host_id: str, report: Report, now_us: int) -> None:
    """A host has reported on a snapshot: ``built`` follows what it found, ``fault`` what it gave up on."""
    found = SNAPSHOTS.find(tx, id=report.id, host_id=host_id)
    if found is None:
        return
    if report.phase is Phase.READY and not found.deleting and not found.built:
        SNAPSHOTS.update(tx, found.id, built=True)
    elif report.phase is Phase.FAILED and find_generation(tx, host_id, Noun.SNAPSHOT, found.id) == report.generation:
        SNAPSHOTS.update(tx, found.id, fault=report.reason or "The host gave up.")
    refresh_snapshot(tx, found.id, now_us)


def forget_snapshot(tx: Tx, snapshot_id: str, now_us: int, engine: PlacementEngine | None = None) -> None:
    """The host has nothing of the snapshot any more: give back its room and forget it. Idempotent."""
    if SNAPSHOTS.find(tx, id=snapshot_id) is not None:
        release_claim(tx, snapshot_id, now_us, engine)
        SNAPSHOTS.delete(tx, snapshot_id)


def _wished(tx: Tx, run: Run) -> None:
    """The request has written the wish in the transaction that started the saga."""


def _fail(tx: Tx, run: Run) -> None:
    """Say why it came to nothing."""
    SNAPSHOTS.update_where(tx, {"fault": run.fault or "The operation was given up."}, id=run.object_id)
    refresh_snapshot(tx, run.object_id, run.now_us)


def _fail_create(tx: Tx, run: Run) -> None:
    """The snapshot stays as an error to be looked at and deleted; its host need not try any more."""
    _fail(tx, run)
    found = SNAPSHOTS.find(tx, id=run.object_id)
    if found is not None and found.host_id:
        wish_absence(tx, found.host_id, Noun.SNAPSHOT, found.id)


def _built(tx: Tx, run: Run) -> Outcome:
    found = SNAPSHOTS.find(tx, id=run.object_id)
    if found is None or found.built:
        return Ready()
    return Failed(found.fault) if found.fault else Waiting()


def _gone(tx: Tx, run: Run) -> Outcome:
    found = SNAPSHOTS.find(tx, id=run.object_id)
    if found is None or not found.host_id or is_absent(tx, found.host_id, Noun.SNAPSHOT, found.id):
        return Ready()
    return Waiting()


def snapshot_sagas(engine: PlacementEngine) -> tuple[Saga, ...]:
    """What happens to a snapshot between the request and the host's last report; late or failed, it is in error."""

    def forget(tx: Tx, run: Run) -> None:
        forget_snapshot(tx, run.object_id, run.now_us, engine)

    create = Saga(
        "snapshot.create",
        (
            Write("wish", _wished, undo=_fail_create),
            Await("built", _built, CREATE_MOST_S, "The host did not make the snapshot within an hour."),
        ),
    )
    delete = Saga(
        "snapshot.delete",
        (
            Write("wish", _wished, undo=_fail),
            Await("gone", _gone, DELETE_MOST_S, "The host did not delete the snapshot within a day."),
            Write("forget", forget),
        ),
    )
    return create, delete
