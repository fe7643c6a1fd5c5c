"""``/v2/info``: which ways of import and which stores there are. Images are uploaded, and there is one store."""

from __future__ import annotations

from ostro.http.image.service import IMAGE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape
from ostro.services.image.quotas import get_usage


@IMAGE.route(
    "GET",
    "/v2/info/import",
    policy="image:info",
    rule=Rule.AUTHENTICATED,
    response=shape({"import-methods": ANY_OBJECT}),
    summary="Ways of import",
)
async def show_import(req: Request) -> Reply:
    return Reply({"import-methods": {"description": "Import methods available.", "type": "array", "value": []}})


@IMAGE.route(
    "GET",
    "/v2/info/stores",
    policy="image:info",
    rule=Rule.AUTHENTICATED,
    response=shape({"stores": array(ANY_OBJECT)}),
    summary="Stores",
)
async def list_stores(req: Request) -> Reply:
    store = {"id": "local", "description": "Files of this cloud", "default": "true"}
    return Reply({"stores": [store]})


@IMAGE.route(
    "GET",
    "/v2/info/usage",
    policy="image:usage",
    rule=Rule.READER,
    response=shape({"usage": ANY_OBJECT}),
    summary="Show what the project uses of its limits",
)
async def show_usage(req: Request) -> Reply:
    found = await req.read(get_usage)
    return Reply({"usage": {name: {"limit": limit, "usage": used} for name, (limit, used) in found.items()}})
