"""``/limits``, ``/os-quota-sets`` and ``/os-quota-class-sets``: unified limits under Cinder's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape, wrapped
from ostro.model.errors import Forbidden, Invalid
from ostro.model.quotas import LIMIT_MOST, UNLIMITED
from ostro.services.block.quotas import (
    get_class_quotas,
    get_default_quotas,
    get_quotas,
    get_quotas_and_usage,
    reset_quotas,
    update_class_quotas,
    update_quotas,
)

NUMBER = {"type": ["integer", "string"], "pattern": "^-?[0-9]+$"}
TENANT = {"tenant_id": STRING}
NUMBERS = {"type": "object", "properties": TENANT, "additionalProperties": NUMBER}
QUOTA_SET = shape({"quota_set": ANY_OBJECT})
CLASS_SET = shape({"quota_class_set": ANY_OBJECT})


@BLOCK.route(
    "GET",
    "/limits",
    policy="limits_extension:used_limits",
    rule=Rule.READER,
    response=shape({"limits": shape({"rate": array(ANY_OBJECT), "absolute": ANY_OBJECT})}),
    query={"project_id": STRING, "tenant_id": STRING},
    summary="Show limits and what is used of them",
)
async def show_volume_limits(req: Request) -> Reply:
    asked = req.query.get("project_id") or req.query.get("tenant_id")
    project_id = asked if asked and req.context.is_admin else req.context.project_id
    quotas, used = await req.read(get_quotas_and_usage, project_id)
    absolute = {
        "maxTotalVolumes": quotas["volumes"],
        "maxTotalVolumeGigabytes": quotas["gigabytes"],
        "maxTotalSnapshots": quotas["snapshots"],
        "maxTotalBackups": quotas["backups"],
        "maxTotalBackupGigabytes": quotas["backup_gigabytes"],
        "totalVolumesUsed": used["volumes"],
        "totalGigabytesUsed": used["gigabytes"],
        "totalSnapshotsUsed": used["snapshots"],
        "totalBackupsUsed": used["backups"],
        "totalBackupGigabytesUsed": used["backup_gigabytes"],
    }
    return Reply({"limits": {"rate": [], "absolute": absolute}})


def _check_project(req: Request) -> str:
    project_id = req.params["target_id"]
    if project_id != req.context.project_id and not req.context.is_admin:
        raise Forbidden("Policy doesn't allow volume_extension:quotas:show to be performed.")
    return project_id


def _wanted(given: Mapping[str, Any]) -> dict[str, int]:
    wanted = {name: int(value) for name, value in given.items() if name not in TENANT}
    for name, number in wanted.items():
        if not UNLIMITED <= number <= LIMIT_MOST:
            raise Invalid(f"Invalid input received: {name} must be between {UNLIMITED} and {LIMIT_MOST}.")
    return wanted


@BLOCK.route(
    "GET",
    "/os-quota-sets/{target_id}",
    policy="volume_extension:quotas:show",
    rule=Rule.READER,
    response=QUOTA_SET,
    query={"usage": STRING},
    summary="Show a project's quota",
)
async def show_volume_quota(req: Request) -> Reply:
    project_id = _check_project(req)
    if not req.flag("usage"):
        return Reply({"quota_set": {"id": project_id, **await req.read(get_quotas, project_id)}})
    quotas, used = await req.read(get_quotas_and_usage, project_id)
    shown = {name: {"limit": limit, "in_use": used[name], "reserved": 0} for name, limit in quotas.items()}
    return Reply({"quota_set": {"id": project_id, **shown}})


@BLOCK.route(
    "GET",
    "/os-quota-sets/{target_id}/defaults",
    policy="volume_extension:quotas:show",
    rule=Rule.READER,
    response=QUOTA_SET,
    summary="Show a new project's quota",
)
async def show_volume_quota_defaults(req: Request) -> Reply:
    return Reply({"quota_set": {"id": _check_project(req), **await req.read(get_default_quotas)}})


@BLOCK.route(
    "PUT",
    "/os-quota-sets/{target_id}",
    policy="volume_extension:quotas:update",
    rule=Rule.ADMIN,
    body=wrapped("quota_set", NUMBERS),
    response=QUOTA_SET,
    query={"skip_validation": STRING},
    summary="Give a project a quota of its own",
)
async def update_volume_quota(req: Request) -> Reply:
    wanted = _wanted(req.body["quota_set"])
    check_used = not req.flag("skip_validation", default=True)
    return Reply({"quota_set": await req.run(update_quotas, req.params["target_id"], wanted, check_used=check_used)})


@BLOCK.route(
    "DELETE",
    "/os-quota-sets/{target_id}",
    policy="volume_extension:quotas:delete",
    rule=Rule.ADMIN,
    summary="Take a project's own quota away",
)
async def delete_volume_quota(req: Request) -> Reply:
    await req.run(reset_quotas, req.params["target_id"])
    return Reply()


@BLOCK.route(
    "GET",
    "/os-quota-class-sets/{class_name}",
    policy="volume_extension:quota_classes:get",
    rule=Rule.ADMIN,
    response=CLASS_SET,
    summary="Show a class's quota",
)
async def show_volume_quota_class(req: Request) -> Reply:
    class_name = req.params["class_name"]
    return Reply({"quota_class_set": {"id": class_name, **await req.read(get_class_quotas, class_name)}})


@BLOCK.route(
    "PUT",
    "/os-quota-class-sets/{class_name}",
    policy="volume_extension:quota_classes:update",
    rule=Rule.ADMIN,
    body=wrapped("quota_class_set", NUMBERS),
    response=CLASS_SET,
    summary="Change a class's quota",
)
async def update_volume_quota_class(req: Request) -> Reply:
    wanted = _wanted(req.body["quota_class_set"])
    return Reply({"quota_class_set": await req.run(update_class_quotas, req.params["class_name"], wanted)})
