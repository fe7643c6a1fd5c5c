"""Volume types: names for kinds of storage.

A type says which kind it is by the extra spec ``volume_backend_name``: ``local`` (files on the disks of the volume's host, also when it says nothing) or
``ceph``. Administrators may add others by name. A cloud that has Ceph has the type ``ceph``, and that is then the default.
"""

from __future__ import annotations

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.model.volumes import CEPH, LOCAL
from ostro.store.database import Tx
from ostro.store.volume_types import VOLUME_TYPES, VolumeType

DEFAULT_TYPE = LOCAL
BACKEND_SPEC = "volume_backend_name"
CEPH_TYPE = VolumeType(
    id="63657068-0000-4000-8000-000000000001",
    name=CEPH,
    description="RBD in Ceph, for servers on any host",
    is_public=True,
    extra_specs={BACKEND_SPEC: CEPH},
    created_at_us=0,
)


def ensure_ceph_type(tx: Tx, now_us: int) -> None:
    """Have the type of volumes in Ceph."""
    if VOLUME_TYPES.find(tx, name=CEPH) is None:
        VOLUME_TYPES.insert(tx, msgspec.structs.replace(CEPH_TYPE, created_at_us=now_us))


def backend_of(kind: VolumeType) -> str:
    """The kind of storage that the type stands for."""
    return kind.extra_specs.get(BACKEND_SPEC) or LOCAL


def get_default_type(tx: Tx, context: Context) -> VolumeType:
    """The type of a volume that asks for none."""
    found = VOLUME_TYPES.find(tx, name=CEPH) or VOLUME_TYPES.find(tx, name=DEFAULT_TYPE)
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
