"""The agent API's service."""

from __future__ import annotations

import hmac

from ostro.http.faults import identity_shape
from ostro.http.request import Request
from ostro.http.route import Service
from ostro.model.errors import Unauthenticated

AGENT = Service("agent", ("/agent/v1",), identity_shape, title="Ostro agent protocol")


def check_key(req: Request) -> None:
    """Raise Unauthenticated unless the request shows this cloud's agent key."""
    shown = req.headers.get("X-Agent-Key", "")
    if not hmac.compare_digest(shown.encode(), req.cloud.config.agent_key.encode()):
        raise Unauthenticated("The agent key is wrong.")
