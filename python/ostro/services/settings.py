"""Files in the state directory by which an operator sets what a service does."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from ostro.model.errors import Invalid

T = TypeVar("T", bound=msgspec.Struct)


def read_settings(path: Path, type_: type[T]) -> T:
    """What the operator has set, or what ships where there is no file. Raises Invalid."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()) or {} if path.exists() else {}, type_)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise Invalid(f"{path.name}: {error}") from error
