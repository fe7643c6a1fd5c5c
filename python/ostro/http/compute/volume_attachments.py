"""``/servers/{id}/os-volume_attachments``: volumes plugged into a server."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.server_requests import truth
from ostro.http.compute.server_schemas import FLAG, TAG, ranges
from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, UUID, array, nullable, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.services.compute import volumes
from ostro.services.compute.volumes import VolumeSource
from ostro.store.block_devices import BlockDevice

PATH = "/v2.1/servers/{server_id}/os-volume_attachments"
POLICY = "os_compute_api:os-volumes-attachments"
DEVICE = nullable({"type": "string", "pattern": "(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$|^auto$|^$"})
ATTACHMENT = shape({"volumeAttachment": ANY_OBJECT})
STEPS = (Version(2, 1), Version(2, 49), Version(2, 79))


def _view(req: Request, device: BlockDevice) -> dict[str, Any]:
    view: dict[str, Any] = {"volumeId": device.volume_id, "serverId": device.server_id, "device": device.device}
    if req.at_least(2, 89):
        view |= {"attachment_id": device.attachment_id, "bdm_uuid": device.id}
    else:
        view["id"] = device.volume_id
    if req.at_least(2, 70):
        view["tag"] = device.tag
    if req.at_least(2, 79):
        view["delete_on_termination"] = device.delete_on_termination
    return view


@COMPUTE.route(
    "GET",
    PATH,
    policy=f"{POLICY}:index",
    rule=Rule.READER,
    query={"limit": INTEGER, "offset": INTEGER},
    response=shape({"volumeAttachments": array(ANY_OBJECT)}),
    summary="List the volumes of a server",
)
async def list_attachments(req: Request) -> Reply:
    devices = await req.read(volumes.list_devices, req.params["server_id"])
    offset = req.integer("offset", 0)
    shown = devices[offset : offset + req.integer("limit", 1000)]
    return Reply({"volumeAttachments": [_view(req, device) for device in shown]})


async def attach_volume(req: Request) -> Reply:
    given = req.body["volumeAttachment"]
    device = given.get("device") or ""
    source = VolumeSource(
        volume_id=given["volumeId"],
        device="" if device == "auto" else device,
        delete_on_termination=truth(given.get("delete_on_termination", False)),
        tag=given.get("tag"),
    )
    attached = await req.run(volumes.attach_volume, req.params["server_id"], source)
    req.cloud.world.faults.hit("volume.attach.committed")
    return Reply({"volumeAttachment": _view(req, attached)})


def _attach_body(version: Version) -> dict[str, Any]:
    properties: dict[str, Any] = {"volumeId": UUID, "device": DEVICE}
    if version >= (2, 49):
        properties["tag"] = TAG
    if version >= (2, 79):
        properties["delete_on_termination"] = FLAG
    return wrapped("volumeAttachment", strict(properties, ("volumeId",)))


for _low, _high in ranges(STEPS):
    COMPUTE.route(
        "POST",
        PATH,
        policy=f"{POLICY}:create",
        rule=Rule.MEMBER,
        low=_low,
        high=_high,
        body=_attach_body(_low),
        response=ATTACHMENT,
        summary="Plug a volume into a server",
    )(attach_volume)


@COMPUTE.route(
    "GET",
    PATH + "/{volume_id}",
    policy=f"{POLICY}:show",
    rule=Rule.READER,
    response=ATTACHMENT,
    summary="Show a volume of a server",
)
async def show_attachment(req: Request) -> Reply:
    device = await req.read(volumes.find_device, req.params["server_id"], req.params["volume_id"])
    return Reply({"volumeAttachment": _view(req, device)})


UPDATE = wrapped(
    "volumeAttachment",
    strict(
        {
            "volumeId": UUID,
            "id": UUID,
            "serverId": UUID,
            "device": {"type": ["string", "null"]},
            "tag": {"type": ["string", "null"]},
            "delete_on_termination": FLAG,
        },
        ("volumeId", "delete_on_termination"),
    ),
)


@COMPUTE.route(
    "PUT",
    PATH + "/{volume_id}",
    policy=f"{POLICY}:update",
    rule=Rule.MEMBER,
    status=202,
    low=Version(2, 85),
    body=UPDATE,
    summary="Change whether a volume goes with its server",
)
async def update_attachment(req: Request) -> Reply:
    flag = truth(req.body["volumeAttachment"]["delete_on_termination"])
    server_id, volume_id = req.params["server_id"], req.params["volume_id"]
    await req.run(volumes.update_device, server_id, volume_id, delete_on_termination=flag)
    return Reply()


@COMPUTE.route(
    "DELETE",
    PATH + "/{volume_id}",
    policy=f"{POLICY}:delete",
    rule=Rule.MEMBER,
    status=202,
    summary="Pull a volume out of a server",
)
async def detach_volume(req: Request) -> Reply:
    await req.run(volumes.detach_volume, req.params["server_id"], req.params["volume_id"])
    req.cloud.world.faults.hit("volume.detach.committed")
    return Reply()
