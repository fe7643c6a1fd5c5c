"""``/volumes``: create, list, show, change, delete."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.http.block.filters import LIST_QUERY, SORT_KEYS, parse_filters
from ostro.http.block.schemas import FLAG, LINKS, METADATA, REFERENCE, SIZE, TEXT, is_true, to_size
from ostro.http.block.service import BLOCK
from ostro.http.paging import cut, link_to, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.model.errors import Forbidden, Invalid, NotFound
from ostro.model.times import iso_micro
from ostro.model.volumes import AttachmentStatus
from ostro.services.block import volumes as service
from ostro.services.block.volumes import VolumeDetails, VolumeDraft
from ostro.store.attachments import Attachment
from ostro.store.paging import Sort

SHOWN_ATTACHED = (AttachmentStatus.ATTACHED, AttachmentStatus.DETACHING)
_CREATE = {
    "name": TEXT,
    "description": TEXT,
    "display_name": TEXT,
    "display_description": TEXT,
    "size": SIZE,
    "volume_type": REFERENCE,
    "metadata": {"anyOf": [METADATA, {"type": "null"}]},
    "snapshot_id": REFERENCE,
    "source_volid": REFERENCE,
    "consistencygroup_id": REFERENCE,
    "group_id": REFERENCE,
    "backup_id": REFERENCE,
    "multiattach": FLAG,
    "imageRef": REFERENCE,
    "image_id": REFERENCE,
    "availability_zone": REFERENCE,
}
_HINTS = {"OS-SCH-HNT:scheduler_hints": ANY_OBJECT}
CREATE_LENIENT = {
    "type": "object",
    "properties": {"volume": {"type": "object", "properties": _CREATE}, **_HINTS},
    "required": ["volume"],
}
CREATE_STRICT = strict({"volume": strict(_CREATE, ("size",)), **_HINTS}, ("volume",))
_UPDATE = {
    "name": TEXT,
    "description": TEXT,
    "display_name": TEXT,
    "display_description": TEXT,
    "metadata": METADATA,
}
UPDATE = wrapped("volume", strict(_UPDATE))
SUMMARY = shape({"id": STRING, "name": {}, "links": LINKS})
DETAIL = shape({"id": STRING, "status": STRING, "size": INTEGER, "attachments": array(ANY_OBJECT), "links": LINKS})


def links_of(req: Request, volume_id: str) -> list[dict[str, str]]:
    """The links of one volume."""
    project_id = req.context.project_id
    return [
        {"rel": "self", "href": req.url(f"/volume/v3/{project_id}/volumes/{volume_id}")},
        {"rel": "bookmark", "href": req.url(f"/volume/{project_id}/volumes/{volume_id}")},
    ]


def _attachment_entry(attachment: Attachment, host_name: str | None) -> dict[str, Any]:
    return {
        "id": attachment.volume_id,
        "attachment_id": attachment.id,
        "volume_id": attachment.volume_id,
        "server_id": attachment.server_id or None,
        "host_name": host_name,
        "device": attachment.device or None,
        "attached_at": iso_micro(attachment.attached_at_us) if attachment.attached_at_us else None,
    }


def volume_view(req: Request, details: VolumeDetails) -> dict[str, Any]:
    """A volume as the API shows it at the request's microversion, with what only GET shows."""
    volume = details.volume
    view = {**_base_view(req, details), "os-vol-tenant-attr:tenant_id": volume.project_id}
    if volume.image_metadata:
        view["volume_image_metadata"] = volume.image_metadata
    if req.context.is_admin:
        view["os-vol-host-attr:host"] = _pool_name(details)
        view["os-vol-mig-status-attr:migstat"] = None
        view["os-vol-mig-status-attr:name_id"] = None
    return view


def _base_view(req: Request, details: VolumeDetails) -> dict[str, Any]:
    """What every answer shows of a volume."""
    volume = details.volume
    host_name = details.host_name if req.context.is_admin else None
    view: dict[str, Any] = {
        "id": volume.id,
        "status": volume.status.value,
        "size": volume.size_gb,
        "availability_zone": volume.availability_zone,
        "created_at": iso_micro(volume.created_at_us),
        "updated_at": iso_micro(volume.updated_at_us),
        "name": volume.name or None,
        "description": volume.description or None,
        "volume_type": details.type_name,
        "snapshot_id": volume.snapshot_id or None,
        "source_volid": (not volume.snapshot_id and volume.source_volume_id) or None,
        "metadata": volume.metadata,
        "links": links_of(req, volume.id),
        "user_id": volume.user_id,
        "bootable": "true" if volume.bootable else "false",
        "encrypted": details.key is not None,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": False,
        "attachments": [_attachment_entry(a, host_name) for a in details.attachments if a.status in SHOWN_ATTACHED],
        "migration_status": None,
    }
    view.update(_newer_fields(req, details))
    return view


def _pool_name(details: VolumeDetails) -> str | None:
    """Host, kind of storage and pool, as block storage names them."""
    backend = details.volume.wished_backend
    return f"{details.host_name}@{backend}#{backend}" if details.host_name else None


def _newer_fields(req: Request, details: VolumeDetails) -> dict[str, Any]:
    """What microversions have added."""
    minor = req.version.minor if req.version else 0
    key_id = details.key.id if details.key else None
    fields: list[tuple[int, str, Any]] = [
        (13, "group_id", None),
        (48, "service_uuid", details.volume.host_id or None),
        (48, "shared_targets", None if minor >= 69 else False),
        (63, "volume_type_id", details.volume.volume_type_id),
        (65, "consumes_quota", True),
    ]
    if key_id:
        fields.append((64, "encryption_key_id", key_id))
    if req.context.is_admin:
        fields += [(21, "provider_id", None), (61, "cluster_name", None)]
    return {name: value for since, name, value in fields if minor >= since}


def parse_draft(body: dict[str, Any]) -> VolumeDraft:
    """What a client says of a new volume. Raises Invalid, NotFound for sources that there can't be."""
    for name, noun in (("backup_id", "backup"), ("group_id", "group")):
        if body.get(name):
            raise NotFound(noun, body[name])
    if is_true(body.get("multiattach")):
        raise Invalid("Invalid input received: multiattach volumes are not supported by the local storage.")
    source_id, snapshot_id = body.get("source_volid") or "", body.get("snapshot_id") or ""
    image_id = body.get("imageRef") or body.get("image_id") or ""
    if sum(map(bool, (source_id, snapshot_id, image_id))) > 1:
        raise Invalid("Invalid input received: only one of snapshot_id, imageRef and source_volid may be given.")
    if body.get("size") is None and not source_id and not snapshot_id:
        raise Invalid("Invalid input received: 'size' must be given.")
    size_gb = to_size(body.get("size"))
    if body.get("size") is not None:
        service.check_size(size_gb)
    return VolumeDraft(
        size_gb=size_gb,
        name=body.get("name") or body.get("display_name") or "",
        description=body.get("description") or body.get("display_description") or "",
        metadata=body.get("metadata") or {},
        image_id=image_id,
        source_volume_id=source_id,
        snapshot_id=snapshot_id,
        volume_type=body.get("volume_type") or "",
        availability_zone=body.get("availability_zone") or "",
    )


async def create_volume(req: Request) -> Reply:
    draft = msgspec.structs.replace(parse_draft(req.body["volume"]), sealed_key=req.cloud.new_sealed_key())
    await req.cloud.placement.fresh()
    details = await req.run(service.create_volume, req.cloud.placement, draft)
    req.cloud.world.faults.hit("volume.create.committed")
    return Reply({"volume": _base_view(req, details)})


for _schema, _low, _high in (
    (CREATE_LENIENT, None, Version(3, 52)),
    (CREATE_STRICT, Version(3, 53), None),
):
    BLOCK.route(
        "POST",
        "/volumes",
        policy="volume:create",
        rule=Rule.MEMBER,
        status=202,
        body=_schema,
        response=shape({"volume": DETAIL}),
        low=_low,
        high=_high,
        summary="Create a volume",
    )(create_volume)


async def _list(req: Request) -> tuple[list[VolumeDetails], dict[str, Any]]:
    """(the page's volumes, what the answer says beside them)."""
    page = parse_page(
        req,
        sort_keys=SORT_KEYS,
        default_sort=(Sort("created_at_us", descending=True),),
        filters=parse_filters(req),
    )
    all_tenants = req.flag("all_tenants")
    rows = await req.read(service.list_volumes, page, all_tenants=all_tenants)
    rows, more = cut(rows, page)
    extra: dict[str, Any] = {}
    if rows and (more or len(rows) == page.limit - 1):
        # As upstream does, a full page has a next one, even if that is empty.
        extra["volumes_links"] = [{"rel": "next", "href": link_to(req, rows[-1].volume.id)}]
    if req.at_least(3, 45) and req.flag("with_count"):
        extra["count"] = (await req.read(service.count_volumes, all_tenants=all_tenants))[0]
    return rows, extra


@BLOCK.route(
    "GET",
    "/volumes",
    policy="volume:get_all",
    rule=Rule.READER,
    response=shape({"volumes": array(SUMMARY)}),
    query=LIST_QUERY,
    summary="List volumes",
)
async def list_volumes(req: Request) -> Reply:
    rows, extra = await _list(req)
    volumes = [{"id": d.volume.id, "name": d.volume.name or None, "links": links_of(req, d.volume.id)} for d in rows]
    return Reply({"volumes": volumes, **extra})


@BLOCK.route(
    "GET",
    "/volumes/detail",
    policy="volume:get_all",
    rule=Rule.READER,
    response=shape({"volumes": array(DETAIL)}),
    query=LIST_QUERY,
    summary="List volumes with details",
)
async def list_volumes_detailed(req: Request) -> Reply:
    rows, extra = await _list(req)
    return Reply({"volumes": [volume_view(req, details) for details in rows], **extra})


@BLOCK.route(
    "GET",
    "/volumes/summary",
    policy="volume:get_all",
    rule=Rule.READER,
    low=Version(3, 12),
    response=shape({"volume-summary": ANY_OBJECT}),
    query={"all_tenants": STRING},
    summary="Count volumes and their size",
)
async def show_volume_summary(req: Request) -> Reply:
    count, size_gb = await req.read(service.count_volumes, all_tenants=req.flag("all_tenants"))
    summary: dict[str, Any] = {"total_count": count, "total_size": size_gb}
    if req.at_least(3, 36):
        summary["metadata"] = {}
    return Reply({"volume-summary": summary})


@BLOCK.route(
    "GET",
    "/volumes/{volume_id}",
    policy="volume:get",
    rule=Rule.READER,
    response=shape({"volume": DETAIL}),
    summary="Show a volume",
)
async def show_volume(req: Request) -> Reply:
    details = await req.read(service.get_volume, req.params["volume_id"])
    return Reply({"volume": volume_view(req, details)})


@BLOCK.route(
    "PUT",
    "/volumes/{volume_id}",
    policy="volume:update",
    rule=Rule.MEMBER,
    body=UPDATE,
    response=shape({"volume": DETAIL}),
    summary="Change a volume's name, description or metadata",
)
async def update_volume(req: Request) -> Reply:
    body = req.body["volume"]
    changes: dict[str, object] = {}
    for column in ("name", "description"):
        for key in (column, f"display_{column}"):
            if key in body:
                changes[column] = body[key] or ""
    if "metadata" in body:
        changes["metadata"] = body["metadata"]
    details = await req.run(service.update_volume, req.params["volume_id"], changes)
    return Reply({"volume": _base_view(req, details)})


@BLOCK.route(
    "DELETE",
    "/volumes/{volume_id}",
    policy="volume:delete",
    rule=Rule.MEMBER,
    status=202,
    query={"cascade": STRING, "force": STRING},
    summary="Delete a volume",
)
async def delete_volume(req: Request) -> Reply:
    force = req.at_least(3, 23) and req.flag("force")
    if force and not req.context.is_admin:
        raise Forbidden("Policy doesn't allow volume:force_delete to be performed.")
    await req.run(service.delete_volume, req.params["volume_id"], force=force, cascade=req.flag("cascade"))
    req.cloud.world.faults.hit("volume.delete.committed")
    return Reply()
