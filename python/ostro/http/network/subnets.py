"""``/v2.0/subnets``."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.http.network.body import (
    LOOSE_BOOLEAN,
    LOOSE_INTEGER,
    PROJECT,
    TEXT,
    expected_revision,
    items_of,
    one_or_many,
    only,
    project_of,
    rename,
    to_bool,
    wrap,
)
from ostro.http.network.listing import Attribute, Listing, common, pick
from ostro.http.network.listing import to_bool as bool_of_query
from ostro.http.network.listing import to_int as int_of_query
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, INTEGER, STRING, UUID, array, nullable, shape, strict
from ostro.model.times import iso_z
from ostro.model.wishes import HostRoute
from ostro.services.network import subnets as service
from ostro.services.network.errors import NetworkInvalid
from ostro.services.network.subnets import SubnetSpec
from ostro.store.subnets import SUBNETS, Pool, Subnet

_POOL = strict({"start": TEXT, "end": TEXT}, ("start", "end"))
_ROUTE = strict({"destination": TEXT, "nexthop": TEXT}, ("destination", "nexthop"))
_NONE = {"type": "null"}
_CHANGEABLE = {
    "name": TEXT,
    "description": TEXT,
    "gateway_ip": nullable(TEXT),
    "enable_dhcp": LOOSE_BOOLEAN,
    "allocation_pools": nullable(array(_POOL, maxItems=256)),
    "dns_nameservers": nullable(array(TEXT, maxItems=64)),
    "host_routes": nullable(array(_ROUTE, maxItems=256)),
    "service_types": nullable(array(TEXT, maxItems=64)),
}
_ITEM = {
    "type": "object",
    "required": ["network_id", "ip_version"],
    "properties": {
        **PROJECT,
        **_CHANGEABLE,
        "network_id": UUID,
        "cidr": nullable(TEXT),
        "ip_version": LOOSE_INTEGER,
        "ipv6_ra_mode": _NONE,
        "ipv6_address_mode": _NONE,
        "subnetpool_id": _NONE,
        "prefixlen": _NONE,
    },
    "additionalProperties": False,
}
CREATE = one_or_many("subnet", "subnets", _ITEM)
UPDATE = only("subnet", _CHANGEABLE)
VIEW = shape(
    {
        "id": STRING,
        "name": STRING,
        "network_id": STRING,
        "project_id": STRING,
        "tenant_id": STRING,
        "ip_version": INTEGER,
        "cidr": STRING,
        "gateway_ip": nullable(STRING),
        "enable_dhcp": BOOLEAN,
        "allocation_pools": array(_POOL),
        "dns_nameservers": array(STRING),
        "host_routes": array(_ROUTE),
        "service_types": array(STRING),
        "tags": array(STRING),
        "created_at": STRING,
        "updated_at": STRING,
        "revision_number": INTEGER,
    },
    required=(),
)
SHOWN = {"subnet": VIEW}
LISTING = Listing(
    "subnets",
    SUBNETS,
    {
        **common(),
        "network_id": Attribute("network_id"),
        "ip_version": Attribute("ip_version", int_of_query),
        "cidr": Attribute("cidr"),
        "gateway_ip": Attribute("gateway_ip"),
        "enable_dhcp": Attribute("enable_dhcp", bool_of_query),
    },
)


def subnet_view(subnet: Subnet) -> dict[str, Any]:
    """A subnet as the API shows it."""
    return {
        "id": subnet.id,
        "name": subnet.name,
        "tenant_id": subnet.project_id,
        "project_id": subnet.project_id,
        "network_id": subnet.network_id,
        "ip_version": subnet.ip_version,
        "subnetpool_id": None,
        "enable_dhcp": subnet.enable_dhcp,
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        "gateway_ip": subnet.gateway_ip or None,
        "cidr": subnet.cidr,
        "allocation_pools": [{"start": p.start, "end": p.end} for p in subnet.allocation_pools],
        "host_routes": [{"destination": r.destination, "nexthop": r.nexthop} for r in subnet.host_routes],
        "dns_nameservers": subnet.dns_nameservers,
        "description": subnet.description,
        "service_types": subnet.service_types,
        "tags": subnet.tags,
        "created_at": iso_z(subnet.created_at_us),
        "updated_at": iso_z(subnet.updated_at_us),
        "revision_number": subnet.revision_number,
    }


def _pools(value: Any) -> list[Pool] | None:
    return None if value is None else msgspec.convert(value, list[Pool])


def _routes(value: Any) -> list[HostRoute]:
    return msgspec.convert(value or [], list[HostRoute])


def _texts(value: Any) -> list[str]:
    return list(value or ())


def _spec(item: dict[str, Any]) -> SubnetSpec:
    if not item.get("cidr"):
        raise NetworkInvalid(
            "BadRequest", "Bad subnets request: a subnetpool must be specified in the absence of a cidr."
        )
    return SubnetSpec(
        network_id=item["network_id"],
        cidr=item["cidr"],
        ip_version=int(item["ip_version"]),
        project_id=project_of(item),
        name=item.get("name", ""),
        description=item.get("description", ""),
        gateway_ip=item.get("gateway_ip", "auto"),
        enable_dhcp=to_bool(item.get("enable_dhcp", True)),
        allocation_pools=_pools(item.get("allocation_pools")),
        dns_nameservers=_texts(item.get("dns_nameservers")),
        host_routes=_routes(item.get("host_routes")),
        service_types=_texts(item.get("service_types")),
    )


@NETWORK.route(
    "GET",
    f"{V2}/subnets",
    policy="network:get_subnet",
    rule=Rule.READER,
    response=shape({"subnets": array(VIEW)}),
    query=LISTING.query,
    summary="List subnets",
)
async def list_subnets(req: Request) -> Reply:
    page = LISTING.page(req)
    return LISTING.reply(req, await req.read(service.list_subnets, page), page, subnet_view)


@NETWORK.route(
    "POST",
    f"{V2}/subnets",
    policy="network:create_subnet",
    rule=Rule.MEMBER,
    status=201,
    body=CREATE,
    response=shape({**SHOWN, "subnets": array(VIEW)}, required=()),
    summary="Create one subnet or several",
)
async def create_subnet(req: Request) -> Reply:
    specs = [_spec(item) for item in items_of(req, "subnet", "subnets")]
    subnets = await req.run(service.create_subnets, specs)
    return Reply(wrap(req, "subnet", "subnets", [subnet_view(s) for s in subnets], pick(req)))


@NETWORK.route(
    "GET",
    f"{V2}/subnets/{{subnet_id}}",
    policy="network:get_subnet",
    rule=Rule.READER,
    response=shape(SHOWN),
    query={"fields": STRING},
    summary="Show a subnet",
)
async def show_subnet(req: Request) -> Reply:
    return Reply({"subnet": pick(req)(subnet_view(await req.read(service.get_subnet, req.params["subnet_id"])))})


@NETWORK.route(
    "PUT",
    f"{V2}/subnets/{{subnet_id}}",
    policy="network:update_subnet",
    rule=Rule.MEMBER,
    body=UPDATE,
    response=shape(SHOWN),
    summary="Update a subnet",
)
async def update_subnet(req: Request) -> Reply:
    changes = rename(
        req.body["subnet"],
        {
            "name": None,
            "description": None,
            "gateway_ip": None,
            "enable_dhcp": to_bool,
            "allocation_pools": _pools,
            "dns_nameservers": _texts,
            "host_routes": _routes,
            "service_types": _texts,
        },
    )
    subnet = await req.run(service.update_subnet, req.params["subnet_id"], changes, expected_revision(req))
    return Reply({"subnet": subnet_view(subnet)})


@NETWORK.route(
    "DELETE",
    f"{V2}/subnets/{{subnet_id}}",
    policy="network:delete_subnet",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete a subnet",
)
async def delete_subnet(req: Request) -> Reply:
    await req.run(service.delete_subnet, req.params["subnet_id"], expected_revision(req))
    return Reply()
