"""``/traits`` and ``/resource_providers/{uuid}/traits`` (1.6)."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.service import GENERATION, PLACEMENT, ROOT, TRAIT_NAME, check_query, fresh_reply, single
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import INTEGER, STRING, array, shape, strict
from ostro.http.versions import Version
from ostro.services.placement import traits
from ostro.services.placement.errors import BAD_VALUE, PlacementInvalid

SINCE = Version(1, 6)
OF_PROVIDER = "/resource_providers/{uuid}/traits"
POLICY = "placement:traits"
SHOWN = shape({"traits": array(STRING), "resource_provider_generation": INTEGER})
REPLACE = strict(
    {"resource_provider_generation": GENERATION, "traits": array(TRAIT_NAME, uniqueItems=True)},
    ("resource_provider_generation", "traits"),
)


def _names(req: Request) -> tuple[list[str] | None, str]:
    """(names, prefix) of ``name=in:A,B`` or ``name=startswith:A``."""
    name = single(req, "name")
    if name is None:
        return None, ""
    kind, _, text = name.partition(":")
    if kind == "in":
        return text.split(","), ""
    if kind == "startswith":
        return None, text
    raise PlacementInvalid(
        "Badly formatted name parameter. Expected name query string parameter in form: "
        f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{name}"',
        BAD_VALUE,
    )


def _associated(req: Request) -> bool | None:
    text = single(req, "associated")
    if text is None:
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise PlacementInvalid(
            f'The query parameter "associated" only accepts "true" or "false". Got "{text}"', BAD_VALUE
        )
    return text.lower() in ("true", "1")


@PLACEMENT.route(
    "GET",
    "/traits",
    policy=f"{POLICY}:list",
    rule=Rule.SERVICE,
    low=SINCE,
    query={"name": STRING, "associated": STRING},
    response=shape({"traits": array(STRING)}),
    summary="List traits",
)
async def list_traits(req: Request) -> Reply:
    check_query(req, "name", "associated")
    names, prefix = _names(req)
    found = await req.read(traits.list_traits, names=names, prefix=prefix, associated=_associated(req))
    return fresh_reply(req, {"traits": found})


@PLACEMENT.route(
    "GET",
    "/traits/{name}",
    policy=f"{POLICY}:show",
    rule=Rule.SERVICE,
    low=SINCE,
    status=204,
    summary="Whether there is such a trait",
)
async def check_trait(req: Request) -> Reply:
    await req.read(traits.check_trait, req.params["name"])
    return fresh_reply(req, None)


@PLACEMENT.route(
    "PUT",
    "/traits/{name}",
    policy=f"{POLICY}:update",
    rule=Rule.SERVICE,
    low=SINCE,
    status=204,
    summary="Make a custom trait",
)
async def create_trait(req: Request) -> Reply:
    name = req.params["name"]
    made = await req.run(traits.create_trait, name)
    reply = fresh_reply(req, None, status=201 if made else 204)
    reply.headers.append(("Location", f"{req.base_url}{ROOT}/traits/{name}"))
    return reply


@PLACEMENT.route(
    "DELETE",
    "/traits/{name}",
    policy=f"{POLICY}:delete",
    rule=Rule.SERVICE,
    low=SINCE,
    status=204,
    summary="Delete a custom trait",
)
async def delete_trait(req: Request) -> Reply:
    await req.run(traits.delete_trait, req.params["name"])
    return Reply()


def _view(generation: int, names: list[str]) -> dict[str, Any]:
    return {"resource_provider_generation": generation, "traits": names}


@PLACEMENT.route(
    "GET",
    OF_PROVIDER,
    policy="placement:resource_providers:traits:list",
    rule=Rule.SERVICE,
    low=SINCE,
    response=SHOWN,
    summary="List a provider's traits",
)
async def list_provider_traits(req: Request) -> Reply:
    provider, names = await req.read(traits.get_provider_traits, req.params["uuid"])
    return fresh_reply(req, _view(provider.generation, names))


@PLACEMENT.route(
    "PUT",
    OF_PROVIDER,
    policy="placement:resource_providers:traits:update",
    rule=Rule.SERVICE,
    low=SINCE,
    body=REPLACE,
    response=SHOWN,
    summary="Replace a provider's traits",
)
async def replace_provider_traits(req: Request) -> Reply:
    found = await req.run(
        traits.set_provider_traits,
        req.cloud.placement,
        req.params["uuid"],
        req.body["resource_provider_generation"],
        req.body["traits"],
    )
    return fresh_reply(req, _view(*found))


@PLACEMENT.route(
    "DELETE",
    OF_PROVIDER,
    policy="placement:resource_providers:traits:delete",
    rule=Rule.SERVICE,
    low=SINCE,
    status=204,
    summary="Remove a provider's traits",
)
async def delete_provider_traits(req: Request) -> Reply:
    await req.run(traits.set_provider_traits, req.cloud.placement, req.params["uuid"], None, [])
    return Reply()
