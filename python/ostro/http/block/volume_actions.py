"""``/volumes/{id}/action``: one key in the body names what shall be done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ostro.http.block.schemas import FLAG, METADATA, SIZE, is_true, to_size
from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, nullable, strict
from ostro.http.targets import authorize
from ostro.model.errors import Invalid, NotFound, Unsupported
from ostro.model.images import CONTAINER_FORMATS, Visibility
from ostro.model.times import iso_micro
from ostro.model.volumes import CEPH
from ostro.services.block import attachments, metadata, reverts, volumes
from ostro.services.block.uploads import DISK_FORMATS, Upload, UploadDraft, upload_volume

Action = Callable[[Request, str, Any], Awaitable[Reply]]

ACCEPTED = Reply(status=202)
UPLOAD_PUBLIC = "volume_extension:volume_actions:upload_public"
NOT_DONE = frozenset(
    (
        "os-migrate_volume",
        "os-migrate_volume_completion",
        "os-initialize_connection",
        "os-terminate_connection",
        "os-unmanage",
        "os-reimage",
        "os-extend_volume_completion",
        "os-update_readonly_flag",
    )
)
"""Upstream has these, and we don't yet."""


async def _extend(req: Request, volume_id: str, given: Any) -> Reply:
    await req.cloud.placement.fresh()
    size_gb = to_size(given["new_size"])
    online = req.at_least(3, 42)
    await req.run(volumes.extend_volume, req.cloud.placement, volume_id, size_gb, online=online)
    req.cloud.world.faults.hit("volume.extend.committed")
    return ACCEPTED


async def _force_delete(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(volumes.delete_volume, volume_id, force=True)
    return ACCEPTED


async def _reset_status(req: Request, volume_id: str, given: Any) -> Reply:
    if "status" in given:
        await req.run(volumes.reset_status, volume_id, given["status"])
    return ACCEPTED


async def _retype(req: Request, volume_id: str, given: Any) -> Reply:
    may_move = given.get("migration_policy", "never") == "on-demand"
    await req.run(volumes.retype_volume, volume_id, given["new_type"], may_move=may_move)
    req.cloud.world.faults.hit("volume.retype.committed")
    return ACCEPTED


async def _upload(req: Request, volume_id: str, given: Any) -> Reply:
    if not req.at_least(3, 1) and (later := sorted(given.keys() & {"visibility", "protected"})):
        raise Invalid(f"Additional properties are not allowed ({', '.join(later)})")
    newer = {"visibility": Visibility.PRIVATE} if req.at_least(3, 1) else {}
    if "visibility" in given:
        newer = {"visibility": Visibility(given["visibility"])}
    if newer.get("visibility") is Visibility.PUBLIC:
        await authorize(req, UPLOAD_PUBLIC, Rule.ADMIN)
    draft = UploadDraft(
        given["image_name"],
        given.get("disk_format", "raw"),
        given.get("container_format", "bare"),
        protected=is_true(given.get("protected", False)),
        force=is_true(given.get("force", False)) and req.cloud.block.enable_force_upload,
        **newer,
    )
    upload = await req.run(upload_volume, volume_id, draft, CEPH if req.cloud.ceph else "")
    req.cloud.world.faults.hit("volume.upload.committed")
    return Reply({"os-volume_upload_image": _upload_view(upload)})


def _upload_view(upload: Upload) -> dict[str, Any]:
    volume, kind, image = upload.volume, upload.type, upload.image
    return {
        "id": volume.id,
        "updated_at": iso_micro(volume.updated_at_us),
        "status": volume.status.value,
        "display_description": volume.description or None,
        "size": volume.size_gb,
        "volume_type": {"id": kind.id, "name": kind.name},
        "image_id": image.id,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "image_name": image.name,
        "protected": image.protected,
        "visibility": image.visibility.value,
    }


async def _reserve(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(attachments.set_reserved, volume_id, reserved=True)
    return ACCEPTED


async def _unreserve(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(attachments.set_reserved, volume_id, reserved=False)
    return ACCEPTED


async def _attach(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(attachments.attach_by_hand, volume_id, given.get("instance_uuid") or "", given["mountpoint"])
    return ACCEPTED


async def _begin_detaching(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(attachments.set_detaching, volume_id, detaching=True)
    return ACCEPTED


async def _roll_detaching(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(attachments.set_detaching, volume_id, detaching=False)
    return ACCEPTED


async def _detach(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(attachments.detach_by_hand, volume_id, (given or {}).get("attachment_id") or "")
    return ACCEPTED


async def _revert(req: Request, volume_id: str, given: Any) -> Reply:
    if not req.at_least(3, 40):
        raise NotFound("action", "revert", "Volumes are reverted from microversion 3.40 on.")
    await req.run(reverts.revert_volume, volume_id, given["snapshot_id"])
    req.cloud.world.faults.hit("volume.revert.committed")
    return ACCEPTED


async def _set_bootable(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(volumes.update_volume, volume_id, {"bootable": is_true(given["bootable"])})
    return Reply(status=200)


async def _set_image_metadata(req: Request, volume_id: str, given: Any) -> Reply:
    return Reply({"metadata": await req.run(metadata.change_image_metadata, volume_id, given["metadata"])}, status=200)


async def _unset_image_metadata(req: Request, volume_id: str, given: Any) -> Reply:
    await req.run(metadata.remove_image_key, volume_id, given["key"])
    return Reply(status=200)


async def _show_image_metadata(req: Request, volume_id: str, given: Any) -> Reply:
    details = await req.read(volumes.get_volume, volume_id)
    return Reply({"metadata": details.volume.image_metadata}, status=200)


_NOTHING: dict[str, Any] = {}
_ACTIONS: dict[str, tuple[Action, Rule, str, dict[str, Any]]] = {
    "os-extend": (_extend, Rule.MEMBER, "volume:extend", strict({"new_size": SIZE}, ("new_size",))),
    "os-force_delete": (_force_delete, Rule.ADMIN, "volume_extension:volume_admin_actions:force_delete", _NOTHING),
    "os-reset_status": (
        _reset_status,
        Rule.ADMIN,
        "volume_extension:volume_admin_actions:reset_status",
        strict({"status": STRING, "attach_status": STRING, "migration_status": nullable(STRING)}),
    ),
    "os-retype": (
        _retype,
        Rule.MEMBER,
        "volume:retype",
        strict({"new_type": STRING, "migration_policy": {"enum": ["on-demand", "never"]}}, ("new_type",)),
    ),
    "os-volume_upload_image": (
        _upload,
        Rule.MEMBER,
        "volume_extension:volume_actions:upload_image",
        strict(
            {
                "image_name": {"type": "string", "minLength": 1, "maxLength": 255},
                "force": FLAG,
                "disk_format": {"enum": list(DISK_FORMATS)},
                "container_format": {"enum": list(CONTAINER_FORMATS)},
                "visibility": {"enum": [visibility.value for visibility in Visibility]},
                "protected": FLAG,
            },
            ("image_name",),
        ),
    ),
    "os-reserve": (_reserve, Rule.MEMBER, "volume_extension:volume_actions:reserve", _NOTHING),
    "os-unreserve": (_unreserve, Rule.MEMBER, "volume_extension:volume_actions:unreserve", _NOTHING),
    "os-attach": (
        _attach,
        Rule.MEMBER,
        "volume_extension:volume_actions:attach",
        strict(
            {"instance_uuid": nullable(STRING), "mountpoint": STRING, "host_name": nullable(STRING), "mode": STRING},
            ("mountpoint",),
        ),
    ),
    "os-begin_detaching": (_begin_detaching, Rule.MEMBER, "volume_extension:volume_actions:begin_detaching", _NOTHING),
    "os-roll_detaching": (_roll_detaching, Rule.MEMBER, "volume_extension:volume_actions:roll_detaching", _NOTHING),
    "os-detach": (
        _detach,
        Rule.MEMBER,
        "volume_extension:volume_actions:detach",
        {"anyOf": [strict({"attachment_id": nullable(STRING)}), {"type": "null"}]},
    ),
    "revert": (
        _revert,
        Rule.MEMBER,
        "volume:revert_to_snapshot",
        strict({"snapshot_id": {"type": "string", "minLength": 1, "maxLength": 255}}, ("snapshot_id",)),
    ),
    "os-set_bootable": (_set_bootable, Rule.MEMBER, "volume:set_bootable", strict({"bootable": FLAG}, ("bootable",))),
    "os-set_image_metadata": (
        _set_image_metadata,
        Rule.MEMBER,
        "volume_extension:volume_image_metadata:set",
        strict({"metadata": METADATA}, ("metadata",)),
    ),
    "os-unset_image_metadata": (
        _unset_image_metadata,
        Rule.MEMBER,
        "volume_extension:volume_image_metadata:remove",
        strict({"key": STRING}, ("key",)),
    ),
    "os-show_image_metadata": (
        _show_image_metadata,
        Rule.READER,
        "volume_extension:volume_image_metadata:show",
        _NOTHING,
    ),
}
BODY = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {name: schema for name, (_action, _rule, _policy, schema) in _ACTIONS.items()},
}


@BLOCK.route(
    "POST",
    "/volumes/{volume_id}/action",
    policy="volume:action",
    also={UPLOAD_PUBLIC: Rule.ADMIN},
    rule=Rule.READER,
    status=202,
    body=BODY,
    response=strict({"metadata": {"type": "object"}, "os-volume_upload_image": {"type": "object"}}),
    actions={name: (policy, rule) for name, (_action, rule, policy, _schema) in _ACTIONS.items()},
    summary="Do something with a volume; each action has a policy of its own",
)
async def act_on_volume(req: Request) -> Reply:
    name, given = next(iter(req.body.items()))
    if name in NOT_DONE:
        raise Unsupported(f"{name} is not supported by the local storage.")
    if name not in _ACTIONS:
        raise Invalid(f"There is no such action: {name}")
    action, rule, policy, _schema = _ACTIONS[name]
    await authorize(req, policy, rule)
    return await action(req, req.params["volume_id"], given)
