"""``/v3/services``, ``/v3/endpoints`` and ``/v3/regions``: read-only, because this program is all of them."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import LINKS, list_body, list_shape, self_link
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, STRING, nullable, shape
from ostro.model.errors import NotFound
from ostro.services.identity.catalog import CATALOG, INTERFACES, CatalogService

SERVICE = shape({"id": STRING, "type": STRING, "name": STRING, "enabled": BOOLEAN, "links": LINKS})
ENDPOINT = shape(
    {
        "id": STRING,
        "interface": STRING,
        "region": nullable(STRING),
        "region_id": nullable(STRING),
        "service_id": STRING,
        "url": STRING,
        "enabled": BOOLEAN,
        "links": LINKS,
    }
)
REGION = shape({"id": STRING, "description": STRING, "parent_region_id": nullable(STRING), "links": LINKS})


def service_view(req: Request, entry: CatalogService) -> dict[str, Any]:
    """A service as Identity shows it."""
    links = self_link(req, "services", entry.id)
    return {"id": entry.id, "type": entry.type, "name": entry.name, "enabled": True, "links": links}


def endpoint_view(req: Request, entry: CatalogService, interface: str) -> dict[str, Any]:
    """An endpoint as Identity shows it; its URL is a template."""
    region, id_ = req.cloud.config.region, entry.endpoint_id(interface)
    return {
        "id": id_,
        "interface": interface,
        "region": region,
        "region_id": region,
        "service_id": entry.id,
        "url": entry.url(req.base_url, "$(project_id)s"),
        "enabled": True,
        "links": self_link(req, "endpoints", id_),
    }


def region_view(req: Request) -> dict[str, Any]:
    """The one region."""
    region = req.cloud.config.region
    return {"id": region, "description": "", "parent_region_id": None, "links": self_link(req, "regions", region)}


def _pick(items: list[dict[str, Any]], noun: str, id_: str) -> dict[str, Any]:
    for item in items:
        if item["id"] == id_:
            return item
    raise NotFound(noun, id_, f"Could not find {noun}: {id_}.")


def _matching(req: Request, items: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    wanted = {name: req.query[name] for name in names if name in req.query}
    return [item for item in items if all(item[name] == value for name, value in wanted.items())]


def _endpoints(req: Request) -> list[dict[str, Any]]:
    return [endpoint_view(req, entry, interface) for entry in CATALOG for interface in INTERFACES]


@IDENTITY.route(
    "GET",
    "/v3/services",
    policy="identity:list_services",
    rule=Rule.READER,
    response=list_shape("services", SERVICE),
    query={"type": STRING, "name": STRING},
    summary="List services",
)
async def list_services(req: Request) -> Reply:
    services = [service_view(req, entry) for entry in CATALOG]
    return Reply(list_body(req, "services", _matching(req, services, "type", "name")))


@IDENTITY.route(
    "GET",
    "/v3/services/{service_id}",
    policy="identity:get_service",
    rule=Rule.READER,
    response=shape({"service": SERVICE}),
    summary="Show a service",
)
async def show_service(req: Request) -> Reply:
    services = [service_view(req, entry) for entry in CATALOG]
    return Reply({"service": _pick(services, "service", req.params["service_id"])})


@IDENTITY.route(
    "GET",
    "/v3/endpoints",
    policy="identity:list_endpoints",
    rule=Rule.READER,
    response=list_shape("endpoints", ENDPOINT),
    query={"interface": STRING, "service_id": STRING, "region_id": STRING},
    summary="List endpoints",
)
async def list_endpoints(req: Request) -> Reply:
    found = _matching(req, _endpoints(req), "interface", "service_id", "region_id")
    return Reply(list_body(req, "endpoints", found))


@IDENTITY.route(
    "GET",
    "/v3/endpoints/{endpoint_id}",
    policy="identity:get_endpoint",
    rule=Rule.READER,
    response=shape({"endpoint": ENDPOINT}),
    summary="Show an endpoint",
)
async def show_endpoint(req: Request) -> Reply:
    return Reply({"endpoint": _pick(_endpoints(req), "endpoint", req.params["endpoint_id"])})


@IDENTITY.route(
    "GET",
    "/v3/regions",
    policy="identity:list_regions",
    rule=Rule.AUTHENTICATED,
    response=list_shape("regions", REGION),
    query={"parent_region_id": STRING},
    summary="List regions",
)
async def list_regions(req: Request) -> Reply:
    return Reply(list_body(req, "regions", [] if req.query.get("parent_region_id") else [region_view(req)]))


@IDENTITY.route(
    "GET",
    "/v3/regions/{region_id}",
    policy="identity:get_region",
    rule=Rule.AUTHENTICATED,
    response=shape({"region": REGION}),
    summary="Show a region",
)
async def show_region(req: Request) -> Reply:
    return Reply({"region": _pick([region_view(req)], "region", req.params["region_id"])})
