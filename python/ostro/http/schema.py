"""JSON Schema: compiled once a route, and pieces that many routes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs
import orjson

from ostro.model.errors import Invalid, TooLarge

BODY_MOST_BYTES = 1 << 20
DEPTH_MOST = 32

NAME: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255}
TEXT: Mapping[str, Any] = {"type": "string", "maxLength": 255}
UUID: Mapping[str, Any] = {"type": "string", "pattern": "^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"}
BOOLEAN: Mapping[str, Any] = {"type": "boolean"}
INTEGER: Mapping[str, Any] = {"type": "integer"}
STRING: Mapping[str, Any] = {"type": "string"}
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


def nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``schema`` or null."""
    return {"anyOf": [dict(schema), {"type": "null"}]}


def array(items: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A list of ``items``."""
    return {"type": "array", "items": dict(items), **more}


def strict(properties: Mapping[str, Any], required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An object that takes these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def shape(properties: Mapping[str, Any], required: tuple[str, ...] | None = None) -> dict[str, Any]:
    """An answer's object: these properties, all of them present unless ``required`` names fewer, and perhaps others."""
    names = tuple(properties) if required is None else required
    return {"type": "object", "properties": dict(properties), "required": list(names)}


def wrapped(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """``{"name": schema}`` and nothing else: the envelope of most OpenStack bodies."""
    return strict({name: dict(schema)}, (name,))


class Validator:
    """A compiled schema. Messages read like upstream's."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True)

    def check(self, value: Any) -> None:
        """Raise Invalid for the first thing that does not fit."""
        if self._validator.is_valid(value):
            return
        error = next(iter(self._validator.iter_errors(value)))
        path = "/".join(str(part) for part in error.instance_path)
        if path:
            shown = str(error.instance)[:255]
            raise Invalid(f"Invalid input for field/attribute {path}. Value: {shown}. {error.message}")
        raise Invalid(f"Invalid input: {error.message}")


def make_matcher(expression: str) -> Callable[[str], bool]:
    """A regular expression that a stranger has sent, matched anywhere and in linear time whatever it is. Raises Invalid."""
    try:
        validator = jsonschema_rs.validator_for({"pattern": expression}, pattern_options=jsonschema_rs.RegexOptions())
    except ValueError as error:
        raise Invalid(f"Invalid regular expression: {expression}", detail=str(error)) from error
    return validator.is_valid


def parse_json(data: bytes) -> Any:
    """A JSON body of bounded nesting. Raises Invalid."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Invalid(
            "The server could not comply with the request since it is either malformed or otherwise incorrect: the body is not valid JSON.",
            detail=str(error),
        ) from error
    if data.count(b"[") + data.count(b"{") > DEPTH_MOST and _depth(value) > DEPTH_MOST:
        raise Invalid(f"The body is nested deeper than {DEPTH_MOST} levels.")
    return value


def _depth(value: Any) -> int:
    """Nesting of a parsed value, without recursion."""
    deepest = 0
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > DEPTH_MOST:
            break
        if isinstance(item, dict):
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)
    return deepest


def check_size(length: int, most_bytes: int = BODY_MOST_BYTES) -> None:
    """Raise TooLarge for a body over the bound."""
    if length > most_bytes:
        raise TooLarge(f"Request is too large: a body may have {most_bytes} bytes.")
