"""Volumes that are offered to another project."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class VolumeTransfer(msgspec.Struct, frozen=True):
    """``project_id`` offers the volume to whoever has the key, of which only a salted digest is kept."""

    id: str
    volume_id: str
    project_id: str
    name: str
    salt: str
    digest: str
    without_snapshots: bool
    created_at_us: int


VOLUME_TRANSFERS = Table("volume_transfers", VolumeTransfer, noun="transfer")
