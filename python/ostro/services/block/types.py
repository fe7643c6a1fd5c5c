"""Volume types. There is one that works, ``local``; administrators may add others by name and say what they stand for."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.store.database import Tx
from ostro.store.volume_types import VOLUME_TYPES, VolumeType

DEFAULT_TYPE = "local"


def get_default_type(tx: Tx, context: Context) -> VolumeType:
    """The type of a volume that asks for none."""
    found = VOLUME_TYPES.find(tx, name=DEFAULT_TYPE)
    assert found is not None, "the migrations make it"
    return found


def get_type(tx: Tx, context: Context, id_or_name: str) -> VolumeType:
    """A type by id or name. Raises NotFound."""
    found = VOLUME_TYPES.find(tx, id=id_or_name) or VOLUME_TYPES.find(tx, name=id_or_name)
    if found is None or not (found.is_public or context.is_admin):
        raise NotFound("volume type", id_or_name, f"Volume type {id_or_name} could not be found.")
    return found


def list_types(tx: Tx, context: Context, *, is_public: bool | None = None) -> list[VolumeType]:
    """Every type that whoever asks may use."""
    rows = VOLUME_TYPES.list(tx, order="name")
    if not context.is_admin:
        is_public = True
    return [row for row in rows if is_public is None or row.is_public == is_public]
