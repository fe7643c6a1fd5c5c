"""JSON patches of images: ``application/openstack-images-v2.1-json-patch``.

A path names one attribute or custom property; ``/tags`` is replaced as a whole. Unlike RFC 6902, ``add`` on what exists replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostro.http.image.schemas import PROPERTY, RESERVED, WRITABLE
from ostro.http.schema import Validator, array
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.model.images import Visibility
from ostro.store.images import Image

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"
OPERATIONS_MOST = 256
PATCH = array(
    {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "replace", "remove"]},
            "path": {"type": "string", "pattern": "^/[^/]+$", "maxLength": 512},
            "value": {},
        },
        "additionalProperties": False,
    },
    maxItems=OPERATIONS_MOST,
)
_CHECKS = {name: Validator(schema) for name, schema in WRITABLE.items()}
_CHECK_PROPERTY = Validator(PROPERTY)
_ATTRIBUTES = {
    "name": "name",
    "visibility": "visibility",
    "protected": "protected",
    "os_hidden": "hidden",
    "owner": "owner_id",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "min_disk": "min_disk_gb",
    "min_ram": "min_ram_mb",
    "tags": "tags",
}
_NULLABLE = frozenset(("name", "owner_id", "disk_format", "container_format"))


def apply_patch(image: Image, patch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns that the patch changes. Raises Invalid, Forbidden for what is read-only, Conflict for a property that isn't there."""
    changes: dict[str, Any] = {}
    properties = dict(image.properties)
    for step in patch:
        name = step["path"][1:].replace("~1", "/").replace("~0", "~")
        if name in RESERVED or name == "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
        if name in _ATTRIBUTES:
            changes[_ATTRIBUTES[name]] = _attribute(name, step)
        else:
            _change_property(properties, name, step)
    return {**changes, "properties": properties}


def _value(step: dict[str, Any]) -> Any:
    if "value" not in step:
        raise Invalid(f"Operation {step['op']} requires a member named 'value'.")
    return step["value"]


def _attribute(name: str, step: dict[str, Any]) -> Any:
    """The new value of a base attribute, as its column has it."""
    if step["op"] == "remove":
        raise Forbidden(f"Property {name} may not be removed.")
    value = _value(step)
    _CHECKS[name].check(value)
    if name == "visibility":
        return Visibility(value)
    if name == "tags":
        return sorted(set(value))
    if _ATTRIBUTES[name] in _NULLABLE:
        return value or ""
    return value


def _change_property(properties: dict[str, str], name: str, step: dict[str, Any]) -> None:
    if step["op"] != "add" and name not in properties:
        raise Conflict(f"Property {name} does not exist.")
    if step["op"] == "remove":
        del properties[name]
        return
    value = _value(step)
    _CHECK_PROPERTY.check(value)
    properties[name] = value
