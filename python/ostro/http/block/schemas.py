"""Pieces of block storage's requests and answers that several nouns share."""

from __future__ import annotations

from typing import Any

from ostro.http.schema import STRING, array, nullable, shape
from ostro.model.errors import Invalid

SIZE = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]{1,9}$"}, {"type": "null"}]}
"""Upstream takes numbers as text too."""
TEXT = nullable({"type": "string", "maxLength": 255})
FLAG = {
    "anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "True", "False", "1", "0", "on", "off", "yes", "no"]}]
}
METADATA = {
    "type": "object",
    "maxProperties": 128,
    "patternProperties": {"^.{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
LINKS = array(shape({"rel": STRING, "href": STRING}))
REFERENCE = nullable({"type": "string", "maxLength": 255})


def is_true(value: Any) -> bool:
    """A flag in one of the forms that upstream takes."""
    return value is True or str(value).lower() in ("true", "1", "on", "yes")


def to_size(value: Any) -> int:
    """A size in GB, 0 for none. Raises Invalid."""
    if value is None:
        return 0
    if isinstance(value, bool):
        raise Invalid(f"Invalid input for field/attribute size. Value: {value}.")
    return int(value)
