"""Bodies of the network service: the values that Neutron takes, which are looser than their types.

Booleans may come as text or 0 and 1, numbers as text, lists as null. A create takes one object or a list of them, all or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ostro.http.request import Request
from ostro.http.schema import nullable, strict
from ostro.model.numbers import whole_number
from ostro.services.network.errors import NetworkInvalid, bad_value

BULK_MOST = 1000
TEXT = {"type": "string", "maxLength": 255}
LOOSE_BOOLEAN = {
    "enum": [True, False, "true", "false", "True", "False", "TRUE", "FALSE", 0, 1, "0", "1", "t", "f", "yes", "no"]
}
LOOSE_INTEGER = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]{1,10}$"}]}
PROJECT = {"tenant_id": nullable(TEXT), "project_id": nullable(TEXT)}
_TRUE = frozenset((True, "true", "1", "t", "yes"))


def one_or_many(name: str, plural: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """``{"name": {...}}``, or ``{"plural": [{...}, ...]}``."""
    many = {"type": "array", "items": dict(schema), "minItems": 1, "maxItems": BULK_MOST}
    return {
        "type": "object",
        "properties": {name: dict(schema), plural: many},
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


def only(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """``{"name": {...}}`` with no other properties: the body of an update."""
    return strict({name: strict(properties)}, (name,))


def items_of(req: Request, name: str, plural: str) -> list[dict[str, Any]]:
    """The objects that a create asks for."""
    body: dict[str, Any] = req.body
    return [body[name]] if name in body else list(body[plural])


def wrap(
    req: Request, name: str, plural: str, views: list[dict[str, Any]], pick: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """The answer to a create, in the form of its request."""
    return {name: pick(views[0])} if name in req.body else {plural: [pick(view) for view in views]}


def to_bool(value: Any) -> bool:
    """A loose boolean that its schema has let pass."""
    return (value.lower() if isinstance(value, str) else bool(value)) in _TRUE


def project_of(item: Mapping[str, Any]) -> str:
    """The project that an object is asked for, empty for the actor's own."""
    return item.get("project_id") or item.get("tenant_id") or ""


def rename(item: Mapping[str, Any], names: Mapping[str, Callable[[Any], Any] | None]) -> dict[str, Any]:
    """Those of the item's values that have these names, converted."""
    return {
        name: convert(item[name]) if convert is not None else item[name]
        for name, convert in names.items()
        if name in item
    }


def to_mac(value: str, attribute: str = "mac_address") -> str:
    """A MAC address in its usual form. Raises NetworkInvalid for what is none, or is a group's."""
    digits = value.replace(":", "").replace("-", "").replace(".", "").lower()
    if len(digits) != 12 or any(c not in "0123456789abcdef" for c in digits):
        raise bad_value(attribute, f"'{value}' is not a valid MAC address")
    if int(digits[:2], 16) & 1 or digits == "0" * 12:
        raise bad_value(attribute, f"'{value}' is not a unicast MAC address")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def expected_revision(req: Request) -> int | None:
    """The revision of an ``If-Match`` header. Raises NetworkInvalid."""
    text = req.headers.get("If-Match", "").strip().strip('"')
    if not text.startswith("revision_number="):
        return None
    number = text.removeprefix("revision_number=")
    revision = whole_number(number)
    if revision is None:
        raise NetworkInvalid(
            "BadRequest",
            "Bad if-match request: Revision number etag must be in the format of revision_number=<int>.",
        )
    return revision
