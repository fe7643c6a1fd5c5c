"""What a request about servers means: from JSON and query parameters to the services' terms."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec

from ostro.http.paging import parse_page
from ostro.http.request import Request
from ostro.http.schema import make_matcher
from ostro.model.errors import Invalid
from ostro.model.numbers import whole_number
from ostro.model.times import parse_iso
from ostro.services.block.volumes import VolumeDraft
from ostro.services.compute.creation import ServerSpec
from ostro.services.compute.listing import Matcher, ServerQuery
from ostro.services.compute.volumes import VolumeSource
from ostro.services.network.binding import RequestedNic
from ostro.store.paging import Filter, Op, Sort, Where, escape_like

_PLAIN = re.compile(r"\^?[\w -]*\$?", re.ASCII)
_TRUE = frozenset(("true", "1", "yes", "on", "t"))


def truth(value: Any) -> bool:
    """A flag in any of the forms that the schemas let pass."""
    return str(value).lower() in _TRUE


# ---- creation ------------------------------------------------------------------------------------------------------


def parse_spec(req: Request) -> ServerSpec:
    """The body of ``POST /servers``. Raises Invalid for what it forbids or this cloud does not do."""
    given = req.body["server"]
    hints = req.body.get("os:scheduler_hints") or req.body.get("OS-SCH-HNT:scheduler_hints") or {}
    _refuse_unsupported(given)
    min_count = int(given.get("min_count", 1))
    nics = _nics(req, given)
    image_id, volumes = _boot_sources(given)
    return ServerSpec(
        name=given["name"],
        flavor_id=str(given["flavorRef"]),
        image_id=image_id,
        nics=nics,
        must_have_network=given.get("networks") == "auto",
        security_groups=[group["name"] for group in given.get("security_groups", ()) if "name" in group],
        key_name=given.get("key_name"),
        user_data=_user_data(given.get("user_data") or ""),
        metadata=given.get("metadata", {}),
        tags=given.get("tags", ()),
        min_count=min_count,
        max_count=int(given.get("max_count", min_count)),
        zone=given.get("availability_zone", ""),
        host=given.get("host") or given.get("hypervisor_hostname") or "",
        group_id=hints.get("group", ""),
        same_hosts=_ids(hints.get("same_host", ())),
        different_hosts=_ids(hints.get("different_host", ())),
        volumes=volumes,
        description=given.get("description", None if req.at_least(2, 19) else given["name"]),
        hostname=given.get("hostname", ""),
        access_ipv4=plain_address(given.get("accessIPv4", "")),
        access_ipv6=plain_address(given.get("accessIPv6", "")),
        disk_config=given.get("OS-DCF:diskConfig", "MANUAL"),
    )


def _refuse_unsupported(given: Mapping[str, Any]) -> None:
    if truth(given.get("config_drive")):
        raise Invalid("A config drive is not supported: the guest reads its data from the metadata service.")
    if given.get("personality"):
        raise Invalid("Personality files are not supported: use user_data.")
    if given.get("trusted_image_certificates"):
        raise Invalid("Image signature certificates are not supported.")


def plain_address(text: str) -> str:
    """An address that has passed its schema, in its shortest form."""
    return str(ip_address(text)) if text else ""


def _ids(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _user_data(text: str) -> str:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("User data needs to be valid base 64.") from error
    return text


def _nics(req: Request, given: Mapping[str, Any]) -> list[RequestedNic] | None:
    """The NICs asked for: None to choose, empty for none."""
    networks = given.get("networks", "auto")
    if networks == "none":
        return []
    if networks == "auto" or not networks:
        return None
    nics = []
    for item in networks:
        port_id, fixed_ip = item.get("port") or "", item.get("fixed_ip", "")
        if port_id and fixed_ip:
            raise Invalid(
                f"Specified Fixed IP '{fixed_ip}' cannot be used with port '{port_id}': the two cannot be specified together."
            )
        network_id = "" if port_id else item.get("uuid", "")
        if not port_id and not network_id:
            raise Invalid("Missing network uuid or port id.")
        nics.append(RequestedNic(network_id, port_id, fixed_ip, item.get("tag", "")))
    return nics


def _boot_sources(given: Mapping[str, Any]) -> tuple[str, list[VolumeSource]]:
    """(image, volumes) from ``imageRef`` and the block device mappings."""
    image_id = given.get("imageRef", "")
    if "block_device_mapping" in given and "block_device_mapping_v2" in given:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
    volumes: list[VolumeSource] = []
    for item in given.get("block_device_mapping", ()):
        volumes.append(_legacy_volume(item))
    indexes: list[int] = []
    for item in given.get("block_device_mapping_v2", ()):
        if truth(item.get("no_device")):
            continue
        boot_index = _boot_index(item.get("boot_index"))
        indexes.append(boot_index)
        if item.get("source_type") == "image" and item.get("destination_type") in (None, "local"):
            image_id = image_id or _local_image(item, boot_index)
        else:
            volumes.append(_mapped_volume(item, boot_index))
    _check_sequence(indexes, has_image=bool(image_id))
    return image_id, volumes


def _check_sequence(indexes: Sequence[int], *, has_image: bool) -> None:
    """Raise Invalid unless what can be booted from is numbered from 0 on; an image that isn't mapped counts as the first."""
    numbered = sorted(index for index in indexes if index >= 0)
    if has_image and 0 not in numbered:
        numbered.insert(0, 0)
    if numbered != list(range(len(numbered))) or (indexes and not numbered):
        raise Invalid(
            "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid."
        )


def _local_image(item: Mapping[str, Any], boot_index: int) -> str:
    """The image that the server's own disk starts from."""
    if boot_index != 0:
        raise Invalid("Block Device Mapping is Invalid: Mapping image to local is not supported.")
    return str(item.get("uuid") or item.get("image_id") or "")


def _mapped_volume(item: Mapping[str, Any], boot_index: int) -> VolumeSource:
    """A volume by its mapping: one that exists, or one to be made blank or from an image."""
    source, destination = item.get("source_type", ""), item.get("destination_type")
    if source == "blank" and destination in (None, "local"):
        raise Invalid(
            "Block Device Mapping is Invalid: ephemeral and swap disks are not supported; map blank to volume."
        )
    if destination == "local":
        raise Invalid(f"Block Device Mapping is Invalid: Mapping {source} to local is not supported.")
    if source == "volume":
        return _volume(item, item.get("uuid") or item.get("volume_id") or "", boot_index)
    if source == "snapshot":
        return _snapshot_volume(item, boot_index)
    if source not in ("image", "blank"):
        raise Invalid("Block Device Mapping is Invalid: a mapping needs its source_type.")
    size_gb = _volume_size(item)
    if not size_gb:
        kind = (
            "Images with destination_type 'volume'"
            if source == "image"
            else "Blank volumes (source: 'blank', dest: 'volume')"
        )
        raise Invalid(f"Block Device Mapping is Invalid: {kind} need to have a non-zero size specified.")
    image_id = str(item.get("uuid") or item.get("image_id") or "") if source == "image" else ""
    if source == "image" and not image_id:
        raise Invalid("Block Device Mapping is Invalid: an image needs its uuid.")
    draft = VolumeDraft(size_gb=size_gb, image_id=image_id, volume_type=item.get("volume_type") or "")
    return msgspec.structs.replace(_volume(item, "new", boot_index), volume_id="", draft=draft)


def _snapshot_volume(item: Mapping[str, Any], boot_index: int) -> VolumeSource:
    """A volume to be made from a snapshot, as large as that unless a size is given."""
    snapshot_id = str(item.get("uuid") or item.get("snapshot_id") or "")
    if not snapshot_id:
        raise Invalid("Block Device Mapping is Invalid: a snapshot needs its uuid.")
    size_gb, kind = _volume_size(item), item.get("volume_type") or ""
    draft = VolumeDraft(size_gb=size_gb, snapshot_id=snapshot_id, volume_type=kind)
    return msgspec.structs.replace(_volume(item, "new", boot_index), volume_id="", draft=draft)


def _volume_size(item: Mapping[str, Any]) -> int:
    value = item.get("volume_size") or 0
    size_gb = whole_number(str(value))
    if size_gb is None:
        raise Invalid(f"Block Device Mapping is Invalid: volume_size {value} is not a number.")
    return size_gb


def _boot_index(value: Any) -> int:
    if value is None:
        return -1
    try:
        return max(int(value), -1)
    except ValueError as error:
        raise Invalid(f"Boot index {value} is invalid.") from error


def _volume(item: Mapping[str, Any], volume_id: str, boot_index: int) -> VolumeSource:
    if not volume_id:
        raise Invalid("Block Device Mapping is Invalid: a volume needs its uuid.")
    device = item.get("device_name") or ""
    if device and not device.startswith("/dev/"):
        device = f"/dev/{device}"
    return VolumeSource(volume_id, boot_index, device, truth(item.get("delete_on_termination", False)), item.get("tag"))


def _legacy_volume(item: Mapping[str, Any]) -> VolumeSource:
    """An entry of the first ``block_device_mapping``: vda is what to boot from."""
    device = str(item.get("device_name", ""))
    return _volume(item, str(item.get("volume_id", "")), 0 if device.endswith("da") else -1)


# ---- lists ---------------------------------------------------------------------------------------------------------

SORT_KEYS = {
    "access_ip_v4": "access_ipv4",
    "access_ip_v6": "access_ipv6",
    "availability_zone": "zone_asked",
    "config_drive": "config_drive",
    "created_at": "created_at_us",
    "display_description": "created_at_us",
    "display_name": "name",
    "host": "host_name",
    "hostname": "hostname",
    "image_ref": "image_id",
    "instance_type_id": "flavor_id",
    "launch_index": "launch_index",
    "launched_at": "launched_at_us",
    "locked": "locked",
    "node": "host_name",
    "power_state": "power_state",
    "progress": "created_at_us",
    "project_id": "project_id",
    "task_state": "task_state",
    "terminated_at": "deleted_at_us",
    "updated_at": "updated_at_us",
    "user_id": "user_id",
    "uuid": "id",
    "vm_state": "vm_state",
}
DEFAULT_SORT = (Sort("created_at_us", True), Sort("id", True))
STATUSES = {
    "ACTIVE": ("ACTIVE",),
    "BUILD": ("BUILD",),
    "DELETED": ("DELETED",),
    "ERROR": ("ERROR",),
    "HARD_REBOOT": ("HARD_REBOOT",),
    "PAUSED": ("PAUSED",),
    "REBOOT": ("REBOOT",),
    "SHUTOFF": ("SHUTOFF",),
} | dict.fromkeys(
    (
        "MIGRATING",
        "PASSWORD",
        "REBUILD",
        "RESCUE",
        "RESIZE",
        "REVERT_RESIZE",
        "SHELVED",
        "SHELVED_OFFLOADED",
        "SOFT_DELETED",
        "SUSPENDED",
        "UNKNOWN",
        "VERIFY_RESIZE",
    ),
    (),
)
"""Statuses that the API knows, and those of ours."""
EQUAL = {
    "reservation_id": "reservation_id",
    "flavor": "flavor_id",
    "image": "image_id",
}
EQUAL_EXTENDED = {
    "availability_zone": "zone_asked",
    "key_name": "key_name",
    "user_id": "user_id",
    "vm_state": "vm_state",
    "task_state": "task_state",
}
EQUAL_ADMIN = {"host": "host_name", "node": "host_name", "uuid": "id", "launch_index": "launch_index"}
POWER_NUMBERS = {"pending": "0", "running": "1", "paused": "3", "shutdown": "4", "crashed": "6", "suspended": "7"}


def parse_query(req: Request) -> ServerQuery:
    """The query of a list of servers. Raises Invalid."""
    q = req.query
    admin = req.context.is_admin
    policy = f"{req.route.policy}:get_all_tenants"
    every = "all_tenants" in q and (q["all_tenants"] == "" or _flag(req, "all_tenants"))
    project_id = (q.get("project_id") or q.get("tenant_id") or "") if req.context.may_also(policy) else ""
    every = every or (project_id not in ("", req.context.project_id) and "all_tenants" not in q)
    filters, matchers = _text_filters(req)
    filters += _state_filters(req)
    filters += _tag_filters(req)
    since = _times(req, filters)
    deleted: bool | None = None if since else False
    if admin and "deleted" in q:
        deleted = _flag(req, "deleted")
    if any(s.upper() == "DELETED" for s in q.getlist("status")):
        deleted = True
    page = parse_page(req, sort_keys=SORT_KEYS, default_sort=DEFAULT_SORT, filters=filters)
    return ServerQuery(page, every, project_id, deleted, matchers, policy)


def _text_filter(column: str, expression: str) -> Where | Matcher:
    """A condition for a regular expression: in SQL when it is plain text with or without anchors, else row by row."""
    if not _PLAIN.fullmatch(expression):
        return column, make_matcher(expression)
    text = escape_like(expression.removeprefix("^").removesuffix("$"))
    before = "" if expression.startswith("^") else "%"
    after = "" if expression.endswith("$") else "%"
    return Where(f"servers.{column} LIKE ? ESCAPE '\\'", (before + text + after,))


def _flag(req: Request, name: str) -> bool:
    text = req.query.get(name, "")
    return req.flag(name) if text else False


def _text_filters(req: Request) -> tuple[list[Filter | Where], list[Matcher]]:
    q, filters, matchers = req.query, list[Filter | Where](), list[Matcher]()
    wide = req.context.is_admin or req.at_least(2, 83)
    columns = {**EQUAL, **(EQUAL_EXTENDED if wide else {}), **(EQUAL_ADMIN if req.context.is_admin else {})}
    for name, column in columns.items():
        if name in q:
            values = q.getlist(name)
            filters.append(Filter(column, values[0]) if len(values) == 1 else Filter(column, values, Op.IN))
    for name, column in (("name", "name"), *((("hostname", "hostname"),) if wide else ())):
        if q.get(name):
            found = _text_filter(column, q[name])
            if isinstance(found, Where):
                filters.append(found)
            else:
                matchers.append(found)
    if q.get("ip"):
        filters.append(_ip_filter(q["ip"]))
    if q.get("ip6") and (req.context.is_admin or req.at_least(2, 5)):
        filters.append(_ip_filter(q["ip6"]))
    return filters, matchers


def _ip_filter(expression: str) -> Where:
    """Servers with an address that matches: plain text with anchors, where ``.`` is a dot and ``.*`` is anything."""
    text = expression.removeprefix("^").removesuffix("$").replace("\\.", ".")
    pattern = "%".join(escape_like(part) for part in text.split(".*"))
    before = '"ip":"' if expression.startswith("^") else '"ip":"%'
    after = '"%' if expression.endswith("$") else '%"%'
    return Where(
        "EXISTS (SELECT 1 FROM ports WHERE ports.device_id = servers.id AND ports.fixed_ips LIKE ? ESCAPE '\\')",
        ("%" + before + pattern + after,),
    )


def _state_filters(req: Request) -> list[Filter | Where]:
    q, filters = req.query, list[Filter | Where]()
    if "status" in q:
        wanted = [s.upper() for s in q.getlist("status")]
        unknown = [s for s in wanted if s not in STATUSES]
        if unknown and req.at_least(2, 38):
            raise Invalid(f"Invalid status value: {unknown[0].lower()}")
        filters.append(Filter("status", [ours for s in wanted for ours in STATUSES.get(s, ())], Op.IN))
    if "locked" in q and req.at_least(2, 73):
        filters.append(Filter("locked", req.flag("locked")))
    wide = req.context.is_admin or req.at_least(2, 83)
    if "power_state" in q and wide:
        text = q["power_state"].lower()
        number = whole_number(POWER_NUMBERS.get(text, text))
        if number is None:
            raise Invalid(f"Invalid filter value for power_state: {text}")
        filters.append(Where("servers.power_state = ?", (number,)))
    if "config_drive" in q and wide and truth(q["config_drive"]):
        filters.append(Where("1 = 0"))
    return filters


def _tag_filters(req: Request) -> list[Filter | Where]:
    if not req.at_least(2, 26):
        return []
    filters: list[Filter | Where] = []
    for name, joint, negated in (
        ("tags", " AND ", False),
        ("tags-any", " OR ", False),
        ("not-tags", " AND ", True),
        ("not-tags-any", " OR ", True),
    ):
        if name in req.query:
            tags = [tag for tag in req.query[name].split(",") if tag]
            sql = joint.join(["servers.tags LIKE ? ESCAPE '\\'"] * len(tags)) or "1 = 1"
            params = tuple(f'%"{escape_like(tag)}"%' for tag in tags)
            filters.append(Where(f"NOT ({sql})" if negated else sql, params))
    return filters


def _times(req: Request, filters: list[Filter | Where]) -> bool:
    """Add the filters by time of change; whether there is one from below, which shows deleted servers too."""
    for name, op in (("changes-since", Op.GE), ("changes-before", Op.LE)):
        if name in req.query and (name == "changes-since" or req.at_least(2, 66)):
            try:
                at_us = parse_iso(req.query[name].replace(" ", "+"))
            except ValueError as error:
                raise Invalid(f"Invalid {name} value: {req.query[name]}") from error
            filters.append(Filter("updated_at_us", at_us, op))
    return "changes-since" in req.query
