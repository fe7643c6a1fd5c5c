"""Volume types: what volumes can be asked to be, by name; who may ask; how they are encrypted."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class VolumeType(msgspec.Struct, frozen=True):
    """A kind of volume. One that is not public is seen only by the projects that have access."""

    id: str
    name: str
    description: str
    is_public: bool
    extra_specs: dict[str, str]
    created_at_us: int
    qos_specs_id: str = ""


class TypeEncryption(msgspec.Struct, frozen=True):
    """How volumes of a type are encrypted. ``provider`` is luks, by any of the names that Block Storage has for it."""

    volume_type_id: str
    id: str
    provider: str
    control_location: str
    cipher: str | None
    key_size: int | None
    created_at_us: int
    updated_at_us: int


VOLUME_TYPES = Table("volume_types", VolumeType, noun="volume type")
TYPE_ENCRYPTIONS = Table("volume_type_encryptions", TypeEncryption, key="volume_type_id", noun="volume type encryption")

VISIBLE_TO = (
    "volume_types.is_public = 1 OR EXISTS (SELECT 1 FROM volume_type_access a"
    " WHERE a.volume_type_id = volume_types.id AND a.project_id = ?)"
)
"""The condition that a project sees a type."""


def list_access(tx: Tx, type_id: str) -> list[str]:
    """Projects with access to a type that is not public."""
    sql = "SELECT project_id FROM volume_type_access WHERE volume_type_id = ? ORDER BY project_id"
    return [row[0] for row in tx.all(sql, (type_id,))]


def has_access(tx: Tx, type_id: str, project_id: str) -> bool:
    """Whether the project was given access."""
    sql = "SELECT 1 FROM volume_type_access WHERE volume_type_id = ? AND project_id = ?"
    return tx.one(sql, (type_id, project_id)) is not None


def add_access(tx: Tx, type_id: str, project_id: str) -> bool:
    """Give access; False if it was given already."""
    sql = "INSERT INTO volume_type_access (volume_type_id, project_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return tx.execute(sql, (type_id, project_id)) > 0


def remove_access(tx: Tx, type_id: str, project_id: str) -> bool:
    """Take access away; False if it wasn't there."""
    sql = "DELETE FROM volume_type_access WHERE volume_type_id = ? AND project_id = ?"
    return tx.execute(sql, (type_id, project_id)) > 0
