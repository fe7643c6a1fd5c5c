"""Keys of encrypted volumes, sealed."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class VolumeKey(msgspec.Struct, frozen=True):
    """How a volume is encrypted. Its passphrase is made of the secret in ``sealed`` and of ``salt``; a copy of the volume has the same two.

    ``id`` is what the API shows. ``provider`` is luks.
    """

    volume_id: str
    id: str
    provider: str
    control_location: str
    cipher: str
    key_size: int
    salt: str
    sealed: str


VOLUME_KEYS = Table("volume_keys", VolumeKey, key="volume_id", noun="volume key")
