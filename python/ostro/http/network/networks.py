"""``/v2.0/networks``."""

from __future__ import annotations

from typing import Any

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
from ostro.http.schema import BOOLEAN, INTEGER, STRING, array, nullable, shape
from ostro.model.times import iso_z
from ostro.services.network import networks as service
from ostro.services.network.errors import invalid_input
from ostro.services.network.networks import NetworkSpec, NetworkView
from ostro.services.network.segments import SegmentSpec
from ostro.store.networks import NETWORKS
from ostro.store.paging import Filter, Where

_CHANGEABLE = {
    "name": TEXT,
    "description": TEXT,
    "admin_state_up": LOOSE_BOOLEAN,
    "shared": LOOSE_BOOLEAN,
    "mtu": LOOSE_INTEGER,
    "port_security_enabled": LOOSE_BOOLEAN,
}
_PROVIDER = {
    "provider:network_type": nullable(TEXT),
    "provider:physical_network": nullable(TEXT),
    "provider:segmentation_id": nullable(LOOSE_INTEGER),
}
_ITEM = {
    "type": "object",
    "properties": {**PROJECT, **_CHANGEABLE, **_PROVIDER},
    "additionalProperties": False,
}
CREATE = one_or_many("network", "networks", _ITEM)
UPDATE = only("network", {**_CHANGEABLE, **_PROVIDER})
VIEW = shape(
    {
        "id": STRING,
        "name": STRING,
        "project_id": STRING,
        "tenant_id": STRING,
        "admin_state_up": BOOLEAN,
        "mtu": INTEGER,
        "status": {"enum": ["ACTIVE"]},
        "shared": BOOLEAN,
        "subnets": array(STRING),
        "port_security_enabled": BOOLEAN,
        "tags": array(STRING),
        "created_at": STRING,
        "updated_at": STRING,
        "revision_number": INTEGER,
    },
    required=(),
)


def _status(values: Any) -> Filter | Where:
    """Every network is ACTIVE."""
    return Where("1 = 1" if "ACTIVE" in values else "1 = 0")


LISTING = Listing(
    "networks",
    NETWORKS,
    {
        **common(),
        "admin_state_up": Attribute("admin_state_up", bool_of_query),
        "shared": Attribute("shared", bool_of_query),
        "mtu": Attribute("mtu", int_of_query),
        "port_security_enabled": Attribute("port_security_enabled", bool_of_query),
        "provider:network_type": Attribute("network_type"),
        "provider:physical_network": Attribute("physical_network"),
        "provider:segmentation_id": Attribute("segmentation_id", int_of_query, sortable=False),
    },
    {"status": _status},
)
SHOWN = {"network": VIEW}


def network_view(req: Request, view: NetworkView) -> dict[str, Any]:
    """A network as the actor sees it: segments are an administrator's."""
    network = view.network
    out: dict[str, Any] = {
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "mtu": network.mtu,
        "status": "ACTIVE",
        "subnets": view.subnet_ids,
        "shared": network.shared,
        "description": network.description,
        "port_security_enabled": network.port_security_enabled,
        "tags": network.tags,
        "created_at": iso_z(network.created_at_us),
        "updated_at": iso_z(network.updated_at_us),
        "revision_number": network.revision_number,
    }
    if req.context.may_also("network:get_network:provider:network_type", network.project_id):
        out["provider:network_type"] = network.network_type
        out["provider:physical_network"] = network.physical_network or None
        out["provider:segmentation_id"] = network.segmentation_id or None
    return out


def _spec(item: dict[str, Any]) -> NetworkSpec:
    number = item.get("provider:segmentation_id")
    mtu = item.get("mtu")
    return NetworkSpec(
        project_id=project_of(item),
        name=item.get("name", ""),
        description=item.get("description", ""),
        admin_state_up=to_bool(item.get("admin_state_up", True)),
        shared=to_bool(item.get("shared", False)),
        mtu=None if mtu is None else int(mtu),
        port_security_enabled=to_bool(item.get("port_security_enabled", True)),
        segment=SegmentSpec(
            item.get("provider:network_type") or "",
            item.get("provider:physical_network") or "",
            None if number is None else int(number),
        ),
    )


@NETWORK.route(
    "GET",
    f"{V2}/networks",
    policy="network:get_network",
    also={"network:get_network:provider:network_type": Rule.ADMIN},
    rule=Rule.READER,
    response=shape({"networks": array(VIEW)}),
    query=LISTING.query,
    summary="List networks",
)
async def list_networks(req: Request) -> Reply:
    page = LISTING.page(req)
    views = await req.read(service.list_networks, page)
    return LISTING.reply(req, views, page, lambda view: network_view(req, view))


@NETWORK.route(
    "POST",
    f"{V2}/networks",
    policy="network:create_network",
    also=dict.fromkeys(("network:create_network:shared", "network:create_network:provider:network_type"), Rule.ADMIN),
    rule=Rule.MEMBER,
    status=201,
    body=CREATE,
    response=shape({**SHOWN, "networks": array(VIEW)}, required=()),
    summary="Create one network or several",
)
async def create_network(req: Request) -> Reply:
    specs = [_spec(item) for item in items_of(req, "network", "networks")]
    views = await req.run(service.create_networks, specs)
    return Reply(wrap(req, "network", "networks", [network_view(req, v) for v in views], pick(req)))


@NETWORK.route(
    "GET",
    f"{V2}/networks/{{network_id}}",
    policy="network:get_network",
    also={"network:get_network:provider:network_type": Rule.ADMIN},
    rule=Rule.READER,
    response=shape(SHOWN),
    query={"fields": STRING},
    summary="Show a network",
)
async def show_network(req: Request) -> Reply:
    view = await req.read(service.get_network, req.params["network_id"])
    return Reply({"network": pick(req)(network_view(req, view))})


@NETWORK.route(
    "PUT",
    f"{V2}/networks/{{network_id}}",
    policy="network:update_network",
    also={"network:update_network:shared": Rule.ADMIN},
    rule=Rule.MEMBER,
    body=UPDATE,
    response=shape(SHOWN),
    summary="Update a network",
)
async def update_network(req: Request) -> Reply:
    item = req.body["network"]
    if any(item.get(name) is not None for name in _PROVIDER):
        raise invalid_input("Plugin does not support updating the following provider network attributes")
    changes = rename(
        item,
        {
            "name": None,
            "description": None,
            "admin_state_up": to_bool,
            "shared": to_bool,
            "mtu": int,
            "port_security_enabled": to_bool,
        },
    )
    view = await req.run(service.update_network, req.params["network_id"], changes, expected_revision(req))
    return Reply({"network": network_view(req, view)})


@NETWORK.route(
    "DELETE",
    f"{V2}/networks/{{network_id}}",
    policy="network:delete_network",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete a network",
)
async def delete_network(req: Request) -> Reply:
    await req.run(service.delete_network, req.params["network_id"], expected_revision(req))
    return Reply()
