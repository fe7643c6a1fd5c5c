"""``/v2.0/quotas``: unified limits as Neutron shows them."""

from __future__ import annotations

from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, INTEGER, STRING, array, shape, strict, wrapped
from ostro.model.quotas import LIMIT_MOST, UNLIMITED
from ostro.services.network.errors import bad_value
from ostro.services.network.quotas import (
    RESOURCES,
    get_default_quota,
    get_quota,
    get_quota_details,
    list_quotas,
    reset_quota,
    update_quota,
)

VIEW = shape({"quota": shape(dict.fromkeys(RESOURCES, INTEGER))})
DETAILS = shape({"quota": shape(dict.fromkeys(RESOURCES, ANY_OBJECT))})
NUMBER = {"type": ["integer", "string"], "pattern": "^-?[0-9]+$"}
UPDATE = wrapped(
    "quota",
    strict(
        {
            **dict.fromkeys(RESOURCES, NUMBER),
            "check_limit": BOOLEAN,
            "force": BOOLEAN,
            "tenant_id": STRING,
            "project_id": STRING,
        }
    ),
)


@NETWORK.route(
    "GET",
    f"{V2}/quotas",
    policy="network:get_quotas",
    rule=Rule.ADMIN,
    response=shape({"quotas": array(ANY_OBJECT)}),
    summary="List quotas that are not the default",
)
async def list_all_quotas(req: Request) -> Reply:
    return Reply({"quotas": await req.read(list_quotas)})


@NETWORK.route(
    "GET",
    f"{V2}/quotas/{{project_id}}",
    policy="network:get_quota",
    rule=Rule.READER,
    response=VIEW,
    summary="Show a project's quota",
)
async def show_quota(req: Request) -> Reply:
    return Reply({"quota": await req.read(get_quota, req.params["project_id"])})


@NETWORK.route(
    "GET",
    f"{V2}/quotas/{{project_id}}/default",
    policy="network:get_quota",
    rule=Rule.READER,
    response=VIEW,
    summary="Show the quota that projects have by default",
)
async def show_default_quota(req: Request) -> Reply:
    return Reply({"quota": await req.read(get_default_quota, req.params["project_id"])})


@NETWORK.route(
    "GET",
    f"{V2}/quotas/{{project_id}}/details",
    policy="network:get_quota",
    rule=Rule.READER,
    response=DETAILS,
    summary="Show a project's quota and what it uses",
)
async def show_quota_details(req: Request) -> Reply:
    limits, used = await req.read(get_quota_details, req.params["project_id"])
    return Reply({"quota": {name: {"limit": limits[name], "used": used[name], "reserved": 0} for name in RESOURCES}})


@NETWORK.route(
    "PUT",
    f"{V2}/quotas/{{project_id}}",
    policy="network:update_quota",
    rule=Rule.ADMIN,
    body=UPDATE,
    response=VIEW,
    summary="Give a project a quota of its own",
)
async def update_project_quota(req: Request) -> Reply:
    given = req.body["quota"]
    wanted = {name: _number(name, given[name]) for name in RESOURCES if name in given}
    check_used = given.get("check_limit", False) and not given.get("force", False)
    return Reply({"quota": await req.run(update_quota, req.params["project_id"], wanted, check_used=check_used)})


def _number(name: str, value: int | str) -> int:
    number = int(value)
    if not UNLIMITED <= number <= LIMIT_MOST:
        raise bad_value(name, f"'{value}' is not a valid limit")
    return number


@NETWORK.route(
    "DELETE",
    f"{V2}/quotas/{{project_id}}",
    policy="network:delete_quota",
    rule=Rule.ADMIN,
    status=204,
    summary="Take a project's own quota away",
)
async def delete_project_quota(req: Request) -> Reply:
    await req.run(reset_quota, req.params["project_id"])
    return Reply()
