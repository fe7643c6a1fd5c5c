"""Identity's service."""

from __future__ import annotations

from ostro.http.faults import identity_shape
from ostro.http.route import Service

IDENTITY = Service("identity", ("/identity",), identity_shape, title="Identity API v3")
