"""The agent API's service. Its callers show a host's certificate or the agent key, and nothing of a body is read from those that don't."""

from __future__ import annotations

import hmac

from ostro.http.exchange import Incoming
from ostro.http.faults import identity_shape
from ostro.http.request import Request
from ostro.http.route import Service
from ostro.model.errors import Invalid, Unauthenticated
from ostro.services.agents.joining import Speaker
from ostro.services.cloud import Cloud

EPOCH_DIGITS_MOST = 18


def admit_agent(cloud: Cloud, raw: Incoming) -> None:
    """Raise Unauthenticated unless a host's certificate was shown or the request bears this cloud's agent key."""
    shown, key = raw.headers.get("X-Agent-Key", ""), cloud.config.agent_key
    if raw.peer is None and not (key and hmac.compare_digest(shown.encode(), key.encode())):
        raise Unauthenticated("A host's certificate or the agent key is needed.")


def speaker_of(req: Request) -> Speaker:
    """Who speaks, as of which epoch. Raises Invalid."""
    epoch = req.headers.get("X-Agent-Epoch", "0")
    if not epoch.isascii() or not epoch.isdigit() or len(epoch) > EPOCH_DIGITS_MOST:
        raise Invalid("X-Agent-Epoch must be a number.")
    incarnation, peer = req.headers.get("X-Agent-Incarnation", ""), req.raw.peer
    if peer is None:
        return Speaker(incarnation, int(epoch))
    return Speaker(incarnation, int(epoch), peer.name, peer.serial)


AGENT = Service("agent", ("/agent/v1",), identity_shape, title="Ostro agent protocol", admit=admit_agent)
