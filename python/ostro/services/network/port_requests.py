"""Ports as tenants ask for them: who may set what, and then they are made."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ostro.model.context import Context
from ostro.services.compute.interfaces import is_foreign_server
from ostro.services.network.access import acting_project, owns
from ostro.services.network.errors import NetworkForbidden, device_not_owned
from ostro.services.network.ports import PortSpec, Sources, insert_planned, is_trusted, plan_port
from ostro.services.network.quotas import check_quotas
from ostro.store.database import Tx
from ostro.store.networks import Network
from ostro.store.ports import DISTRIBUTED_OWNER, Port

ADMIN_ONLY = ("binding:host_id", "binding:profile")
NETWORK_OWNERS = ("mac_address", "port_security_enabled", "allowed_address_pairs")
"""On somebody else's shared network these are its owner's to set."""


class PortRequest(msgspec.Struct, frozen=True):
    """A port, and the names of the attributes that the request has set."""

    spec: PortSpec
    named: frozenset[str]


def request_ports(tx: Tx, context: Context, requests: Sequence[PortRequest]) -> list[Port]:
    """Make ports, all or none.

    Raises NetworkForbidden for attributes that are not this actor's to set, NetworkConflict for a device that is another project's
    server, and as ``create_ports`` does.
    """
    check_quotas(tx, context, (request.spec.project_id for request in requests), "port")
    sources = Sources(tx, context)
    planned = []
    for request in requests:
        project_id = acting_project(context, request.spec.project_id, "create_port:project_id")
        check_rights(context, sources.network(request.spec.network_id), request)
        if not context.is_admin and is_foreign_server(tx, request.spec.device_id, project_id):
            raise device_not_owned(request.spec.device_id)
        planned.append(plan_port(tx, context, sources, msgspec.structs.replace(request.spec, project_id=project_id)))
    return insert_planned(tx, context, sources, planned)


def check_rights(context: Context, network: Network, request: PortRequest) -> None:
    """Raise NetworkForbidden for an attribute that is not this actor's to set."""
    spec = request.spec
    if spec.device_owner == DISTRIBUTED_OWNER:
        raise NetworkForbidden("create_port:device_owner")
    if context.is_admin:
        return
    for name in ADMIN_ONLY:
        if name in request.named:
            raise NetworkForbidden(f"create_port:{name}")
    if owns(context, network.project_id):
        return
    for name in NETWORK_OWNERS:
        if name in request.named:
            raise NetworkForbidden(f"create_port:{name}")
    if is_trusted(spec.device_owner):
        raise NetworkForbidden("create_port:device_owner")
    if any(wanted.ip for wanted in spec.fixed_ips or ()):
        raise NetworkForbidden("create_port:fixed_ips:ip_address")
