"""What a volume's host is told of it."""

from __future__ import annotations

from ostro.model.wishes import Noun, VolumeWish
from ostro.store.database import Tx
from ostro.store.volumes import Volume
from ostro.store.wishes import set_wish, wish_absence


def wish_volume(tx: Tx, volume: Volume) -> None:
    """The host shall have the volume at its wished size. Idempotent."""
    wish = VolumeWish(
        id=volume.id,
        size_gb=volume.wished_size_gb,
        image_id=volume.image_id,
        source_volume_id=volume.source_volume_id,
    )
    set_wish(tx, volume.host_id, Noun.VOLUME, volume.id, wish)


def wish_no_volume(tx: Tx, volume: Volume) -> None:
    """The host shall not have the volume. Idempotent."""
    if volume.host_id:
        wish_absence(tx, volume.host_id, Noun.VOLUME, volume.id)
