"""``/limits`` and ``/os-quota-sets``: read only. There are no quotas yet, so every number is unlimited."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, shape
from ostro.model.errors import Forbidden
from ostro.services.compute.quotas import LIMITS, UNLIMITED, Usage, get_usage

NETWORK_PROXIES = ("floating_ips", "fixed_ips", "security_groups", "security_group_rules")
"""Shown up to 2.35."""
INJECTION = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
"""Shown up to 2.56."""
QUOTA_SET = shape({"quota_set": ANY_OBJECT})


@COMPUTE.route(
    "GET",
    "/v2.1/limits",
    policy="os_compute_api:limits",
    rule=Rule.AUTHENTICATED,
    query={"reserved": STRING, "tenant_id": STRING},
    response=shape({"limits": ANY_OBJECT}),
    summary="Show limits and what is used of them",
)
async def show_limits(req: Request) -> Reply:
    project_id = req.query.get("tenant_id", req.context.project_id)
    _check_project(req, project_id, "os_compute_api:limits:other_project")
    usage = await req.read(get_usage, project_id)
    absolute: dict[str, int] = {
        "maxTotalInstances": UNLIMITED,
        "maxTotalCores": UNLIMITED,
        "maxTotalRAMSize": UNLIMITED,
        "maxTotalKeypairs": UNLIMITED,
        "maxServerMeta": LIMITS["metadata_items"],
        "maxServerGroups": UNLIMITED,
        "maxServerGroupMembers": UNLIMITED,
        "totalInstancesUsed": usage.instances,
        "totalCoresUsed": usage.cores,
        "totalRAMUsed": usage.ram,
        "totalServerGroupsUsed": usage.server_groups,
    }
    if not req.at_least(2, 36):
        absolute |= {"maxTotalFloatingIps": UNLIMITED, "totalFloatingIpsUsed": 0}
        absolute |= {"maxSecurityGroups": UNLIMITED, "maxSecurityGroupRules": UNLIMITED, "totalSecurityGroupsUsed": 0}
    if not req.at_least(2, 39):
        absolute["maxImageMeta"] = LIMITS["metadata_items"]
    if not req.at_least(2, 57):
        absolute |= {"maxPersonality": 0, "maxPersonalitySize": 0}
    return Reply({"limits": {"rate": [], "absolute": absolute}})


def _check_project(req: Request, project_id: str, policy: str) -> None:
    if project_id != req.context.project_id and not req.context.is_admin:
        raise Forbidden(f"Policy doesn't allow {policy} to be performed.")


def _limits(req: Request) -> dict[str, int]:
    limits = dict(LIMITS)
    if not req.at_least(2, 36):
        limits |= dict.fromkeys(NETWORK_PROXIES, UNLIMITED)
    if not req.at_least(2, 57):
        limits |= dict.fromkeys(INJECTION, 0)
    return limits


@COMPUTE.route(
    "GET",
    "/v2.1/os-quota-sets/{project_id}",
    policy="os_compute_api:os-quota-sets:show",
    rule=Rule.READER,
    query={"user_id": STRING},
    response=QUOTA_SET,
    summary="Show a project's quotas",
)
async def show_quotas(req: Request) -> Reply:
    project_id = req.params["project_id"]
    _check_project(req, project_id, "os_compute_api:os-quota-sets:show")
    return Reply({"quota_set": {"id": project_id, **_limits(req)}})


@COMPUTE.route(
    "GET",
    "/v2.1/os-quota-sets/{project_id}/defaults",
    policy="os_compute_api:os-quota-sets:defaults",
    rule=Rule.AUTHENTICATED,
    response=QUOTA_SET,
    summary="Show the default quotas",
)
async def show_default_quotas(req: Request) -> Reply:
    return Reply({"quota_set": {"id": req.params["project_id"], **_limits(req)}})


def _in_use(usage: Usage, name: str) -> int:
    return int(getattr(usage, name, 0))


@COMPUTE.route(
    "GET",
    "/v2.1/os-quota-sets/{project_id}/detail",
    policy="os_compute_api:os-quota-sets:detail",
    rule=Rule.READER,
    query={"user_id": STRING},
    response=QUOTA_SET,
    summary="Show a project's quotas and what is used of them",
)
async def show_quotas_detail(req: Request) -> Reply:
    project_id = req.params["project_id"]
    _check_project(req, project_id, "os_compute_api:os-quota-sets:detail")
    usage = await req.read(get_usage, project_id)
    detail: dict[str, Any] = {
        name: {"limit": limit, "in_use": _in_use(usage, name), "reserved": 0} for name, limit in _limits(req).items()
    }
    return Reply({"quota_set": {"id": project_id, **detail}})
