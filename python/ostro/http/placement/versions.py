"""Placement's version document."""

from __future__ import annotations

from ostro.http.placement.service import PLACEMENT, VERSIONS
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape


@PLACEMENT.route(
    "GET",
    "",
    policy="placement:versions",
    rule=Rule.PUBLIC,
    response=shape({"versions": array(ANY_OBJECT)}),
    summary="List API versions",
)
async def list_versions(req: Request) -> Reply:
    version = {
        "id": "v1.0",
        "max_version": str(VERSIONS.high),
        "min_version": str(VERSIONS.low),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return Reply({"versions": [version]})
