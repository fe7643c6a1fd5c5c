"""A server as Compute shows it, at each microversion."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import orjson

from ostro.http.compute.service import BOOKMARK, ROOT
from ostro.http.request import Request
from ostro.model.servers import DEFAULT_ZONE
from ostro.model.times import iso_micro, iso_z
from ostro.services.compute.listing import Details
from ostro.services.compute.volumes import ROOT_DEVICE
from ostro.services.network.binding import PortView
from ostro.store.servers import Server

_IN_PROGRESS = frozenset(("ACTIVE", "BUILD"))
_FAULTY = frozenset(("ERROR", "DELETED"))
_EXTENDED = "OS-EXT-SRV-ATTR:"
EXTENDED = "os_compute_api:os-extended-server-attributes"
"""The policy of who sees them."""


def server_links(req: Request, server_id: str) -> list[dict[str, str]]:
    """A server's own links."""
    base = req.base_url
    return [
        {"rel": "self", "href": f"{base}{ROOT}/servers/{server_id}"},
        {"rel": "bookmark", "href": f"{base}{BOOKMARK}/servers/{server_id}"},
    ]


def brief_view(req: Request, server: Server) -> dict[str, Any]:
    """A server in a list without details."""
    return {"id": server.id, "name": server.name, "links": server_links(req, server.id)}


@lru_cache(maxsize=4096)
def host_hash(project_id: str, host_name: str) -> str:
    """``hostId``: says that two servers of a project share a host, not which."""
    return hashlib.sha224(f"{project_id}{host_name}".encode()).hexdigest() if host_name else ""


def addresses_view(ports: list[PortView] | tuple[PortView, ...]) -> dict[str, list[dict[str, Any]]]:
    """A server's addresses by network name."""
    out: dict[str, list[dict[str, Any]]] = {}
    for port in ports:
        shown = out.setdefault(port.network_name, [])
        for fixed in port.fixed_ips:
            shown.append(
                {
                    "version": 6 if ":" in fixed.ip else 4,
                    "addr": fixed.ip,
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": port.mac,
                }
            )
    return out


def base_view(req: Request, server: Server, details: Details, *, groups: bool = True) -> dict[str, Any]:
    """What every answer about a server has."""
    base = req.base_url
    view: dict[str, Any] = {
        "id": server.id,
        "name": server.name,
        "status": server.status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": server.metadata,
        "hostId": host_hash(server.project_id, server.host_name),
        "image": _image(base, server.image_id),
        "flavor": _flavor(req, server),
        "created": iso_z(server.created_at_us),
        "updated": iso_z(server.updated_at_us),
        "addresses": addresses_view(tuple(details.ports.get(server.id, ()))),
        "accessIPv4": server.access_ipv4,
        "accessIPv6": server.access_ipv6,
        "links": server_links(req, server.id),
        "OS-DCF:diskConfig": server.disk_config,
    }
    if server.status in _IN_PROGRESS:
        view["progress"] = 100 if server.status == "ACTIVE" else 0
    if server.fault is not None and server.status in _FAULTY:
        view["fault"] = _fault(req, server)
    version = req.version
    assert version is not None
    if version >= (2, 9):
        view["locked"] = server.locked
    if version >= (2, 19):
        view["description"] = server.description
    if version >= (2, 26):
        view["tags"] = server.tags
    if version >= (2, 63):
        view["trusted_image_certificates"] = None
    if version >= (2, 71) and groups:
        view["server_groups"] = [server.group_id] if server.group_id else []
    if version >= (2, 73):
        view["locked_reason"] = server.locked_reason
    return view


def _image(base: str, image_id: str) -> Any:
    if not image_id:
        return ""
    return {"id": image_id, "links": [{"rel": "bookmark", "href": f"{base}{BOOKMARK}/images/{image_id}"}]}


def _flavor(req: Request, server: Server) -> Any:
    if req.at_least(2, 47):
        return orjson.Fragment(server.flavor)
    href = f"{req.base_url}{BOOKMARK}/flavors/{server.flavor_id}"
    return {"id": server.flavor_id, "links": [{"rel": "bookmark", "href": href}]}


def _fault(req: Request, server: Server) -> dict[str, Any]:
    assert server.fault is not None
    fault = server.fault
    view: dict[str, Any] = {"code": fault.code, "created": iso_z(fault.created_at_us), "message": fault.message}
    if fault.details and (req.context.is_admin or fault.code != 500):
        view["details"] = fault.details
    return view


def full_view(req: Request, server: Server, details: Details, *, groups: bool = True) -> dict[str, Any]:
    """A server with all its extensions."""
    view = base_view(req, server, details, groups=groups)
    view["key_name"] = server.key_name
    view["config_drive"] = "True" if server.config_drive else ""
    view["OS-EXT-AZ:availability_zone"] = DEFAULT_ZONE if server.host_id else server.zone_asked
    view["OS-SRV-USG:launched_at"] = iso_micro(server.launched_at_us) if server.launched_at_us else None
    view["OS-SRV-USG:terminated_at"] = iso_micro(server.deleted_at_us) if server.deleted_at_us else None
    view["OS-EXT-STS:task_state"] = server.task_state.value or None
    view["OS-EXT-STS:vm_state"] = server.vm_state.value
    view["OS-EXT-STS:power_state"] = server.power_state.value
    names = _group_names(server, details)
    if names:
        view["security_groups"] = names
    view["os-extended-volumes:volumes_attached"] = [
        {"id": device.volume_id, "delete_on_termination": device.delete_on_termination}
        if req.at_least(2, 3)
        else {"id": device.volume_id}
        for device in details.devices.get(server.id, ())
    ]
    if req.at_least(2, 90):
        view[f"{_EXTENDED}hostname"] = server.hostname
    if req.at_least(2, 96):
        view["pinned_availability_zone"] = server.zone_asked or None
    if req.context.may_also(EXTENDED, server.project_id, server.user_id):
        _add_admins_part(req, view, server, details)
    return view


def _group_names(server: Server, details: Details) -> list[dict[str, str]]:
    names = [
        details.group_names[group_id]
        for port in details.ports.get(server.id, ())
        for group_id in port.security_groups
        if group_id in details.group_names
    ]
    return [{"name": name} for name in dict.fromkeys(names)]


def _add_admins_part(req: Request, view: dict[str, Any], server: Server, details: Details) -> None:
    """Where the server is and how it was made: administrators only."""
    view[f"{_EXTENDED}host"] = server.host_name or None
    view[f"{_EXTENDED}hypervisor_hostname"] = server.host_name or None
    view[f"{_EXTENDED}instance_name"] = f"instance-{server.id[:8]}"
    if req.at_least(2, 3):
        view[f"{_EXTENDED}reservation_id"] = server.reservation_id
        view[f"{_EXTENDED}launch_index"] = server.launch_index
        view[f"{_EXTENDED}hostname"] = server.hostname
        view[f"{_EXTENDED}kernel_id"] = ""
        view[f"{_EXTENDED}ramdisk_id"] = ""
        view[f"{_EXTENDED}root_device_name"] = ROOT_DEVICE
        view[f"{_EXTENDED}user_data"] = details.user_data.get(server.id)
    if req.at_least(2, 16):
        up = "UP" if server.host_id in details.hosts_up else "UNKNOWN"
        view["host_status"] = up if server.host_id else ""
