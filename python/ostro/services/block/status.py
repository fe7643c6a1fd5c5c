"""The one writer of a volume's status."""

from __future__ import annotations

from collections.abc import Iterable

from ostro.model.volumes import VolumeFacts, VolumeStatus, volume_status
from ostro.store.attachments import ATTACHMENTS, Attachment
from ostro.store.database import Tx
from ostro.store.volume_transfers import VOLUME_TRANSFERS
from ostro.store.volume_uploads import VOLUME_UPLOADS
from ostro.store.volumes import VOLUMES, Volume


def status_of(
    volume: Volume, attachments: Iterable[Attachment] = (), *, uploading: bool = False, offered: bool = False
) -> VolumeStatus:
    """What the row, its attachments, whether an image is being made of it and whether it is offered to others add up to."""
    return volume_status(
        VolumeFacts(
            built=volume.built,
            deleting=volume.deleting,
            reserved=volume.reserved,
            growing=volume.wished_size_gb > volume.size_gb,
            moving=bool(volume.backend) and volume.backend != volume.wished_backend,
            faulty=bool(volume.fault),
            reverting=bool(volume.reverting_to),
            uploading=uploading,
            offered=offered,
            attachments={attachment.status for attachment in attachments},
        )
    )


def refresh_status(tx: Tx, volume_id: str, now_us: int) -> Volume | None:
    """Write the status that follows from the volume's row and attachments; the row, None when the volume is gone."""
    volume = VOLUMES.find(tx, id=volume_id)
    if volume is None:
        return None
    uploading = VOLUME_UPLOADS.count(tx, volume_id=volume_id) > 0
    offered = VOLUME_TRANSFERS.count(tx, volume_id=volume_id) > 0
    status = status_of(volume, ATTACHMENTS.list(tx, volume_id=volume_id), uploading=uploading, offered=offered)
    if status is volume.status:
        return volume
    VOLUMES.update(tx, volume_id, status=status, updated_at_us=now_us)
    return VOLUMES.get(tx, volume_id)
