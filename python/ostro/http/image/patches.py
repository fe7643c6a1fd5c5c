"""JSON patches of images: ``application/openstack-images-v2.1-json-patch``, and v2.0's older form of the same.

A path names one attribute or custom property; ``/tags`` is replaced as a whole. Unlike RFC 6902, ``add`` on what exists replaces it.
In v2.0 (draft 4 of the RFC) the operation's name is the member that holds the path: ``{"replace": "/name", "value": "x"}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostro.http.faults import UnsupportedMediaType
from ostro.http.image.schemas import PROPERTY, WRITABLE, check_settable
from ostro.http.schema import Validator, array
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.model.images import Visibility
from ostro.store.images import Image

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"
OLD_PATCH_TYPE = "application/openstack-images-v2.0-json-patch"
PATCH_TYPES = (PATCH_TYPE, OLD_PATCH_TYPE)
OPERATIONS = ("add", "replace", "remove")
OPERATIONS_MOST = 256
_PATH = {"type": "string", "pattern": "^/[^/]+$", "maxLength": 512}
PATCH = array(
    {
        "type": "object",
        "oneOf": [{"required": ["op", "path"]}, *({"required": [name]} for name in OPERATIONS)],
        "properties": {
            "op": {"enum": list(OPERATIONS)},
            "path": _PATH,
            "value": {},
            **dict.fromkeys(OPERATIONS, _PATH),
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


def read_patch(kind: str, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps of a patch of media type ``kind``, in v2.1's form. Raises UnsupportedMediaType, Invalid."""
    if kind not in PATCH_TYPES:
        raise UnsupportedMediaType(f"Unsupported Content-Type: an image is changed by {' or '.join(PATCH_TYPES)}.")
    if any(("op" in step) != (kind == PATCH_TYPE) for step in steps):
        raise Invalid(f"The operations are not in the form of {kind}.")
    if kind == PATCH_TYPE:
        return list(steps)
    return [
        {"op": name, "path": path, **{k: v for k, v in step.items() if k == "value"}}
        for step in steps
        for name, path in step.items()
        if name in OPERATIONS
    ]


def apply_patch(image: Image, patch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns that the patch changes. Raises Invalid, Forbidden for what is read-only, Conflict for a property that isn't there."""
    changes: dict[str, Any] = {}
    properties = dict(image.properties)
    for step in patch:
        name = step["path"][1:].replace("~1", "/").replace("~0", "~")
        if name == "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
        check_settable(name)
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
