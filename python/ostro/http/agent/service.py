"""The agent API's service. Its callers show the agent key, and nothing of a body is read from those that don't."""

from __future__ import annotations

import hmac

from ostro.http.exchange import RequestHeaders
from ostro.http.faults import identity_shape
from ostro.http.route import Service
from ostro.model.errors import Unauthenticated
from ostro.services.cloud import Cloud


def check_key(cloud: Cloud, headers: RequestHeaders) -> None:
    """Raise Unauthenticated unless the request shows this cloud's agent key."""
    shown = headers.get("X-Agent-Key", "")
    if not hmac.compare_digest(shown.encode(), cloud.config.agent_key.encode()):
        raise Unauthenticated("The agent key is wrong.")


AGENT = Service("agent", ("/agent/v1",), identity_shape, title="Ostro agent protocol", admit=check_key)
