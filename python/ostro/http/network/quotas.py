"""``/v2.0/quotas``: nothing is limited yet, and what is used is counted."""

from __future__ import annotations

from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, array, shape
from ostro.services.network.quotas import RESOURCES, UNLIMITED, check_quota_reader, count_usage

LIMITS = dict.fromkeys(RESOURCES, UNLIMITED)
VIEW = shape({"quota": shape(dict.fromkeys(RESOURCES, INTEGER))})
DETAILS = shape({"quota": shape(dict.fromkeys(RESOURCES, ANY_OBJECT))})


@NETWORK.route(
    "GET",
    f"{V2}/quotas",
    policy="network:get_quota",
    rule=Rule.ADMIN,
    response=shape({"quotas": array(ANY_OBJECT)}),
    summary="List quotas that are not the default",
)
async def list_quotas(req: Request) -> Reply:
    return Reply({"quotas": []})


@NETWORK.route(
    "GET",
    f"{V2}/quotas/{{project_id}}",
    policy="network:get_quota",
    rule=Rule.READER,
    response=VIEW,
    summary="Show a project's quota",
)
async def show_quota(req: Request) -> Reply:
    check_quota_reader(req.context, req.params["project_id"])
    return Reply({"quota": LIMITS})


@NETWORK.route(
    "GET",
    f"{V2}/quotas/{{project_id}}/default",
    policy="network:get_quota",
    rule=Rule.READER,
    response=VIEW,
    summary="Show the quota that projects have by default",
)
async def show_default_quota(req: Request) -> Reply:
    check_quota_reader(req.context, req.params["project_id"])
    return Reply({"quota": LIMITS})


@NETWORK.route(
    "GET",
    f"{V2}/quotas/{{project_id}}/details",
    policy="network:get_quota",
    rule=Rule.READER,
    response=DETAILS,
    summary="Show a project's quota and what it uses",
)
async def show_quota_details(req: Request) -> Reply:
    used = await req.read(count_usage, req.params["project_id"])
    return Reply({"quota": {name: {"limit": UNLIMITED, "used": used[name], "reserved": 0} for name in RESOURCES}})
