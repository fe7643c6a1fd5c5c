"""``/resource_providers``."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.service import (
    PLACEMENT,
    ROOT,
    UUID,
    check_query,
    fresh_reply,
    parse_member_of,
    parse_required,
    parse_resources,
    parse_uuid,
    single,
)
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, nullable, shape, strict
from ostro.http.versions import Version
from ostro.services.placement import providers
from ostro.store.providers import Provider, ProviderQuery

PATH = "/resource_providers"
POLICY = "placement:resource_providers"
NAME = {"type": "string", "minLength": 1, "maxLength": 200}
PROVIDER = shape({"uuid": STRING, "name": STRING, "generation": INTEGER, "links": array(ANY_OBJECT)})
QUERY = dict.fromkeys(("name", "uuid", "member_of", "resources", "in_tree", "required"), STRING)
FLAT = Version(1, 13)
NESTED = Version(1, 14)


def provider_view(req: Request, provider: Provider) -> dict[str, Any]:
    """A provider as Placement shows it."""
    path = f"{ROOT}{PATH}/{provider.id}"
    rels = ["inventories", "usages"]
    for rel, minor in (("aggregates", 1), ("traits", 6), ("allocations", 11)):
        rels += [rel] if req.at_least(1, minor) else []
    view: dict[str, Any] = {
        "uuid": provider.id,
        "name": provider.name,
        "generation": provider.generation,
        "links": [{"rel": "self", "href": path}, *({"rel": rel, "href": f"{path}/{rel}"} for rel in rels)],
    }
    if req.at_least(1, 14):
        view["parent_provider_uuid"] = provider.parent_id or None
        view["root_provider_uuid"] = provider.root_id
    return view


def _query(req: Request) -> ProviderQuery:
    allowed = ["name", "uuid"]
    for name, minor in (("member_of", 3), ("resources", 4), ("in_tree", 14), ("required", 18)):
        allowed += [name] if req.at_least(1, minor) else []
    check_query(req, *allowed)
    uuid, in_tree, resources = (single(req, name) for name in ("uuid", "in_tree", "resources"))
    return ProviderQuery(
        name=single(req, "name"),
        id=None if uuid is None else parse_uuid("uuid", uuid),
        in_tree=None if in_tree is None else parse_uuid("in_tree", in_tree),
        traits=parse_required(req, "required", req.query.getlist("required")),
        aggregates=parse_member_of(req, "member_of", req.query.getlist("member_of")),
        resources={} if resources is None else parse_resources(resources),
    )


@PLACEMENT.route(
    "GET",
    PATH,
    policy=f"{POLICY}:list",
    rule=Rule.SERVICE,
    query=QUERY,
    response=shape({"resource_providers": array(PROVIDER)}),
    summary="List resource providers",
)
async def list_resource_providers(req: Request) -> Reply:
    found = await req.read(providers.list_providers, _query(req))
    body = {"resource_providers": [provider_view(req, provider) for provider in found]}
    return fresh_reply(req, body, at_us=max((p.updated_at_us for p in found), default=None))


async def create_resource_provider(req: Request) -> Reply:
    given = req.body
    provider_id = parse_uuid("uuid", given["uuid"]) if given.get("uuid") else ""
    parent_id = given.get("parent_provider_uuid") or ""
    provider = await req.run(providers.create_provider, req.cloud.placement, provider_id, given["name"], parent_id)
    location = ("Location", f"{req.base_url}{ROOT}{PATH}/{provider.id}")
    if not req.at_least(1, 20):
        return Reply(status=201, headers=[location])
    reply = fresh_reply(req, provider_view(req, provider), at_us=provider.updated_at_us)
    reply.headers.append(location)
    return reply


_BODY: dict[str, Any] = {"name": NAME, "uuid": UUID}
for _low, _high, _body in (
    (None, FLAT, _BODY),
    (NESTED, None, {**_BODY, "parent_provider_uuid": nullable(UUID)}),
):
    PLACEMENT.route(
        "POST",
        PATH,
        policy=f"{POLICY}:create",
        rule=Rule.SERVICE,
        low=_low,
        high=_high,
        body=strict(_body, ("name",)),
        response=PROVIDER,
        summary="Create a resource provider",
    )(create_resource_provider)


@PLACEMENT.route(
    "GET", PATH + "/{uuid}", policy=f"{POLICY}:show", rule=Rule.SERVICE, response=PROVIDER, summary="Show a provider"
)
async def show_resource_provider(req: Request) -> Reply:
    provider = await req.read(providers.show_provider, req.params["uuid"])
    return fresh_reply(req, provider_view(req, provider), at_us=provider.updated_at_us)


async def update_resource_provider(req: Request) -> Reply:
    given = req.body
    provider = await req.run(
        providers.update_provider,
        req.cloud.placement,
        req.params["uuid"],
        name=given["name"],
        parent_id=(given["parent_provider_uuid"] or "") if "parent_provider_uuid" in given else None,
        may_move=req.at_least(1, 37),
    )
    return fresh_reply(req, provider_view(req, provider), at_us=provider.updated_at_us)


_BODY = {"name": NAME}
for _low, _high, _body in (
    (None, FLAT, _BODY),
    (NESTED, None, {**_BODY, "parent_provider_uuid": nullable(UUID)}),
):
    PLACEMENT.route(
        "PUT",
        PATH + "/{uuid}",
        policy=f"{POLICY}:update",
        rule=Rule.SERVICE,
        low=_low,
        high=_high,
        body=strict(_body, ("name",)),
        response=PROVIDER,
        summary="Change a provider's name or parent",
    )(update_resource_provider)


@PLACEMENT.route(
    "DELETE", PATH + "/{uuid}", policy=f"{POLICY}:delete", rule=Rule.SERVICE, status=204, summary="Delete a provider"
)
async def delete_resource_provider(req: Request) -> Reply:
    await req.run(providers.delete_provider, req.cloud.placement, req.params["uuid"])
    return Reply()
