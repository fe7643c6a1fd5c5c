"""Network's service."""

from __future__ import annotations

from ostro.http.faults import network_shape
from ostro.http.route import Service

NETWORK = Service("network", ("/networking",), network_shape, title="Networking API v2.0", projects_only=True)
V2 = "/v2.0"
