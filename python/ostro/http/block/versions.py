"""Block storage's version documents."""

from __future__ import annotations

from typing import Any

from ostro.http.block.service import BLOCK, BLOCK_VERSIONS, HIGH, LOW
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape

_RESPONSE = shape({"versions": array(ANY_OBJECT)})


def _document(req: Request) -> dict[str, Any]:
    version = {
        "id": "v3.0",
        "status": "CURRENT",
        "version": str(HIGH),
        "min_version": str(LOW),
        "updated": "2023-08-31T00:00:00Z",
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": req.url("/volume/v3/")},
        ],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }
    return {"versions": [version]}


@BLOCK_VERSIONS.route(
    "GET",
    "",
    policy="volume:versions",
    rule=Rule.PUBLIC,
    status=300,
    response=_RESPONSE,
    summary="List API versions",
)
async def list_versions(req: Request) -> Reply:
    return Reply(_document(req))


@BLOCK.route("GET", "", policy="volume:versions", rule=Rule.PUBLIC, response=_RESPONSE, summary="Show version 3")
async def show_version(req: Request) -> Reply:
    return Reply(_document(req))
