"""What an operator lets users of Block Storage do: ``block.yaml`` in the state directory. The names are upstream's options."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ostro.services.settings import read_settings


class BlockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module's docstring."""

    enable_force_upload: bool = False
    """Whether ``force`` makes an image also of a volume in Ceph that is plugged in. Else it is ignored, as upstream does."""


def read_block(state_dir: Path) -> BlockSettings:
    """What the operator has set, or what ships. Raises Invalid."""
    return read_settings(state_dir / "block.yaml", BlockSettings)
