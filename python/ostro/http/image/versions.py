"""Image's version documents. Its minor versions are announcements: clients choose by them, requests don't carry them."""

from __future__ import annotations

from ostro.http.image.service import IMAGE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape

MINORS = (7, 6, 5, 4, 3, 2, 1, 0)
"""2.7 brought hidden images and the second hash; of what came after, nothing is done here."""


def _document(req: Request) -> dict[str, object]:
    link = {"rel": "self", "href": req.url("/image/v2/")}
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == MINORS[0] else "SUPPORTED", "links": [link]}
            for minor in MINORS
        ]
    }


_RESPONSE = shape({"versions": array(ANY_OBJECT)})


@IMAGE.route(
    "GET",
    "",
    policy="image:versions",
    rule=Rule.PUBLIC,
    status=300,
    response=_RESPONSE,
    summary="List API versions",
)
async def choose_version(req: Request) -> Reply:
    return Reply(_document(req))


@IMAGE.route(
    "GET", "/versions", policy="image:versions", rule=Rule.PUBLIC, response=_RESPONSE, summary="List API versions"
)
async def list_versions(req: Request) -> Reply:
    return Reply(_document(req))


@IMAGE.route("GET", "/v2", policy="image:versions", rule=Rule.PUBLIC, response=_RESPONSE, summary="List API versions")
async def show_version(req: Request) -> Reply:
    return Reply(_document(req))
