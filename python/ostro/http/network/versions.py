"""Network's version documents."""

from __future__ import annotations

from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape

RESOURCES = (
    ("network", "networks"),
    ("subnet", "subnets"),
    ("port", "ports"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
    ("quota", "quotas"),
    ("agent", "agents"),
    ("availability_zone", "availability_zones"),
    ("network_ip_availability", "network-ip-availabilities"),
    ("service_provider", "service-providers"),
    ("extension", "extensions"),
)


@NETWORK.route(
    "GET",
    "",
    policy="network:versions",
    rule=Rule.PUBLIC,
    response=shape({"versions": array(ANY_OBJECT)}),
    summary="List API versions",
)
async def list_versions(req: Request) -> Reply:
    href = req.url("/networking/v2.0/")
    return Reply({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]})


@NETWORK.route(
    "GET",
    V2,
    policy="network:versions",
    rule=Rule.PUBLIC,
    response=shape({"resources": array(ANY_OBJECT)}),
    summary="List the resources of version 2.0",
)
async def show_version(req: Request) -> Reply:
    return Reply(
        {
            "resources": [
                {
                    "name": name,
                    "collection": collection.replace("-", "_"),
                    "links": [{"rel": "self", "href": req.url(f"/networking/v2.0/{collection}")}],
                }
                for name, collection in RESOURCES
            ]
        }
    )
