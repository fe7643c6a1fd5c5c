"""Block storage's services: the API itself, with and without a project in its URLs, and the version documents above it."""

from __future__ import annotations

from ostro.http.faults import compute_shape
from ostro.http.request import Request
from ostro.http.route import Service
from ostro.http.versions import Version, VersionRange
from ostro.model.errors import Invalid

LOW = Version(3, 0)
HIGH = Version(3, 71)


def check_project(req: Request) -> None:
    """A project in the URL must be the token's."""
    project_id = req.params.get("project_id")
    if project_id is not None and project_id != req.context.project_id and not req.context.is_admin:
        raise Invalid("Malformed request url")


BLOCK = Service(
    "volume",
    ("/volume/v3", "/volume/v3/{project_id}"),
    compute_shape,
    versions=VersionRange(LOW, HIGH, ("volume", "block-storage")),
    title="Block Storage API v3",
    check=check_project,
)
BLOCK_VERSIONS = Service("volume-versions", ("/volume",), compute_shape, title="Block Storage API versions")
