"""``/reshaper`` (1.30): move inventories and their allocations at once."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.allocations import allocation_body, parse_set
from ostro.http.placement.inventories import REPLACE, parse_offer
from ostro.http.placement.service import PLACEMENT, UUID
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import strict
from ostro.http.versions import Version
from ostro.services.placement.reshaper import NewShape, reshape


def _by_uuid(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {UUID["pattern"]: schema}, "additionalProperties": False}


async def reshape_providers(req: Request) -> Reply:
    shapes = {
        provider_id: NewShape(
            given["resource_provider_generation"],
            {name: parse_offer(offer) for name, offer in given["inventories"].items()},
        )
        for provider_id, given in req.body["inventories"].items()
    }
    sets = [parse_set(consumer_id, given) for consumer_id, given in req.body["allocations"].items()]
    await req.run(reshape, req.cloud.placement, shapes, sets)
    return Reply()


for _low, _high in ((Version(1, 30), Version(1, 33)), (Version(1, 34), Version(1, 37)), (Version(1, 38), None)):
    PLACEMENT.route(
        "POST",
        "/reshaper",
        policy="placement:reshaper:reshape",
        rule=Rule.SERVICE,
        status=204,
        low=_low,
        high=_high,
        body=strict(
            {"inventories": _by_uuid(REPLACE), "allocations": _by_uuid(allocation_body(_low, least=0))},
            ("inventories", "allocations"),
        ),
        summary="Move inventories and their allocations",
    )(reshape_providers)
