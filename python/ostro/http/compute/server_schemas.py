"""Schemas of ``/servers``: one for each range of microversions that differs. Source: the Compute API reference, request by request."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import LINKS
from ostro.http.schema import ANY_OBJECT, STRING, UUID, array, nullable, shape, strict
from ostro.http.versions import Version

SERVER_NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^\S(.*\S)?$"}
DESCRIPTION = nullable({"type": "string", "maxLength": 255, "pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"})
METADATA = {
    "type": "object",
    "patternProperties": {r"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
FLAG = {
    "enum": [
        True,
        False,
        "true",
        "false",
        "True",
        "False",
        "TRUE",
        "FALSE",
        "1",
        "0",
        "yes",
        "no",
        "on",
        "off",
        "t",
        "f",
    ]
}
COUNT = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"}]
}
IPV4 = {"type": "string", "anyOf": [{"format": "ipv4"}, {"const": ""}]}
IPV6 = {"type": "string", "anyOf": [{"format": "ipv6"}, {"const": ""}]}
DISK_CONFIG = {"enum": ["AUTO", "MANUAL"]}
TAG = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
TAGS = array(TAG, maxItems=50)
HOSTNAME = {"type": "string", "minLength": 2, "maxLength": 63, "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$"}
FQDN = {"type": "string", "minLength": 2, "maxLength": 255, "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9.-]*[a-zA-Z0-9]+$"}
USER_DATA = nullable({"type": "string", "maxLength": 65535})
"""Base64; the bound is upstream's, on the encoded text."""
PASSWORD = {"type": "string", "minLength": 0, "maxLength": 255}
HINTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "group": UUID,
        "same_host": {"anyOf": [UUID, array(UUID)]},
        "different_host": {"anyOf": [UUID, array(UUID)]},
        "query": {"type": ["string", "object"]},
        "target_cell": STRING,
        "build_near_host_ip": STRING,
        "cidr": STRING,
    },
    "additionalProperties": True,
}


def _network(version: Version) -> dict[str, Any]:
    properties: dict[str, Any] = {"uuid": UUID, "fixed_ip": {"type": "string"}, "port": nullable(UUID)}
    if version == (2, 32) or version >= (2, 42):
        properties["tag"] = TAG
    return strict(properties)


def _networks(version: Version) -> dict[str, Any]:
    listed = array(_network(version), maxItems=32)
    if version < (2, 37):
        return listed
    return {"anyOf": [{"enum": ["auto", "none"]}, listed]}


def _mapping(version: Version) -> dict[str, Any]:
    """An entry of ``block_device_mapping_v2``."""
    properties: dict[str, Any] = {
        "boot_index": {"type": ["integer", "string", "null"]},
        "delete_on_termination": FLAG,
        "destination_type": {"enum": ["local", "volume"]},
        "device_name": nullable({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._/-]*$"}),
        "device_type": STRING,
        "disk_bus": STRING,
        "guest_format": STRING,
        "no_device": {},
        "snapshot_id": UUID,
        "source_type": {"enum": ["volume", "image", "snapshot", "blank"]},
        "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
        "image_id": UUID,
        "volume_id": UUID,
        "volume_size": {"type": ["integer", "string", "null"]},
    }
    if version == (2, 32) or version >= (2, 42):
        properties["tag"] = TAG
    if version >= (2, 67):
        properties["volume_type"] = {"type": ["string", "null"], "maxLength": 255}
    return strict(properties)


CREATE_STEPS = tuple(Version(2, minor) for minor in (1, 19, 32, 33, 37, 42, 52, 57, 63, 67, 74, 90, 94))
"""Where the body of ``POST /servers`` changes."""


def create_body(version: Version) -> dict[str, Any]:
    """The body of ``POST /servers`` from this microversion on."""
    server: dict[str, Any] = {
        "name": SERVER_NAME,
        "imageRef": {"anyOf": [UUID, {"const": ""}]},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1, "minimum": 0},
        "adminPass": PASSWORD,
        "metadata": METADATA,
        "networks": _networks(version),
        "OS-DCF:diskConfig": DISK_CONFIG,
        "accessIPv4": IPV4,
        "accessIPv6": IPV6,
        "availability_zone": {"type": "string", "minLength": 1, "maxLength": 255},
        "block_device_mapping": array(ANY_OBJECT, maxItems=25),
        "block_device_mapping_v2": array(_mapping(version), maxItems=26),
        "config_drive": {"anyOf": [FLAG, {"type": "null"}, {"const": ""}]},
        "key_name": {"type": "string", "minLength": 1, "maxLength": 255},
        "min_count": COUNT,
        "max_count": COUNT,
        "return_reservation_id": FLAG,
        "security_groups": array(strict({"name": {"type": "string", "minLength": 1, "maxLength": 255}}), maxItems=100),
        "user_data": USER_DATA,
    }
    required = ["name", "flavorRef"]
    if version < (2, 57):
        server["personality"] = array(strict({"path": STRING, "contents": STRING}, ("path", "contents")))
    if version >= (2, 19):
        server["description"] = DESCRIPTION
    if version >= (2, 37):
        required.append("networks")
    if version >= (2, 52):
        server["tags"] = TAGS
    if version >= (2, 63):
        server["trusted_image_certificates"] = nullable(array(STRING, minItems=1, maxItems=50))
    if version >= (2, 74):
        server |= {
            "host": {"type": "string", "maxLength": 255},
            "hypervisor_hostname": {"type": "string", "maxLength": 255},
        }
    if version >= (2, 90):
        server["hostname"] = FQDN if version >= (2, 94) else HOSTNAME
    return strict(
        {
            "server": strict(server, tuple(required)),
            "os:scheduler_hints": HINTS,
            "OS-SCH-HNT:scheduler_hints": HINTS,
        },
        ("server",),
    )


UPDATE_STEPS = tuple(Version(2, minor) for minor in (1, 19, 90, 94))


def update_body(version: Version) -> dict[str, Any]:
    """The body of ``PUT /servers/{id}`` from this microversion on."""
    server: dict[str, Any] = {
        "name": SERVER_NAME,
        "OS-DCF:diskConfig": DISK_CONFIG,
        "accessIPv4": IPV4,
        "accessIPv6": IPV6,
    }
    if version >= (2, 19):
        server["description"] = DESCRIPTION
    if version >= (2, 90):
        server["hostname"] = FQDN if version >= (2, 94) else HOSTNAME
    return strict({"server": strict(server)}, ("server",))


def ranges(steps: tuple[Version, ...]) -> list[tuple[Version, Version | None]]:
    """(lowest, highest) of each step; the last one has no end."""
    after = [Version(step.major, step.minor - 1) for step in steps[1:]]
    return list(zip(steps, [*after, None], strict=True))


BRIEF = shape({"id": STRING, "name": STRING, "links": LINKS})
SERVER = shape(
    {
        "id": STRING,
        "name": STRING,
        "status": STRING,
        "tenant_id": STRING,
        "user_id": STRING,
        "metadata": ANY_OBJECT,
        "hostId": STRING,
        "image": {"type": ["object", "string"]},
        "flavor": ANY_OBJECT,
        "created": STRING,
        "updated": STRING,
        "addresses": ANY_OBJECT,
        "links": LINKS,
    }
)
