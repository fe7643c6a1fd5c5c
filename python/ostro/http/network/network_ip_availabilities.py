"""``/v2.0/network-ip-availabilities``."""

from __future__ import annotations

from typing import Any

from ostro.http.network.listing import Attribute, Listing
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape
from ostro.services.network import ip_availabilities as service
from ostro.services.network.ip_availabilities import NetworkUse
from ostro.store.networks import NETWORKS
from ostro.store.paging import Where

VIEW = shape(
    {
        "network_id": STRING,
        "network_name": STRING,
        "project_id": STRING,
        "tenant_id": STRING,
        "total_ips": INTEGER,
        "used_ips": INTEGER,
        "subnet_ip_availability": array(ANY_OBJECT),
    },
    required=(),
)
LISTING = Listing(
    "network_ip_availabilities",
    NETWORKS,
    {
        "network_id": Attribute("id"),
        "network_name": Attribute("name"),
        "project_id": Attribute("project_id"),
        "tenant_id": Attribute("project_id"),
    },
    # Narrows the subnets that are counted, not the networks that are shown.
    {"ip_version": lambda values: Where("1 = 1")},
)


def use_view(use: NetworkUse) -> dict[str, Any]:
    """A network's use of addresses."""
    return {
        "network_id": use.network.id,
        "network_name": use.network.name,
        "tenant_id": use.network.project_id,
        "project_id": use.network.project_id,
        "total_ips": use.total,
        "used_ips": use.used,
        "subnet_ip_availability": [
            {
                "subnet_id": part.subnet.id,
                "subnet_name": part.subnet.name,
                "cidr": part.subnet.cidr,
                "ip_version": part.subnet.ip_version,
                "total_ips": part.total,
                "used_ips": part.used,
            }
            for part in use.subnets
        ],
    }


@NETWORK.route(
    "GET",
    f"{V2}/network-ip-availabilities",
    policy="network:get_network_ip_availability",
    rule=Rule.ADMIN,
    response=shape({"network_ip_availabilities": array(VIEW)}),
    query=LISTING.query,
    summary="List the use of addresses, network by network",
)
async def list_network_ip_availabilities(req: Request) -> Reply:
    page = LISTING.page(req)
    version = req.integer("ip_version", 0) or None
    return LISTING.reply(req, await req.read(service.list_ip_availabilities, page, version), page, use_view)


@NETWORK.route(
    "GET",
    f"{V2}/network-ip-availabilities/{{network_id}}",
    policy="network:get_network_ip_availability",
    rule=Rule.ADMIN,
    response=shape({"network_ip_availability": VIEW}),
    summary="Show the use of a network's addresses",
)
async def show_network_ip_availability(req: Request) -> Reply:
    return Reply(
        {"network_ip_availability": use_view(await req.read(service.get_ip_availability, req.params["network_id"]))}
    )
