"""Identity's version documents."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape


def _version(req: Request) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": req.url("/identity/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


@IDENTITY.route(
    "GET",
    "",
    policy="identity:versions",
    rule=Rule.PUBLIC,
    status=300,
    response=shape({"versions": ANY_OBJECT}),
    summary="List API versions",
)
async def list_versions(req: Request) -> Reply:
    return Reply({"versions": {"values": [_version(req)]}})


@IDENTITY.route(
    "GET",
    "/v3",
    policy="identity:versions",
    rule=Rule.PUBLIC,
    response=shape({"version": ANY_OBJECT}),
    summary="Show version 3",
)
async def show_version(req: Request) -> Reply:
    return Reply({"version": _version(req)})
