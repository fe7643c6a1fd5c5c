"""What an operator lets users of Block Storage do: ``block.yaml`` in the state directory. The names are upstream's options."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from ostro.model.errors import Invalid


class BlockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module's docstring."""

    enable_force_upload: bool = False
    """Whether ``force`` makes an image also of a volume in Ceph that is plugged in. Else it is ignored, as upstream does."""


def read_block(state_dir: Path) -> BlockSettings:
    """What the operator has set, or what ships. Raises Invalid."""
    path = state_dir / "block.yaml"
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()) or {} if path.exists() else {}, BlockSettings)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise Invalid(f"block.yaml: {error}") from error
