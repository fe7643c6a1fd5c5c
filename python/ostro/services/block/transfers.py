"""Transfers: a project offers a volume, and whoever shows the offer's key makes it theirs.

The key is told once and can't be found out from what is kept. The volume stays where it is; with it go its snapshots, unless they are to stay, and it counts
for its new project from the transaction on that accepts it.
"""

from __future__ import annotations

import hashlib
import hmac

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.model.volumes import SnapshotStatus, VolumeStatus
from ostro.services.block.attachments import get_own_volume
from ostro.services.block.quotas import check_new_snapshot, check_new_volume
from ostro.services.block.status import refresh_status
from ostro.services.block.types import get_type
from ostro.store.allocations import CONSUMERS
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.snapshots import SNAPSHOTS, Snapshot
from ostro.store.volume_transfers import VOLUME_TRANSFERS, VolumeTransfer
from ostro.store.volumes import VOLUMES

KEY_BITS = 64
"""As many as upstream's keys have; who guesses is slowed down by the API."""


def create_transfer(
    tx: Tx, context: Context, volume_id: str, name: str, *, without_snapshots: bool = False
) -> tuple[VolumeTransfer, str]:
    """Offer a volume; the offer and its key, which is never told again. Raises NotFound, Invalid for a volume in another state."""
    volume = get_own_volume(tx, context, volume_id)
    if volume.status is not VolumeStatus.AVAILABLE:
        raise Invalid("Invalid volume: status must be available")
    if not without_snapshots:
        _check_snapshots(SNAPSHOTS.list(tx, volume_id=volume_id))
    key = f"{context.rng.getrandbits(KEY_BITS):0{KEY_BITS // 4}x}"
    salt = f"{context.rng.getrandbits(KEY_BITS):x}"
    transfer = VolumeTransfer(
        id=context.new_id(),
        volume_id=volume_id,
        project_id=volume.project_id,
        name=name,
        salt=salt,
        digest=_digest(salt, key),
        without_snapshots=without_snapshots,
        created_at_us=context.now_us,
    )
    VOLUME_TRANSFERS.insert(tx, transfer)
    refresh_status(tx, volume_id, context.now_us)
    return transfer, key


def _digest(salt: str, key: str) -> str:
    return hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()


def _check_snapshots(snapshots: list[Snapshot]) -> None:
    for snapshot in snapshots:
        if snapshot.status is not SnapshotStatus.AVAILABLE:
            raise Invalid(f"Invalid snapshot: snapshot: {snapshot.id} status must be available")


def get_transfer(tx: Tx, context: Context, transfer_id: str) -> VolumeTransfer:
    """An offer of whoever asks. Raises NotFound."""
    found = VOLUME_TRANSFERS.find(tx, id=transfer_id)
    if found is None or not (context.is_admin or found.project_id == context.project_id):
        raise NotFound("transfer", transfer_id)
    return found


def list_transfers(tx: Tx, context: Context, page: Page, *, all_tenants: bool) -> list[VolumeTransfer]:
    """A page of offers."""
    if not (all_tenants and context.is_admin):
        page = page.with_filters(Filter("project_id", context.project_id))
    return list_page(tx, VOLUME_TRANSFERS, page)


def delete_transfer(tx: Tx, context: Context, transfer_id: str) -> None:
    """Take an offer back. Raises NotFound."""
    transfer = get_transfer(tx, context, transfer_id)
    VOLUME_TRANSFERS.delete(tx, transfer.id)
    refresh_status(tx, transfer.volume_id, context.now_us)


def accept_transfer(tx: Tx, context: Context, transfer_id: str, key: str) -> VolumeTransfer:
    """Make the offered volume the actor's project's. Raises NotFound, Invalid for another key or a type that the project may not use, OverQuota."""
    transfer = VOLUME_TRANSFERS.find(tx, id=transfer_id)
    if transfer is None:
        raise NotFound("transfer", transfer_id)
    if not hmac.compare_digest(transfer.digest, _digest(transfer.salt, key)):
        raise Invalid(f"Invalid auth key: Attempt to transfer {transfer_id} with invalid auth key.")
    volume = VOLUMES.get(tx, transfer.volume_id)
    if volume.status is not VolumeStatus.AWAITING_TRANSFER:
        raise Invalid(f"Invalid volume: status must be awaiting-transfer, it is {volume.status}")
    try:
        kind = get_type(tx, context, volume.volume_type_id)
    except NotFound as error:
        raise Invalid("Invalid volume type: the project has no access to the volume's type.") from error
    snapshots = [] if transfer.without_snapshots else SNAPSHOTS.list(tx, volume_id=volume.id, order="created_at_us, id")
    _check_snapshots(snapshots)
    if volume.project_id != context.project_id:
        check_new_volume(tx, context, kind, volume.size_gb)
    owner = {"project_id": context.project_id, "user_id": context.user_id}
    VOLUMES.update(tx, volume.id, **owner, updated_at_us=context.now_us)
    for snapshot in snapshots:
        if snapshot.project_id != context.project_id:
            check_new_snapshot(tx, context, context.project_id, kind.id, snapshot.size_gb)
        SNAPSHOTS.update(tx, snapshot.id, **owner, updated_at_us=context.now_us)
    CONSUMERS.update_where(tx, owner, id=[volume.id, *(snapshot.id for snapshot in snapshots)])
    VOLUME_TRANSFERS.delete(tx, transfer.id)
    refresh_status(tx, volume.id, context.now_us)
    return transfer
