"""``/resource_classes`` (1.2)."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.service import CUSTOM_NAME, PLACEMENT, ROOT, fresh_reply
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, Validator, array, shape, strict
from ostro.http.versions import Version
from ostro.services.placement import resource_classes

PATH = "/resource_classes"
POLICY = "placement:resource_classes"
SINCE = Version(1, 2)
SHOWN = shape({"name": STRING, "links": array(ANY_OBJECT)})
NAMED = strict({"name": CUSTOM_NAME}, ("name",))
_NAME = Validator(CUSTOM_NAME)


def _view(name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"{ROOT}{PATH}/{name}"}]}


def _location(req: Request, name: str) -> tuple[str, str]:
    return "Location", f"{req.base_url}{ROOT}{PATH}/{name}"


@PLACEMENT.route(
    "GET",
    PATH,
    policy=f"{POLICY}:list",
    rule=Rule.SERVICE,
    low=SINCE,
    response=shape({"resource_classes": array(SHOWN)}),
    summary="List resource classes",
)
async def list_resource_classes(req: Request) -> Reply:
    names = await req.read(resource_classes.list_resource_classes)
    return fresh_reply(req, {"resource_classes": [_view(name) for name in names]})


@PLACEMENT.route(
    "POST",
    PATH,
    policy=f"{POLICY}:create",
    rule=Rule.SERVICE,
    low=SINCE,
    status=201,
    body=NAMED,
    summary="Make a custom resource class",
)
async def create_resource_class(req: Request) -> Reply:
    name = req.body["name"]
    await req.run(resource_classes.create_new_resource_class, name)
    return Reply(headers=[_location(req, name)])


@PLACEMENT.route(
    "GET",
    PATH + "/{name}",
    policy=f"{POLICY}:show",
    rule=Rule.SERVICE,
    low=SINCE,
    response=SHOWN,
    summary="Show a resource class",
)
async def show_resource_class(req: Request) -> Reply:
    name = req.params["name"]
    await req.read(resource_classes.check_resource_class, name)
    return fresh_reply(req, _view(name))


@PLACEMENT.route(
    "PUT",
    PATH + "/{name}",
    policy=f"{POLICY}:update",
    rule=Rule.SERVICE,
    low=SINCE,
    high=Version(1, 6),
    body=NAMED,
    response=SHOWN,
    summary="Rename a custom resource class",
)
async def rename_resource_class(req: Request) -> Reply:
    old, new = req.params["name"], req.body["name"]
    await req.run(resource_classes.rename_resource_class, old, new)
    return fresh_reply(req, _view(new))


@PLACEMENT.route(
    "PUT",
    PATH + "/{name}",
    policy=f"{POLICY}:update",
    rule=Rule.SERVICE,
    low=Version(1, 7),
    status=204,
    summary="Make a custom resource class unless it is there",
)
async def ensure_resource_class(req: Request) -> Reply:
    name = req.params["name"]
    _NAME.check(name)
    made = await req.run(resource_classes.create_resource_class, name)
    return Reply(status=201 if made else 204, headers=[_location(req, name)])


@PLACEMENT.route(
    "DELETE",
    PATH + "/{name}",
    policy=f"{POLICY}:delete",
    rule=Rule.SERVICE,
    low=SINCE,
    status=204,
    summary="Delete a custom resource class",
)
async def delete_resource_class(req: Request) -> Reply:
    await req.run(resource_classes.delete_resource_class, req.params["name"])
    return Reply()
