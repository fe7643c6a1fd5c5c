"""The schema documents that Image serves, and the pieces its requests are checked with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.http.image.service import IMAGE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, NAME, STRING, UUID, array, nullable, shape
from ostro.model.errors import Forbidden
from ostro.model.images import CONTAINER_FORMATS, DISK_FORMATS, ImageStatus, MemberStatus, Visibility

INT32 = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TAG = {"type": "string", "minLength": 1, "maxLength": 255}
TAGS = array(TAG, maxItems=128)
FORMAT_DISK = {"enum": [None, *DISK_FORMATS]}
FORMAT_CONTAINER = {"enum": [None, *CONTAINER_FORMATS]}
VISIBILITY = {"type": "string", "enum": [v.value for v in Visibility]}
PROPERTY = {"type": "string", "maxLength": 65_535}

WRITABLE: Mapping[str, Any] = {
    "id": UUID,
    "name": nullable({"type": "string", "maxLength": 255}),
    "visibility": VISIBILITY,
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "owner": nullable({"type": "string", "maxLength": 255}),
    "disk_format": FORMAT_DISK,
    "container_format": FORMAT_CONTAINER,
    "min_disk": INT32,
    "min_ram": INT32,
    "tags": TAGS,
}
"""Base attributes that a client may set."""

READ_ONLY: Mapping[str, Any] = {
    "status": {"type": "string", "enum": [s.value for s in ImageStatus if s is not ImageStatus.DELETED]},
    "size": nullable({"type": "integer"}),
    "virtual_size": nullable({"type": "integer"}),
    "checksum": nullable({"type": "string", "maxLength": 32}),
    "os_hash_algo": nullable({"type": "string", "maxLength": 64}),
    "os_hash_value": nullable({"type": "string", "maxLength": 128}),
    "created_at": STRING,
    "updated_at": STRING,
    "file": STRING,
    "self": STRING,
    "schema": STRING,
}
RESERVED = frozenset((*READ_ONLY, "locations", "direct_url", "members", "deleted", "deleted_at", "is_public"))
"""Names that no client may set, whether we show them or not."""
RESERVED_PREFIX = "os_glance_"
"""Of properties that the service keeps for itself."""

LINKS = [
    {"rel": "self", "href": "{self}"},
    {"rel": "enclosure", "href": "{file}"},
    {"rel": "describedby", "href": "{schema}"},
]
IMAGE_DOCUMENT: Mapping[str, Any] = {
    "name": "image",
    "properties": {
        **WRITABLE,
        **{name: {**schema, "readOnly": True} for name, schema in READ_ONLY.items()},
    },
    "additionalProperties": {"type": "string"},
    "links": LINKS,
}
MEMBER_DOCUMENT: Mapping[str, Any] = {
    "name": "member",
    "properties": {
        "member_id": NAME,
        "image_id": UUID,
        "status": {"type": "string", "enum": [s.value for s in MemberStatus]},
        "created_at": STRING,
        "updated_at": STRING,
        "schema": STRING,
    },
}


def check_settable(name: str) -> None:
    """Raise Forbidden for a name that no client may set."""
    if name in RESERVED:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def _collection(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a list of ``item``."""
    return {
        "name": name,
        "properties": {
            name: array(item),
            "first": STRING,
            "next": STRING,
            "schema": STRING,
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


DOCUMENTS: Mapping[str, Mapping[str, Any]] = {
    "image": IMAGE_DOCUMENT,
    "images": _collection("images", IMAGE_DOCUMENT),
    "member": MEMBER_DOCUMENT,
    "members": _collection("members", MEMBER_DOCUMENT),
}


_RESPONSE = shape({"name": STRING, "properties": ANY_OBJECT})


def _declare(name: str, summary: str) -> None:
    """A route for one document; the operation is called after it."""

    async def show_schema(req: Request) -> Reply:
        return Reply(dict(DOCUMENTS[name]))

    show_schema.__name__ = f"show_{name}_schema"
    route = IMAGE.route(
        "GET",
        f"/v2/schemas/{name}",
        policy="image:get_schema",
        rule=Rule.AUTHENTICATED,
        response=_RESPONSE,
        summary=summary,
    )
    route(show_schema)


_declare("image", "Show the schema of an image")
_declare("images", "Show the schema of a list of images")
_declare("member", "Show the schema of a member")
_declare("members", "Show the schema of a list of members")
