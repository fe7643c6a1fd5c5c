"""``/servers/{id}/os-interface`` and ``/servers/{id}/ips``: a server's ports and addresses."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.server_schemas import TAG, ranges
from ostro.http.compute.server_views import addresses_view
from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, UUID, array, shape, strict
from ostro.http.versions import Version
from ostro.model.errors import Invalid, NotFound
from ostro.services.compute.interfaces import attach_interface, detach_interface, get_port, list_ports
from ostro.services.network.binding import PortView, RequestedNic

PATH = "/v2.1/servers/{server_id}/os-interface"
IP = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "maxLength": 45}
IPS = "/v2.1/servers/{server_id}/ips"


def _view(req: Request, port: PortView) -> dict[str, Any]:
    view: dict[str, Any] = {
        "port_id": port.port_id,
        "net_id": port.network_id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": fixed.subnet_id, "ip_address": fixed.ip} for fixed in port.fixed_ips],
    }
    if req.at_least(2, 70):
        view["tag"] = port.tag or None
    return view


@COMPUTE.route(
    "GET",
    PATH,
    policy="os_compute_api:os-attach-interfaces:list",
    rule=Rule.READER,
    response=shape({"interfaceAttachments": array(ANY_OBJECT)}),
    summary="List the ports of a server",
)
async def list_interfaces(req: Request) -> Reply:
    ports = await req.read(list_ports, req.params["server_id"])
    return Reply({"interfaceAttachments": [_view(req, port) for port in ports]})


@COMPUTE.route(
    "GET",
    PATH + "/{port_id}",
    policy="os_compute_api:os-attach-interfaces:show",
    rule=Rule.READER,
    response=shape({"interfaceAttachment": ANY_OBJECT}),
    summary="Show a port of a server",
)
async def show_interface(req: Request) -> Reply:
    port = await req.read(get_port, req.params["server_id"], req.params["port_id"])
    return Reply({"interfaceAttachment": _view(req, port)})


async def attach(req: Request) -> Reply:
    given = req.body.get("interfaceAttachment") or {}
    port_id, network_id = given.get("port_id") or "", given.get("net_id") or ""
    addresses = given.get("fixed_ips") or []
    if port_id and network_id:
        raise Invalid("Must not input both network_id and port_id")
    if addresses and not network_id:
        raise Invalid("Must input network_id when request IP address")
    nic = RequestedNic(network_id, port_id, addresses[0]["ip_address"] if addresses else "", given.get("tag") or "")
    port = await req.run(attach_interface, req.params["server_id"], nic)
    return Reply({"interfaceAttachment": _view(req, port)})


def _attach_body(version: Version) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "net_id": UUID,
        "port_id": UUID,
        "fixed_ips": array(strict({"ip_address": IP}, ("ip_address",)), minItems=1, maxItems=1),
    }
    if version >= (2, 49):
        properties["tag"] = TAG
    return strict({"interfaceAttachment": strict(properties)})


for _low, _high in ranges((Version(2, 1), Version(2, 49))):
    COMPUTE.route(
        "POST",
        PATH,
        policy="os_compute_api:os-attach-interfaces:create",
        rule=Rule.MEMBER,
        low=_low,
        high=_high,
        body=_attach_body(_low),
        response=shape({"interfaceAttachment": ANY_OBJECT}),
        summary="Plug a port into a server",
    )(attach)


@COMPUTE.route(
    "DELETE",
    PATH + "/{port_id}",
    policy="os_compute_api:os-attach-interfaces:delete",
    rule=Rule.MEMBER,
    status=202,
    summary="Pull a port out of a server",
)
async def detach(req: Request) -> Reply:
    await req.run(detach_interface, req.params["server_id"], req.params["port_id"])
    return Reply()


def _plain(addresses: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [{"version": a["version"], "addr": a["addr"]} for a in shown] for name, shown in addresses.items()}


@COMPUTE.route(
    "GET",
    IPS,
    policy="os_compute_api:ips:index",
    rule=Rule.READER,
    response=shape({"addresses": ANY_OBJECT}),
    summary="List the addresses of a server",
)
async def list_addresses(req: Request) -> Reply:
    ports = await req.read(list_ports, req.params["server_id"])
    return Reply({"addresses": _plain(addresses_view(ports))})


@COMPUTE.route(
    "GET",
    IPS + "/{network_name}",
    policy="os_compute_api:ips:show",
    rule=Rule.READER,
    response=ANY_OBJECT,
    summary="List the addresses of a server on one network",
)
async def show_addresses(req: Request) -> Reply:
    name = req.params["network_name"]
    addresses = _plain(addresses_view(await req.read(list_ports, req.params["server_id"])))
    if name not in addresses:
        raise NotFound("network", name, f"Instance does not have network {name}")
    return Reply({name: addresses[name]})
