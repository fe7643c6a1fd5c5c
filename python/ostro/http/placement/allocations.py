"""``/allocations`` and ``/resource_providers/{uuid}/allocations``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.http.placement.service import AMOUNTS, PLACEMENT, UUID, fresh_reply
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, array, nullable, shape, strict
from ostro.http.versions import Version
from ostro.services.placement import allocations
from ostro.services.placement.allocations import NOT_SAID, AllocationSet

PATH = "/allocations/{consumer_uuid}"
POLICY = "placement:allocations"
OWNER = {"type": "string", "minLength": 1, "maxLength": 255}
TYPE = {"type": "string", "pattern": "^[A-Z0-9_]+$", "minLength": 1, "maxLength": 255}
MAPPINGS = {
    "type": "object",
    "minProperties": 1,
    "patternProperties": {"^[a-zA-Z0-9_-]{0,64}$": array(UUID, minItems=1)},
    "additionalProperties": False,
}
PUT_STEPS = tuple(Version(1, minor) for minor in (0, 8, 12, 28, 34, 38))
POST_STEPS = tuple(Version(1, minor) for minor in (13, 28, 34, 38))
UNKNOWN_OWNER = "00000000-0000-0000-0000-000000000000"
"""Who owns what was allocated before 1.8 asked for an owner."""


def _listed(version: Version) -> dict[str, Any]:
    """The first form: a list."""
    item = strict(
        {"resource_provider": strict({"uuid": UUID}, ("uuid",)), "resources": AMOUNTS},
        ("resource_provider", "resources"),
    )
    properties: dict[str, Any] = {"allocations": array(item, minItems=1)}
    if version < (1, 8):
        return strict(properties, ("allocations",))
    return strict({**properties, "project_id": OWNER, "user_id": OWNER}, ("allocations", "project_id", "user_id"))


def allocation_body(version: Version, *, least: int) -> dict[str, Any]:
    """What one consumer shall have, by provider, on at least so many of them."""
    # Clients send back the generation that they were shown; it is ignored, as upstream ignores it.
    item = strict({"resources": AMOUNTS, "generation": INTEGER}, ("resources",))
    by_provider = {
        "type": "object",
        "minProperties": least,
        "patternProperties": {UUID["pattern"]: item},
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {"allocations": by_provider, "project_id": OWNER, "user_id": OWNER}
    required = ["allocations", "project_id", "user_id"]
    if version >= (1, 28):
        properties["consumer_generation"] = nullable(INTEGER)
        required.append("consumer_generation")
    if version >= (1, 34):
        properties["mappings"] = MAPPINGS
    if version >= (1, 38):
        properties["consumer_type"] = TYPE
        required.append("consumer_type")
    return strict(properties, tuple(required))


def _put_body(version: Version) -> dict[str, Any]:
    if version < (1, 12):
        return _listed(version)
    return allocation_body(version, least=0 if version >= (1, 28) else 1)


def _post_body(version: Version) -> dict[str, Any]:
    return {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {UUID["pattern"]: allocation_body(version, least=0)},
        "additionalProperties": False,
    }


def parse_set(consumer_id: str, given: Mapping[str, Any]) -> AllocationSet:
    """One consumer's body, in any of the forms."""
    wanted = given["allocations"]
    if isinstance(wanted, list):
        amounts = {item["resource_provider"]["uuid"]: item["resources"] for item in wanted}
    else:
        amounts = {provider_id: item["resources"] for provider_id, item in wanted.items()}
    return AllocationSet(
        consumer_id=consumer_id,
        amounts=amounts,
        project_id=given.get("project_id", UNKNOWN_OWNER),
        user_id=given.get("user_id", UNKNOWN_OWNER),
        type=given.get("consumer_type"),
        generation=given.get("consumer_generation", NOT_SAID),
    )


def _ranges(steps: tuple[Version, ...]) -> list[tuple[Version, Version | None]]:
    after = [Version(1, step.minor - 1) for step in steps[1:]]
    return list(zip(steps, [*after, None], strict=True))


@PLACEMENT.route(
    "GET",
    PATH,
    policy=f"{POLICY}:list",
    rule=Rule.SERVICE,
    response=shape({"allocations": ANY_OBJECT}),
    summary="What a consumer has",
)
async def show_allocations(req: Request) -> Reply:
    consumer, amounts, generations = await req.read(allocations.get_allocations, req.params["consumer_uuid"])
    view: dict[str, Any] = {
        "allocations": {
            provider_id: {"generation": generations[provider_id], "resources": resources}
            for provider_id, resources in amounts.items()
        }
    }
    if consumer is not None:
        if req.at_least(1, 12):
            view |= {"project_id": consumer.project_id, "user_id": consumer.user_id}
        if req.at_least(1, 28):
            view["consumer_generation"] = consumer.generation
        if req.at_least(1, 38):
            view["consumer_type"] = consumer.type or "unknown"
    return fresh_reply(req, view, at_us=consumer.updated_at_us if consumer else None)


async def replace_allocations(req: Request) -> Reply:
    item = parse_set(req.params["consumer_uuid"], req.body)
    await req.run(allocations.set_allocations, req.cloud.placement, [item])
    return Reply()


for _low, _high in _ranges(PUT_STEPS):
    PLACEMENT.route(
        "PUT",
        PATH,
        policy=f"{POLICY}:update",
        rule=Rule.SERVICE,
        status=204,
        low=_low,
        high=_high,
        body=_put_body(_low),
        summary="Replace what a consumer has",
    )(replace_allocations)


async def replace_many_allocations(req: Request) -> Reply:
    sets = [parse_set(consumer_id, given) for consumer_id, given in req.body.items()]
    await req.run(allocations.set_allocations, req.cloud.placement, sets)
    return Reply()


for _low, _high in _ranges(POST_STEPS):
    PLACEMENT.route(
        "POST",
        "/allocations",
        policy=f"{POLICY}:manage",
        rule=Rule.SERVICE,
        status=204,
        low=_low,
        high=_high,
        body=_post_body(_low),
        summary="Replace what several consumers have, all or none",
    )(replace_many_allocations)


@PLACEMENT.route(
    "DELETE", PATH, policy=f"{POLICY}:delete", rule=Rule.SERVICE, status=204, summary="Give back all of a consumer"
)
async def delete_allocations(req: Request) -> Reply:
    await req.run(allocations.delete_allocations, req.cloud.placement, req.params["consumer_uuid"])
    return Reply()


@PLACEMENT.route(
    "GET",
    "/resource_providers/{uuid}/allocations",
    policy="placement:resource_providers:allocations:list",
    rule=Rule.SERVICE,
    response=shape({"allocations": ANY_OBJECT, "resource_provider_generation": INTEGER}),
    summary="Who uses a provider",
)
async def list_provider_allocations(req: Request) -> Reply:
    generation, found = await req.read(allocations.get_provider_allocations, req.params["uuid"])
    shown: dict[str, Any] = {consumer_id: {"resources": resources} for consumer_id, (_, resources) in found.items()}
    if req.at_least(1, 28):
        for consumer_id, (consumer_generation, _) in found.items():
            shown[consumer_id]["consumer_generation"] = consumer_generation
    return fresh_reply(req, {"resource_provider_generation": generation, "allocations": shown})
