"""``/v3/OS-OAUTH1/consumers``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    LINKS,
    PAGE_QUERY,
    check_id,
    list_shape,
    page_body,
    page_of,
    reference,
    self_link,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, nullable, shape, wrapped
from ostro.model.errors import Invalid
from ostro.services.identity import consumers
from ostro.store.oauth1 import Consumer

PATH = "/v3/OS-OAUTH1/consumers"
KNOWN = ("description",)
BODY = wrapped("consumer", reference({"description": DESCRIPTION}))
CONSUMER = shape({"id": STRING, "description": nullable(STRING), "links": LINKS})
ONE = shape({"consumer": CONSUMER})
SECRET_BITS = 256


def view(req: Request, row: Consumer) -> dict[str, Any]:
    """A consumer as Identity shows it, without its secret."""
    return {
        **row.extra,
        "id": row.id,
        "description": row.description or None,
        "links": self_link(req, "OS-OAUTH1/consumers", row.id),
    }


@IDENTITY.route(
    "POST",
    PATH,
    policy="identity:create_consumer",
    rule=Rule.POLICY,
    status=201,
    body=BODY,
    response=ONE,
    summary="Create a consumer; its secret is shown this once",
)
async def create_consumer(req: Request) -> Reply:
    given, extra = split_extra(req.body["consumer"], KNOWN)
    secret = f"{req.cloud.world.random.getrandbits(SECRET_BITS):064x}"
    row = await req.run(consumers.create_consumer, given, extra, req.cloud.sealer.seal(secret))
    return Reply({"consumer": {**view(req, row), "secret": secret}})


@IDENTITY.route(
    "GET",
    PATH,
    policy="identity:list_consumers",
    rule=Rule.POLICY,
    response=list_shape("consumers", CONSUMER),
    query=PAGE_QUERY,
    summary="List consumers",
)
async def list_consumers(req: Request) -> Reply:
    page = page_of(req, sort="id")
    rows = await req.read(consumers.list_consumers, page)
    return Reply(page_body(req, "consumers", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET", PATH + "/{id}", policy="identity:get_consumer", rule=Rule.POLICY, response=ONE, summary="Show a consumer"
)
async def show_consumer(req: Request) -> Reply:
    return Reply({"consumer": view(req, await req.read(consumers.get_consumer, req.params["id"]))})


@IDENTITY.route(
    "PATCH",
    PATH + "/{id}",
    policy="identity:update_consumer",
    rule=Rule.POLICY,
    body=BODY,
    response=ONE,
    summary="Change a consumer",
)
async def update_consumer(req: Request) -> Reply:
    check_id(req.body["consumer"], req.params["id"])
    given, extra = split_extra(req.body["consumer"], KNOWN)
    if "secret" in extra:
        raise Invalid("The secret of a consumer can't be changed.")
    row = await req.run(consumers.update_consumer, req.params["id"], given, extra)
    return Reply({"consumer": view(req, row)})


@IDENTITY.route(
    "DELETE",
    PATH + "/{id}",
    policy="identity:delete_consumer",
    rule=Rule.POLICY,
    status=204,
    summary="Delete a consumer",
)
async def delete_consumer(req: Request) -> Reply:
    await req.run(consumers.delete_consumer, req.params["id"])
    return Reply()
