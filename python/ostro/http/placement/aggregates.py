"""``/resource_providers/{uuid}/aggregates`` (1.1)."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.service import GENERATION, PLACEMENT, UUID, fresh_reply
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, array, shape, strict
from ostro.http.versions import Version
from ostro.services.placement import aggregates

PATH = "/resource_providers/{uuid}/aggregates"
POLICY = "placement:resource_providers:aggregates"
SHOWN = shape({"aggregates": array(STRING)})
LISTED = array(UUID, uniqueItems=True)
WITH_GENERATION = strict(
    {"aggregates": LISTED, "resource_provider_generation": GENERATION}, ("aggregates", "resource_provider_generation")
)


def _view(req: Request, generation: int, ids: list[str]) -> dict[str, Any]:
    view: dict[str, Any] = {"aggregates": ids}
    if req.at_least(1, 19):
        view["resource_provider_generation"] = generation
    return view


@PLACEMENT.route(
    "GET",
    PATH,
    policy=f"{POLICY}:list",
    rule=Rule.SERVICE,
    low=Version(1, 1),
    response=SHOWN,
    summary="List a provider's aggregates",
)
async def list_aggregates(req: Request) -> Reply:
    return fresh_reply(req, _view(req, *await req.read(aggregates.get_aggregates, req.params["uuid"])))


async def replace_aggregates(req: Request) -> Reply:
    given = req.body
    generation = given["resource_provider_generation"] if isinstance(given, dict) else None
    ids = given["aggregates"] if isinstance(given, dict) else given
    found = await req.run(aggregates.set_aggregates, req.cloud.placement, req.params["uuid"], generation, ids)
    return fresh_reply(req, _view(req, *found))


for _low, _high, _body in ((Version(1, 1), Version(1, 18), LISTED), (Version(1, 19), None, WITH_GENERATION)):
    PLACEMENT.route(
        "PUT",
        PATH,
        policy=f"{POLICY}:update",
        rule=Rule.SERVICE,
        low=_low,
        high=_high,
        body=_body,
        response=SHOWN,
        summary="Replace a provider's aggregates",
    )(replace_aggregates)
