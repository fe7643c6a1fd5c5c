"""``/v2.0/agents``: the hosts, as the one agent that each of them runs."""

from __future__ import annotations

from typing import Any

from ostro.http.network.listing import pick, refuse, to_bool
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, shape
from ostro.model.times import to_datetime
from ostro.services.network import agents as service
from ostro.services.network.agents import NetworkAgent

AGENT_TYPE = "Open vSwitch agent"
BINARY = "ostro-agent"
ZONE = "nova"
FILTERS = ("agent_type", "binary", "host", "id", "alive", "admin_state_up", "availability_zone")
VIEW = shape(
    {
        "id": STRING,
        "agent_type": STRING,
        "binary": STRING,
        "host": STRING,
        "alive": BOOLEAN,
        "admin_state_up": BOOLEAN,
        "configurations": ANY_OBJECT,
    },
    required=(),
)


def _stamp(at_us: int) -> str:
    return to_datetime(at_us).strftime("%Y-%m-%d %H:%M:%S")


def agent_view(agent: NetworkAgent) -> dict[str, Any]:
    """A host as Neutron shows an agent."""
    host = agent.host
    return {
        "id": agent.id,
        "agent_type": AGENT_TYPE,
        "binary": BINARY,
        "topic": "N/A",
        "host": host.name,
        "admin_state_up": host.enabled,
        "alive": agent.alive,
        "availability_zone": ZONE,
        "description": host.disabled_reason or None,
        "created_at": _stamp(host.registered_at_us),
        "started_at": _stamp(host.registered_at_us),
        "heartbeat_timestamp": _stamp(host.seen_at_us),
        "resources_synced": None,
        "configurations": {"tunneling_ip": host.tunnel_ip, "tunnel_types": ["vxlan", "gre", "geneve"]},
    }


def _matches(req: Request, view: dict[str, Any]) -> bool:
    for name in req.query.keys():  # noqa: SIM118 - a MultiDict
        if name in ("fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse"):
            continue
        if name not in FILTERS:
            raise refuse(f"['{name}'] is invalid attribute for filtering")
        values = req.query.getlist(name)
        shown = view[name]
        wanted = [to_bool(v) for v in values] if isinstance(shown, bool) else values
        if shown not in wanted:
            return False
    return True


@NETWORK.route(
    "GET",
    f"{V2}/agents",
    policy="network:get_agent",
    rule=Rule.ADMIN,
    response=shape({"agents": array(VIEW)}),
    query={**dict.fromkeys(FILTERS, STRING), "fields": STRING},
    summary="List network agents",
)
async def list_agents(req: Request) -> Reply:
    views = [agent_view(agent) for agent in await req.read(service.list_agents)]
    fields = pick(req)
    return Reply({"agents": [fields(view) for view in views if _matches(req, view)]})


@NETWORK.route(
    "GET",
    f"{V2}/agents/{{agent_id}}",
    policy="network:get_agent",
    rule=Rule.ADMIN,
    response=shape({"agent": VIEW}),
    summary="Show a network agent",
)
async def show_agent(req: Request) -> Reply:
    return Reply({"agent": agent_view(await req.read(service.get_agent, req.params["agent_id"]))})


@NETWORK.route(
    "GET",
    f"{V2}/availability_zones",
    policy="network:get_availability_zone",
    rule=Rule.READER,
    response=shape({"availability_zones": array(ANY_OBJECT)}),
    query={"name": STRING, "resource": STRING, "state": STRING},
    summary="List availability zones",
)
async def list_availability_zones(req: Request) -> Reply:
    agents = await req.read(service.list_agents)
    state = "available" if any(agent.host.enabled for agent in agents) else "unavailable"
    zones = [{"name": ZONE, "resource": "network", "state": state}] if agents else []
    wanted = {name: req.query[name] for name in ("name", "resource", "state") if name in req.query}
    return Reply({"availability_zones": [z for z in zones if all(z[k] == v for k, v in wanted.items())]})
