"""``/limits``, ``/os-quota-sets`` and ``/os-quota-class-sets``: unified limits under Nova's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, shape, strict, wrapped
from ostro.model.errors import Forbidden, Invalid, Unsupported
from ostro.model.quotas import LIMIT_MOST, UNLIMITED
from ostro.services.compute.quotas import (
    NAMES,
    Usage,
    get_class_quotas,
    get_default_quotas,
    get_quotas,
    get_quotas_and_usage,
    reset_quotas,
    update_class_quotas,
    update_quotas,
)

NETWORK_PROXIES = ("floating_ips", "fixed_ips", "security_groups", "security_group_rules")
"""Shown up to 2.35 (of classes up to 2.49); they mean nothing since networks are the network service's."""
INJECTION = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
"""Shown up to 2.56."""
GROUPS = ("server_groups", "server_group_members")
"""Of classes, shown since 2.50."""
QUOTA_SET = shape({"quota_set": ANY_OBJECT})
CLASS_SET = shape({"quota_class_set": ANY_OBJECT})
NUMBER = {"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "minimum": UNLIMITED, "maximum": LIMIT_MOST}
FORCE = {"type": ["boolean", "string"], "enum": [True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
         False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]}  # fmt: skip
TRUE = frozenset(("true", "1", "on", "yes"))
GIVEN = dict.fromkeys((*NAMES, *NETWORK_PROXIES), NUMBER)
UPDATE = wrapped("quota_set", strict({**GIVEN, "tenant_id": {"type": "string", "maxLength": 255}, "force": FORCE}))
UPDATE_CLASS = wrapped("quota_class_set", strict(GIVEN, minProperties=1))


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
    quotas, usage = await req.read(get_quotas_and_usage, project_id)
    absolute: dict[str, int] = {
        "maxTotalInstances": quotas["instances"],
        "maxTotalCores": quotas["cores"],
        "maxTotalRAMSize": quotas["ram"],
        "maxTotalKeypairs": quotas["key_pairs"],
        "maxServerMeta": quotas["metadata_items"],
        "maxServerGroups": quotas["server_groups"],
        "maxServerGroupMembers": quotas["server_group_members"],
        "totalInstancesUsed": usage.instances,
        "totalCoresUsed": usage.cores,
        "totalRAMUsed": usage.ram,
        "totalServerGroupsUsed": usage.server_groups,
    }
    if not req.at_least(2, 36):
        absolute |= {"maxTotalFloatingIps": UNLIMITED, "totalFloatingIpsUsed": 0}
        absolute |= {"maxSecurityGroups": UNLIMITED, "maxSecurityGroupRules": UNLIMITED, "totalSecurityGroupsUsed": 0}
    if not req.at_least(2, 39):
        absolute["maxImageMeta"] = quotas["metadata_items"]
    if not req.at_least(2, 57):
        absolute["maxPersonality"] = quotas["injected_files"]
        absolute["maxPersonalitySize"] = quotas["injected_file_content_bytes"]
    return Reply({"limits": {"rate": [], "absolute": absolute}})


def _check_project(req: Request, project_id: str, policy: str) -> None:
    if project_id != req.context.project_id and not req.context.is_admin:
        raise Forbidden(f"Policy doesn't allow {policy} to be performed.")


def _shown(req: Request, quotas: Mapping[str, int]) -> dict[str, int]:
    """The quotas that a quota set has at the request's version."""
    shown = dict(quotas)
    if not req.at_least(2, 36):
        shown |= dict.fromkeys(NETWORK_PROXIES, UNLIMITED)
    return _without_injection(req, shown)


def _without_injection(req: Request, shown: dict[str, int]) -> dict[str, int]:
    return {name: n for name, n in shown.items() if name not in INJECTION} if req.at_least(2, 57) else shown


def _wanted(req: Request, given: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a request; those of networks mean nothing here. Raises Invalid."""
    gone = (NETWORK_PROXIES if req.at_least(2, 36) else ()) + (INJECTION if req.at_least(2, 57) else ())
    for name, value in given.items():
        if name in gone:
            raise Invalid(f"Additional properties are not allowed ('{name}' was unexpected)")
        if name in GIVEN and not UNLIMITED <= int(value) <= LIMIT_MOST:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. It is out of range.")
    return {name: int(value) for name, value in given.items() if name in NAMES}


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
    return Reply({"quota_set": {"id": project_id, **_shown(req, await req.read(get_quotas, project_id))}})


@COMPUTE.route(
    "GET",
    "/v2.1/os-quota-sets/{project_id}/defaults",
    policy="os_compute_api:os-quota-sets:defaults",
    rule=Rule.AUTHENTICATED,
    response=QUOTA_SET,
    summary="Show the default quotas",
)
async def show_default_quotas(req: Request) -> Reply:
    quotas = await req.read(get_default_quotas)
    return Reply({"quota_set": {"id": req.params["project_id"], **_shown(req, quotas)}})


def _in_use(usage: Usage, name: str) -> int:
    # Keypairs are users', not projects', and show none here, as upstream has it.
    return 0 if name == "key_pairs" else int(getattr(usage, name, 0))


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
    quotas, usage = await req.read(get_quotas_and_usage, project_id)
    detail = {
        name: {"limit": limit, "in_use": _in_use(usage, name), "reserved": 0}
        for name, limit in _shown(req, quotas).items()
    }
    return Reply({"quota_set": {"id": project_id, **detail}})


def _refuse_user(req: Request) -> None:
    """Quotas of single users went away upstream with unified limits."""
    if req.query.get("user_id"):
        raise Unsupported("Quotas of a single user in a project are not supported.")


@COMPUTE.route(
    "PUT",
    "/v2.1/os-quota-sets/{project_id}",
    policy="os_compute_api:os-quota-sets:update",
    rule=Rule.ADMIN,
    query={"user_id": STRING},
    body=UPDATE,
    response=QUOTA_SET,
    summary="Give a project quotas of its own",
)
async def update_project_quotas(req: Request) -> Reply:
    _refuse_user(req)
    given = req.body["quota_set"]
    force = str(given.get("force", "")).lower() in TRUE
    quotas = await req.run(update_quotas, req.params["project_id"], _wanted(req, given), force=force)
    return Reply({"quota_set": _shown(req, quotas)})


@COMPUTE.route(
    "DELETE",
    "/v2.1/os-quota-sets/{project_id}",
    policy="os_compute_api:os-quota-sets:delete",
    rule=Rule.ADMIN,
    query={"user_id": STRING},
    status=202,
    summary="Take a project's own quotas away",
)
async def delete_project_quotas(req: Request) -> Reply:
    _refuse_user(req)
    await req.run(reset_quotas, req.params["project_id"])
    return Reply()


def _class_shown(req: Request, quotas: Mapping[str, int]) -> dict[str, int]:
    shown = dict(quotas)
    if not req.at_least(2, 50):
        shown = {name: n for name, n in shown.items() if name not in GROUPS}
        shown |= dict.fromkeys(NETWORK_PROXIES, UNLIMITED)
    return _without_injection(req, shown)


@COMPUTE.route(
    "GET",
    "/v2.1/os-quota-class-sets/{class_name}",
    policy="os_compute_api:os-quota-class-sets:show",
    rule=Rule.ADMIN,
    response=CLASS_SET,
    summary="Show a class of quotas",
)
async def show_class_quotas(req: Request) -> Reply:
    class_name = req.params["class_name"]
    quotas = await req.read(get_class_quotas, class_name)
    return Reply({"quota_class_set": {"id": class_name, **_class_shown(req, quotas)}})


@COMPUTE.route(
    "PUT",
    "/v2.1/os-quota-class-sets/{class_name}",
    policy="os_compute_api:os-quota-class-sets:update",
    rule=Rule.ADMIN,
    body=UPDATE_CLASS,
    response=CLASS_SET,
    summary="Change a class of quotas",
)
async def update_quota_class(req: Request) -> Reply:
    wanted = _wanted(req, req.body["quota_class_set"])
    quotas = await req.run(update_class_quotas, req.params["class_name"], wanted)
    return Reply({"quota_class_set": _class_shown(req, quotas)})
