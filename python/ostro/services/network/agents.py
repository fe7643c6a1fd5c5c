"""Hosts as Neutron's agents: one for each, which does what a host's Open vSwitch, DHCP and metadata agents do together."""

from __future__ import annotations

import hashlib

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.model.times import SECOND_US
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host

ALIVE_US = 75 * SECOND_US
"""Neutron's own ``agent_down_time``."""


class NetworkAgent(msgspec.Struct, frozen=True):
    """One host's network agent."""

    id: str
    host: Host
    alive: bool


def agent_id(host_id: str) -> str:
    """Stable, a UUID, and not the host's own id."""
    digest = hashlib.md5(f"network-agent:{host_id}".encode(), usedforsecurity=False).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def list_agents(tx: Tx, context: Context) -> list[NetworkAgent]:
    """Every host's agent, by the host's name."""
    hosts = HOSTS.list(tx, order="name")
    return [NetworkAgent(agent_id(h.id), h, context.now_us - h.seen_at_us < ALIVE_US) for h in hosts]


def get_agent(tx: Tx, context: Context, id_: str) -> NetworkAgent:
    """Raises NotFound."""
    for agent in list_agents(tx, context):
        if agent.id == id_:
            return agent
    raise NotFound("agent", id_, f"Agent {id_} could not be found.")
