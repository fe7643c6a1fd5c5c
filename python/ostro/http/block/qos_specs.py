"""``/qos-specs``: limits for the volumes of some types."""

from __future__ import annotations

from typing import Any

from ostro.http.block.schemas import LINKS
from ostro.http.block.service import BLOCK
from ostro.http.paging import cut, next_links, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape, strict, wrapped
from ostro.model.errors import Invalid
from ostro.model.qos import BACK_END, CONSUMERS
from ostro.services.block import qos_specs as service
from ostro.store.paging import Sort
from ostro.store.qos_specs import QosSpecs

PREFIX = "volume_extension:qos_specs_manage"
QOS = shape({"id": STRING, "name": STRING, "consumer": STRING, "specs": ANY_OBJECT})
SORT_KEYS = {"id": "id", "name": "name", "consumer": "consumer", "created_at": "created_at_us"}
VALUE = {"type": ["string", "integer", "number"], "maxLength": 255}
KEY = "^[a-zA-Z0-9-_:. ]{1,255}$"
_SPECS = {"type": "object", "patternProperties": {KEY: VALUE}, "additionalProperties": False}
_CREATE = {
    **_SPECS,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 255},
        "consumer": {"enum": list(CONSUMERS)},
    },
    "required": ["name"],
}
_UPDATE = {**_SPECS, "properties": {"consumer": {"enum": list(CONSUMERS)}}, "minProperties": 1}
TYPE_ID = {"vol_type_id": STRING}


def _view(qos: QosSpecs) -> dict[str, Any]:
    return {"id": qos.id, "name": qos.name, "consumer": qos.consumer, "specs": qos.specs}


def _links(req: Request, qos: QosSpecs) -> list[dict[str, str]]:
    project_id = req.context.project_id
    return [
        {"rel": "self", "href": req.url(f"/volume/v3/{project_id}/qos_specs/{qos.id}")},
        {"rel": "bookmark", "href": req.url(f"/volume/{project_id}/qos_specs/{qos.id}")},
    ]


def _texts(body: dict[str, Any]) -> dict[str, str]:
    return {key.strip(): str(value) for key, value in body.items()}


@BLOCK.route(
    "GET",
    "/qos-specs",
    policy=f"{PREFIX}:get_all",
    rule=Rule.ADMIN,
    response=shape({"qos_specs": array(QOS)}),
    query={
        "limit": STRING,
        "marker": STRING,
        "offset": STRING,
        "sort": STRING,
        "sort_key": STRING,
        "sort_dir": STRING,
    },
    summary="List qualities of service",
)
async def list_qos_specs(req: Request) -> Reply:
    page = parse_page(req, sort_keys=SORT_KEYS, default_sort=(Sort("created_at_us", descending=True),))
    rows, more = cut(await req.read(service.list_qos, page), page)
    links = next_links(req, rows, more)
    return Reply({"qos_specs": [_view(row) for row in rows], **({"qos_specs_links": links} if links else {})})


@BLOCK.route(
    "POST",
    "/qos-specs",
    policy=f"{PREFIX}:create",
    rule=Rule.ADMIN,
    body=wrapped("qos_specs", _CREATE),
    response=shape({"qos_specs": QOS, "links": LINKS}),
    summary="Create qualities of service",
)
async def create_qos_specs(req: Request) -> Reply:
    specs = _texts(req.body["qos_specs"])
    name, consumer = specs.pop("name"), specs.pop("consumer", BACK_END)
    if not name.strip():
        raise Invalid("Invalid input received: name can not be empty.")
    qos = await req.run(service.create_qos, name.strip(), consumer, specs)
    return Reply({"qos_specs": _view(qos), "links": _links(req, qos)})


@BLOCK.route(
    "GET",
    "/qos-specs/{qos_id}",
    policy=f"{PREFIX}:get",
    rule=Rule.ADMIN,
    response=shape({"qos_specs": QOS, "links": LINKS}),
    summary="Show qualities of service",
)
async def show_qos_specs(req: Request) -> Reply:
    qos = await req.read(service.get_qos, req.params["qos_id"])
    return Reply({"qos_specs": _view(qos), "links": _links(req, qos)})


@BLOCK.route(
    "PUT",
    "/qos-specs/{qos_id}",
    policy=f"{PREFIX}:update",
    rule=Rule.ADMIN,
    body=wrapped("qos_specs", _UPDATE),
    response=shape({"qos_specs": ANY_OBJECT}),
    summary="Set qualities of service",
)
async def update_qos_specs(req: Request) -> Reply:
    specs = _texts(req.body["qos_specs"])
    consumer = specs.pop("consumer", None)
    await req.run(service.update_qos, req.params["qos_id"], consumer, specs)
    return Reply({"qos_specs": req.body["qos_specs"]})


@BLOCK.route(
    "DELETE",
    "/qos-specs/{qos_id}",
    policy=f"{PREFIX}:delete",
    rule=Rule.ADMIN,
    status=202,
    query={"force": STRING},
    summary="Delete qualities of service",
)
async def delete_qos_specs(req: Request) -> Reply:
    await req.run(service.delete_qos, req.params["qos_id"], force=req.flag("force"))
    return Reply()


@BLOCK.route(
    "PUT",
    "/qos-specs/{qos_id}/delete_keys",
    policy=f"{PREFIX}:delete",
    rule=Rule.ADMIN,
    status=202,
    body=strict({"keys": array(STRING)}, ("keys",)),
    summary="Remove single ones of qualities of service",
)
async def delete_qos_keys(req: Request) -> Reply:
    await req.run(service.delete_keys, req.params["qos_id"], req.body["keys"])
    return Reply()


@BLOCK.route(
    "GET",
    "/qos-specs/{qos_id}/associations",
    policy=f"{PREFIX}:get_all",
    rule=Rule.ADMIN,
    response=shape({"qos_associations": array(ANY_OBJECT)}),
    summary="List the volume types that have qualities of service",
)
async def list_qos_associations(req: Request) -> Reply:
    kinds = await req.read(service.list_associations, req.params["qos_id"])
    found = [{"association_type": "volume_type", "name": kind.name, "id": kind.id} for kind in kinds]
    return Reply({"qos_associations": found})


def _type_id(req: Request) -> str:
    type_id = req.query.get("vol_type_id")
    if not type_id:
        raise Invalid("Volume Type id must not be None.")
    return type_id


@BLOCK.route(
    "GET",
    "/qos-specs/{qos_id}/associate",
    policy=f"{PREFIX}:update",
    rule=Rule.ADMIN,
    status=202,
    query=TYPE_ID,
    summary="Give qualities of service to a volume type",
)
async def associate_qos_specs(req: Request) -> Reply:
    await req.run(service.associate, req.params["qos_id"], _type_id(req))
    return Reply()


@BLOCK.route(
    "GET",
    "/qos-specs/{qos_id}/disassociate",
    policy=f"{PREFIX}:update",
    rule=Rule.ADMIN,
    status=202,
    query=TYPE_ID,
    summary="Take qualities of service from a volume type",
)
async def disassociate_qos_specs(req: Request) -> Reply:
    await req.run(service.disassociate, req.params["qos_id"], _type_id(req))
    return Reply()


@BLOCK.route(
    "GET",
    "/qos-specs/{qos_id}/disassociate_all",
    policy=f"{PREFIX}:update",
    rule=Rule.ADMIN,
    status=202,
    summary="Take qualities of service from every volume type",
)
async def disassociate_all_qos_specs(req: Request) -> Reply:
    await req.run(service.disassociate_all, req.params["qos_id"])
    return Reply()
