"""Block storage's services: the API itself, with and without a project in its URLs, and the version documents above it."""

from __future__ import annotations

import re

from ostro.http.faults import compute_shape
from ostro.http.request import Request
from ostro.http.route import Service
from ostro.http.versions import Version, VersionRange
from ostro.model.errors import Invalid, NotFound

LOW = Version(3, 0)
HIGH = Version(3, 71)
_PROJECT_ID = re.compile("[0-9a-f-]+")


def check_project(req: Request) -> None:
    """A project in the URL must be the token's. What does not look like one is a path that we don't have, as is a project alone."""
    project_id = req.params.get("project_id")
    if project_id is None:
        return
    if not req.route.path or not _PROJECT_ID.fullmatch(project_id):
        raise NotFound("resource", req.path, "The resource could not be found.")
    if project_id != req.context.project_id and not req.context.is_admin:
        raise Invalid("Malformed request url")


BLOCK = Service(
    "volume",
    ("/volume/v3", "/volume/v3/{project_id}"),
    compute_shape,
    versions=VersionRange(LOW, HIGH, ("volume", "block-storage")),
    title="Block Storage API v3",
    check=check_project,
    projects_only=True,
)
BLOCK_VERSIONS = Service("volume-versions", ("/volume",), compute_shape, title="Block Storage API versions")
