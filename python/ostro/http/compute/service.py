"""Compute's service, and what its routes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.http.faults import compute_shape
from ostro.http.request import Request
from ostro.http.route import Service
from ostro.http.schema import STRING, array, shape
from ostro.http.versions import Version, VersionRange
from ostro.model.errors import Invalid

ROOT = "/compute/v2.1"
BOOKMARK = "/compute"
VERSIONS = VersionRange(
    Version(2, 1), Version(2, 96), ("compute", "nova"), legacy_header="X-OpenStack-Nova-API-Version"
)


def check_project(req: Request) -> None:
    """A project in the URL must be the token's."""
    given = req.params.get("url_project_id")
    if given is not None and given != req.context.project_id:
        raise Invalid(
            f"Malformed request URL: URL's project_id '{given}' doesn't match Context's project_id '{req.context.project_id}'"
        )


COMPUTE = Service(
    "compute",
    ("/compute",),
    compute_shape,
    versions=VERSIONS,
    title="Compute API v2.1",
    id_headers=("x-openstack-request-id", "x-compute-request-id"),
    check=check_project,
    project_after="/v2.1",
    projects_only=True,
)

LINKS = array(shape({"rel": STRING, "href": STRING}))


def links(req: Request, collection: str, id_: str) -> list[dict[str, str]]:
    """A resource's own links."""
    return [
        {"rel": "self", "href": f"{req.base_url}{ROOT}/{collection}/{id_}"},
        {"rel": "bookmark", "href": f"{req.base_url}{BOOKMARK}/{collection}/{id_}"},
    ]


def bookmark(req: Request, collection: str, id_: str) -> list[dict[str, str]]:
    """The link that another resource has to this one."""
    return [{"rel": "bookmark", "href": f"{req.base_url}{BOOKMARK}/{collection}/{id_}"}]


def with_links(body: dict[str, Any], name: str, found: list[dict[str, str]]) -> dict[str, Any]:
    """A list's body with the link to its next page, if there is one."""
    if found:
        body[f"{name}_links"] = found
    return body


def without(properties: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A schema's properties but for some: those that came with a later microversion."""
    return {k: v for k, v in properties.items() if k not in names}
