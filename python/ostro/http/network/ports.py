"""``/v2.0/ports``."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from ostro.http.network.body import (
    LOOSE_BOOLEAN,
    PROJECT,
    TEXT,
    expected_revision,
    items_of,
    one_or_many,
    only,
    project_of,
    rename,
    to_bool,
    to_mac,
    wrap,
)
from ostro.http.network.listing import Attribute, Listing, common, need_values, pick, refuse, to_lower
from ostro.http.network.listing import to_bool as bool_of_query
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, INTEGER, STRING, UUID, array, nullable, shape, strict
from ostro.model.times import iso_z
from ostro.model.wishes import AddressPair
from ostro.services.network import port_changes as service
from ostro.services.network.addresses import WantedIp, to_number
from ostro.services.network.errors import NetworkInvalid, bad_value
from ostro.services.network.port_requests import PortRequest, request_ports
from ostro.services.network.ports import PortSpec
from ostro.store.paging import Filter, Where
from ostro.store.ports import PORTS, Port, with_addresses, with_groups

PAIRS_MOST = 10
FIXED_IPS_MOST = 64
VNIC_TYPES = ("normal",)
_FIXED = strict({"subnet_id": UUID, "ip_address": TEXT}, minProperties=1)
_PAIR = strict({"ip_address": TEXT, "mac_address": nullable(TEXT)}, ("ip_address",))
_CHANGEABLE = {
    "name": TEXT,
    "description": TEXT,
    "admin_state_up": LOOSE_BOOLEAN,
    "mac_address": nullable(TEXT),
    "device_id": TEXT,
    "device_owner": TEXT,
    "fixed_ips": nullable(array(_FIXED, maxItems=FIXED_IPS_MOST)),
    "security_groups": nullable(array(UUID, maxItems=256)),
    "allowed_address_pairs": nullable(array(_PAIR)),
    "port_security_enabled": LOOSE_BOOLEAN,
    "binding:host_id": nullable(TEXT),
    "binding:vnic_type": {"enum": list(VNIC_TYPES)},
    "binding:profile": nullable(ANY_OBJECT),
}
_ITEM = {
    "type": "object",
    "required": ["network_id"],
    "properties": {**PROJECT, **_CHANGEABLE, "network_id": UUID, "tags": array(TEXT, maxItems=50, uniqueItems=True)},
    "additionalProperties": False,
}
CREATE = one_or_many("port", "ports", _ITEM)
UPDATE = only("port", _CHANGEABLE)
VIEW = shape(
    {
        "id": STRING,
        "name": STRING,
        "network_id": STRING,
        "project_id": STRING,
        "tenant_id": STRING,
        "mac_address": STRING,
        "admin_state_up": BOOLEAN,
        "status": {"enum": ["ACTIVE", "DOWN", "BUILD", "ERROR"]},
        "device_id": STRING,
        "device_owner": STRING,
        "fixed_ips": array(shape({"subnet_id": STRING, "ip_address": STRING})),
        "security_groups": array(STRING),
        "allowed_address_pairs": array(shape({"ip_address": STRING, "mac_address": STRING})),
        "port_security_enabled": BOOLEAN,
        "binding:vnic_type": STRING,
        "tags": array(STRING),
        "created_at": STRING,
        "updated_at": STRING,
        "revision_number": INTEGER,
    },
    required=(),
)
SHOWN = {"port": VIEW}


def _by_fixed_ips(values: Sequence[str]) -> Filter | Where:
    """``fixed_ips=ip_address=A`` and ``fixed_ips=subnet_id=S``; both must hold where both are given."""
    ips: list[int] = []
    subnet_ids: list[str] = []
    for key, value in need_values("fixed_ips", values, "ip_address=<address> or subnet_id=<id>"):
        if key == "subnet_id":
            subnet_ids.append(value)
        elif key == "ip_address":
            try:
                ips.append(to_number(value))
            except ValueError:
                ips.append(-1)
        else:
            raise refuse(f"['{key}'] is invalid attribute for filtering")
    if not subnet_ids:
        return with_addresses("address", ips)
    if not ips:
        return with_addresses("subnet_id", subnet_ids)
    first, second = with_addresses("address", ips), with_addresses("subnet_id", subnet_ids)
    return Where(f"({first.sql}) AND ({second.sql})", (*first.params, *second.params))


LISTING = Listing(
    "ports",
    PORTS,
    {
        **common(),
        "network_id": Attribute("network_id"),
        "mac_address": Attribute("mac_address", to_lower),
        "admin_state_up": Attribute("admin_state_up", bool_of_query),
        "status": Attribute("status"),
        "device_id": Attribute("device_id"),
        "device_owner": Attribute("device_owner"),
        "port_security_enabled": Attribute("port_security_enabled", bool_of_query),
        "binding:host_id": Attribute("binding_host"),
        "binding:vnic_type": Attribute("vnic_type"),
    },
    {"fixed_ips": _by_fixed_ips, "security_groups": with_groups},
)


def port_view(req: Request, port: Port) -> dict[str, Any]:
    """A port as the actor sees it: where it is bound is an administrator's."""
    out: dict[str, Any] = {
        "id": port.id,
        "name": port.name,
        "network_id": port.network_id,
        "tenant_id": port.project_id,
        "project_id": port.project_id,
        "mac_address": port.mac_address,
        "admin_state_up": port.admin_state_up,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "fixed_ips": [{"subnet_id": f.subnet_id, "ip_address": f.ip} for f in port.fixed_ips],
        "security_groups": port.security_groups,
        "allowed_address_pairs": [
            {"ip_address": p.ip, "mac_address": p.mac or port.mac_address} for p in port.address_pairs
        ],
        "port_security_enabled": port.port_security_enabled,
        "binding:vnic_type": port.vnic_type,
        "description": port.description,
        "tags": port.tags,
        "created_at": iso_z(port.created_at_us),
        "updated_at": iso_z(port.updated_at_us),
        "revision_number": port.revision_number,
    }
    if req.context.is_admin or "service" in req.context.actor.roles:
        out["binding:host_id"] = port.binding_host
        out["binding:profile"] = port.binding_profile
        out["binding:vif_type"], out["binding:vif_details"] = _vif(port)
    return out


def _vif(port: Port) -> tuple[str, dict[str, Any]]:
    """How the port is plugged in."""
    if not port.binding_host:
        return "unbound", {}
    if not port.host_id:
        return "binding_failed", {}
    return "ovs", {"port_filter": True, "connectivity": "l2"}


def _fixed_ips(value: Any) -> list[WantedIp]:
    wanted = [WantedIp(item.get("subnet_id", ""), item.get("ip_address", "")) for item in value or ()]
    given = [w.ip for w in wanted if w.ip]
    for ip in given:
        if not _is_address(ip):
            raise bad_value("fixed_ips", f"'{ip}' is not a valid IP address")
    if len(set(given)) != len(given):
        raise bad_value("fixed_ips", f"Duplicate IP address '{given[-1]}'")
    return wanted


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _pairs(value: Any) -> list[AddressPair]:
    pairs = []
    for item in value or ():
        try:
            prefix = ipaddress.ip_network(item["ip_address"], strict=False)
        except ValueError as error:
            raise bad_value(
                "allowed_address_pairs", f"'{item['ip_address']}' is not a valid IP address or subnet"
            ) from error
        ip = str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
        mac = to_mac(item["mac_address"], "allowed_address_pairs") if item.get("mac_address") else ""
        pairs.append(AddressPair(ip, mac))
    if len(set(pairs)) != len(pairs):
        raise NetworkInvalid("DuplicateAddressPairInRequest", "Request contains duplicate address pair.")
    if len(pairs) > PAIRS_MOST:
        raise NetworkInvalid(
            "AllowedAddressPairExhausted",
            f"The number of allowed address pair exceeds the maximum {PAIRS_MOST}.",
        )
    return pairs


def _or_empty(value: Any) -> Any:
    return value or ""


def _request(item: dict[str, Any]) -> PortRequest:
    spec = PortSpec(
        network_id=item["network_id"],
        project_id=project_of(item),
        name=item.get("name", ""),
        description=item.get("description", ""),
        mac_address=to_mac(item["mac_address"]) if item.get("mac_address") else "",
        admin_state_up=to_bool(item.get("admin_state_up", True)),
        device_id=item.get("device_id", ""),
        device_owner=item.get("device_owner", ""),
        fixed_ips=None if item.get("fixed_ips") is None else _fixed_ips(item["fixed_ips"]),
        security_groups=item.get("security_groups"),
        address_pairs=_pairs(item.get("allowed_address_pairs")),
        port_security_enabled=to_bool(item["port_security_enabled"]) if "port_security_enabled" in item else None,
        binding_host=item.get("binding:host_id") or "",
        vnic_type=item.get("binding:vnic_type", "normal"),
        binding_profile=item.get("binding:profile") or {},
        tags=item.get("tags", []),
    )
    return PortRequest(spec, frozenset(item))


@NETWORK.route(
    "GET",
    f"{V2}/ports",
    policy="network:get_port",
    rule=Rule.READER,
    response=shape({"ports": array(VIEW)}),
    query=LISTING.query,
    summary="List ports",
)
async def list_ports(req: Request) -> Reply:
    page = LISTING.page(req)
    return LISTING.reply(req, await req.read(service.list_ports, page), page, lambda port: port_view(req, port))


@NETWORK.route(
    "POST",
    f"{V2}/ports",
    policy="network:create_port",
    rule=Rule.MEMBER,
    status=201,
    body=CREATE,
    response=shape({**SHOWN, "ports": array(VIEW)}, required=()),
    summary="Create one port or several",
)
async def create_port(req: Request) -> Reply:
    requests = [_request(item) for item in items_of(req, "port", "ports")]
    ports = await req.run(request_ports, requests)
    return Reply(wrap(req, "port", "ports", [port_view(req, p) for p in ports], pick(req)))


@NETWORK.route(
    "GET",
    f"{V2}/ports/{{port_id}}",
    policy="network:get_port",
    rule=Rule.READER,
    response=shape(SHOWN),
    query={"fields": STRING},
    summary="Show a port",
)
async def show_port(req: Request) -> Reply:
    return Reply({"port": pick(req)(port_view(req, await req.read(service.get_port, req.params["port_id"])))})


@NETWORK.route(
    "PUT",
    f"{V2}/ports/{{port_id}}",
    policy="network:update_port",
    rule=Rule.MEMBER,
    body=UPDATE,
    response=shape(SHOWN),
    summary="Update a port",
)
async def update_port(req: Request) -> Reply:
    item = req.body["port"]
    changes = rename(
        item,
        {
            "name": None,
            "description": None,
            "admin_state_up": to_bool,
            "mac_address": lambda value: to_mac(value) if value else None,
            "device_id": None,
            "device_owner": None,
            "fixed_ips": _fixed_ips,
            "security_groups": None,
            "port_security_enabled": to_bool,
        },
    )
    for name, column, convert in (
        ("allowed_address_pairs", "address_pairs", _pairs),
        ("binding:host_id", "binding_host", _or_empty),
        ("binding:vnic_type", "vnic_type", str),
        ("binding:profile", "binding_profile", lambda value: value or {}),
    ):
        if name in item:
            changes[column] = convert(item[name])
    port = await req.run(service.update_port, req.params["port_id"], changes, expected_revision(req))
    return Reply({"port": port_view(req, port)})


@NETWORK.route(
    "DELETE",
    f"{V2}/ports/{{port_id}}",
    policy="network:delete_port",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete a port",
)
async def delete_port(req: Request) -> Reply:
    await req.run(service.delete_port, req.params["port_id"], expected_revision(req))
    return Reply()
