"""Compute's version documents."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE, ROOT, VERSIONS
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape

MEDIA_TYPES = [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]


def _version(req: Request) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(VERSIONS.high),
        "min_version": str(VERSIONS.low),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": req.url(f"{ROOT}/")}],
    }


def _legacy_version(req: Request) -> dict[str, Any]:
    """The API without microversions, which clients look for first and nobody speaks."""
    return {
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": req.url(f"{ROOT.removesuffix('.1')}/")}],
    }


@COMPUTE.route(
    "GET",
    "",
    policy="os_compute_api:versions",
    rule=Rule.PUBLIC,
    response=shape({"versions": array(ANY_OBJECT)}),
    summary="List API versions",
)
async def list_versions(req: Request) -> Reply:
    return Reply({"versions": [_legacy_version(req), _version(req)]})


@COMPUTE.route(
    "GET",
    "/v2.1",
    policy="os_compute_api:versions",
    rule=Rule.PUBLIC,
    response=shape({"version": ANY_OBJECT}),
    summary="Show version 2.1",
)
async def show_version(req: Request) -> Reply:
    described = {
        "rel": "describedby",
        "type": "text/html",
        "href": "https://docs.openstack.org/api-ref/compute/",
    }
    version = _version(req)
    return Reply({"version": {**version, "links": [*version["links"], described], "media-types": MEDIA_TYPES}})
