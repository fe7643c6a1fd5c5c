"""Volumes."""

from __future__ import annotations

import msgspec

from ostro.model.volumes import VolumeStatus
from ostro.store.changes import TOPIC
from ostro.store.database import Tx
from ostro.store.table import Table


class Volume(msgspec.Struct, frozen=True):
    """One volume. ``size_gb`` is what it has, ``wished_size_gb`` what it shall have; ``built`` once a host has made it.

    ``backend`` is the kind of storage that it was last found in, ``wished_backend`` where it shall be.

    One that is made from a snapshot has the snapshot's volume as its ``source_volume_id``.

    ``limits`` is what the storage holds it to, by the names of `ostro.model.qos`.

    ``reverting_to`` is the snapshot that it is to be what it was at, ``revert_id`` tells one such time from another.

    ``host_id`` is empty while (or because) no host has room. ``status`` is written by ``refresh_status`` alone.
    """

    id: str
    project_id: str
    user_id: str
    name: str
    description: str
    size_gb: int
    wished_size_gb: int
    status: VolumeStatus
    built: bool
    reserved: bool
    deleting: bool
    fault: str
    host_id: str
    availability_zone: str
    volume_type_id: str
    bootable: bool
    metadata: dict[str, str]
    image_id: str
    image_metadata: dict[str, str]
    source_volume_id: str
    created_at_us: int
    updated_at_us: int
    backend: str
    wished_backend: str
    snapshot_id: str
    limits: dict[str, int] = {}
    reverting_to: str = ""
    revert_id: str = ""


VOLUMES = Table("volumes", Volume, rings=TOPIC)


def count_sizes(tx: Tx, project_id: str | None) -> tuple[int, int]:
    """(number, GB) of a project's volumes, or of all."""
    where, params = ("", ()) if project_id is None else (" WHERE project_id = ?", (project_id,))
    row = tx.one(f"SELECT count(*), coalesce(sum(size_gb), 0) FROM volumes{where}", params)
    assert row is not None
    return int(row[0]), int(row[1])
