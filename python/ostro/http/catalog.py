"""The services of this program, in the order of their mounting, and where the catalogue says they are."""

from __future__ import annotations

from ostro.http.agent import AGENT, JOIN
from ostro.http.block import BLOCK, BLOCK_VERSIONS
from ostro.http.compute import COMPUTE
from ostro.http.health import HEALTH
from ostro.http.identity import IDENTITY
from ostro.http.image import IMAGE
from ostro.http.network import NETWORK
from ostro.http.object import OBJECT
from ostro.http.placement import PLACEMENT
from ostro.http.route import Service

SERVICES: tuple[Service, ...] = (
    HEALTH,
    IDENTITY,
    COMPUTE,
    PLACEMENT,
    IMAGE,
    BLOCK,
    BLOCK_VERSIONS,
    NETWORK,
    OBJECT,
    AGENT,
    JOIN,
)
