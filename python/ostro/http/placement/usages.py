"""``/usages`` (1.9) and ``/resource_providers/{uuid}/usages``."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.service import PLACEMENT, check_query, fresh_reply, single
from ostro.http.policy import Rule, allows
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, shape
from ostro.http.versions import Version
from ostro.model.errors import Forbidden
from ostro.services.placement import usages
from ostro.services.placement.errors import MISSING_VALUE, PlacementInvalid
from ostro.store.allocations import UsageRow


@PLACEMENT.route(
    "GET",
    "/resource_providers/{uuid}/usages",
    policy="placement:resource_providers:usages",
    rule=Rule.SERVICE,
    response=shape({"resource_provider_generation": INTEGER, "usages": ANY_OBJECT}),
    summary="What is used of a provider",
)
async def show_provider_usages(req: Request) -> Reply:
    generation, used = await req.read(usages.get_provider_usages, req.params["uuid"])
    return fresh_reply(req, {"resource_provider_generation": generation, "usages": used})


@PLACEMENT.route(
    "GET",
    "/usages",
    policy="placement:usages",
    rule=Rule.READER_OR_SERVICE,
    low=Version(1, 9),
    query={"project_id": STRING, "user_id": STRING, "consumer_type": STRING},
    response=shape({"usages": ANY_OBJECT}),
    summary="What a project or user uses",
)
async def list_usages(req: Request) -> Reply:
    typed = req.at_least(1, 38)
    check_query(req, "project_id", "user_id", *(("consumer_type",) if typed else ()))
    project_id = single(req, "project_id")
    if not project_id:
        raise PlacementInvalid("Invalid query string parameters: 'project_id' is a required property", MISSING_VALUE)
    if project_id != req.context.project_id and not allows(Rule.SERVICE, req.context.actor):
        raise Forbidden("Policy doesn't allow placement:usages to be performed.")
    wanted = single(req, "consumer_type") if typed else None
    rows = await req.read(usages.get_usages, project_id, single(req, "user_id") or "", wanted)
    return fresh_reply(req, {"usages": _by_type(rows, merged=wanted == "all") if typed else _summed(rows)})


def _summed(rows: list[UsageRow]) -> dict[str, int]:
    out: dict[str, int] = {}
    for row in rows:
        out[row.resource_class] = out.get(row.resource_class, 0) + row.used
    return out


def _by_type(rows: list[UsageRow], *, merged: bool) -> dict[str, Any]:
    """Usages by consumer type, each with how many consumers there are; all in one if ``merged``."""
    if merged:
        counts = {row.consumer_type: row.consumers for row in rows}
        return {"all": {"consumer_count": sum(counts.values()), **_summed(rows)}} if rows else {}
    out: dict[str, Any] = {}
    for row in rows:
        shown = out.setdefault(row.consumer_type or "unknown", {"consumer_count": row.consumers})
        shown[row.resource_class] = row.used
    return out
