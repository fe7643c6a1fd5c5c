"""Image's service."""

from __future__ import annotations

from ostro.http.faults import html_shape
from ostro.http.route import Service

IMAGE = Service("image", ("/image",), html_shape, title="Image API v2", projects_only=True)
