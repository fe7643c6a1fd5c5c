"""Snapshots of volumes."""

from __future__ import annotations

import msgspec

from ostro.model.volumes import SnapshotStatus
from ostro.store.changes import TOPIC
from ostro.store.table import Table


class Snapshot(msgspec.Struct, frozen=True):
    """What a volume held at one moment. It is on the volume's host, in the kind of storage that the volume was in then.

    ``status`` is written by ``refresh_snapshot`` alone.
    """

    id: str
    project_id: str
    user_id: str
    volume_id: str
    name: str
    description: str
    size_gb: int
    status: SnapshotStatus
    built: bool
    deleting: bool
    fault: str
    host_id: str
    backend: str
    volume_type_id: str
    metadata: dict[str, str]
    created_at_us: int
    updated_at_us: int


SNAPSHOTS = Table("snapshots", Snapshot, rings=TOPIC)
