"""What a volume's host is told of it."""

from __future__ import annotations

from ostro.model.wishes import EncryptionWish, Noun, RevertWish, VolumeWish
from ostro.store.attachments import ATTACHMENTS
from ostro.store.database import Tx
from ostro.store.volume_keys import VOLUME_KEYS, VolumeKey
from ostro.store.volumes import Volume
from ostro.store.wishes import set_wish, wish_absence


def wish_volume(tx: Tx, volume: Volume) -> None:
    """The host shall have the volume at its wished size. Idempotent."""
    key = VOLUME_KEYS.find(tx, volume_id=volume.id)
    wish = VolumeWish(
        id=volume.id,
        size_gb=volume.wished_size_gb,
        image_id=volume.image_id,
        source_volume_id=volume.source_volume_id,
        backend=volume.wished_backend,
        source_snapshot_id=volume.snapshot_id,
        encryption=_encryption(key),
        limits=volume.limits,
        revert=RevertWish(volume.revert_id, volume.reverting_to) if volume.reverting_to else None,
    )
    set_wish(tx, volume.host_id, Noun.VOLUME, volume.id, wish)
    for attachment in ATTACHMENTS.list(tx, volume_id=volume.id):
        lend_volume(tx, volume, attachment.host_id)


def _encryption(key: VolumeKey | None) -> EncryptionWish | None:
    return EncryptionWish(key.provider, key.cipher, key.key_size) if key else None


def wish_no_volume(tx: Tx, volume: Volume) -> None:
    """The host shall not have the volume. Idempotent."""
    if volume.host_id:
        wish_absence(tx, volume.host_id, Noun.VOLUME, volume.id)


def lend_volume(tx: Tx, volume: Volume, host_id: str) -> None:
    """A host that may not be the volume's own has a server that needs it. Idempotent."""
    if host_id != volume.host_id:
        wish = VolumeWish(
            id=volume.id,
            size_gb=volume.wished_size_gb,
            backend=volume.wished_backend,
            borrowed=True,
            encryption=_encryption(VOLUME_KEYS.find(tx, volume_id=volume.id)),
        )
        set_wish(tx, host_id, Noun.VOLUME, volume.id, wish)


def take_back_volume(tx: Tx, volume: Volume, host_id: str) -> None:
    """The host's servers don't need the volume any more. Idempotent."""
    if host_id != volume.host_id:
        wish_absence(tx, host_id, Noun.VOLUME, volume.id)
