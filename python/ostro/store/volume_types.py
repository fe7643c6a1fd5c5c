"""Volume types."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class VolumeType(msgspec.Struct, frozen=True):
    """A kind of volume that can be asked for by name."""

    id: str
    name: str
    description: str
    is_public: bool
    extra_specs: dict[str, str]
    created_at_us: int


VOLUME_TYPES = Table("volume_types", VolumeType, noun="volume type")
