"""Ports: seeing, changing and deleting them, and what hosts report of them.

A change touches the row once, and then exactly those wishes that show what has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.model.wishes import FixedIp, Noun, Phase, Report
from ostro.services.compute.interfaces import forget_port, is_foreign_server
from ostro.services.network.access import owns
from ostro.services.network.addresses import (
    Claim,
    WantedIp,
    claim_addresses,
    plan_addresses,
    to_number,
    to_text,
)
from ostro.services.network.changes import change, check_revision
from ostro.services.network.default_groups import ensure_default_group
from ostro.services.network.errors import NetworkConflict, NetworkForbidden, device_not_owned, mac_taken
from ostro.services.network.ports import (
    ACTIVE,
    BUILD,
    DOWN,
    ERROR,
    check_groups,
    check_security,
    draw_mac,
    is_trusted,
    remove_port,
)
from ostro.services.network.wishes import displace_port, place_port, withdraw_groups
from ostro.store.addresses import release_address
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.networks import NETWORKS, Network
from ostro.store.paging import Page, list_page
from ostro.store.ports import (
    COMPUTE_OWNER,
    DISTRIBUTED_OWNER,
    PORTS,
    SERVICE_DEVICE_PREFIX,
    Port,
    is_mac_taken,
    set_groups,
    visible_to,
)
from ostro.store.subnets import list_network_subnets
from ostro.store.wishes import ask_generation, foresee_generation

MAC_DRAWS_MOST = 16


def list_ports(tx: Tx, context: Context, page: Page) -> list[Port]:
    """One page of ports: one statement."""
    scope = () if context.is_admin else (visible_to(context.project_id),)
    return list_page(tx, PORTS, page.with_filters(*scope))


def get_port(tx: Tx, context: Context, port_id: str) -> Port:
    """A port of the actor's, or on a network of the actor's. Raises NotFound."""
    port = PORTS.get(tx, port_id)
    if not owns(context, port.project_id) and not owns(context, NETWORKS.get(tx, port.network_id).project_id):
        raise NotFound("port", port_id)
    return port


def is_service_port(port: Port) -> bool:
    """Whether the port is the network's own, which only the network itself changes."""
    return port.device_owner == DISTRIBUTED_OWNER and port.device_id == SERVICE_DEVICE_PREFIX + port.network_id


def update_port(
    tx: Tx, context: Context, port_id: str, changes: dict[str, Any], expected_revision: int | None = None
) -> Port:
    """Change a port. ``fixed_ips`` is a list of WantedIp; addresses that are asked for again are kept.

    Raises NetworkForbidden for attributes that are not this actor's to set, NetworkInvalid and NetworkConflict as creating does.
    """
    port = get_port(tx, context, port_id)
    network = NETWORKS.get(tx, port.network_id)
    check_revision(port, expected_revision)
    _check_rights(context, port, network, changes)
    if is_service_port(port) and changes.keys() & {
        "fixed_ips",
        "mac_address",
        "device_id",
        "device_owner",
        "binding_host",
    }:
        raise _service_port_refusal(port_id)
    if not context.is_admin and is_foreign_server(tx, changes.get("device_id", ""), port.project_id):
        raise device_not_owned(changes["device_id"])
    _settle_changes(tx, context, port, network, changes)
    if "fixed_ips" in changes:
        changes["fixed_ips"] = _exchange_addresses(tx, context, port, changes)
    if changes.get("security_groups", port.security_groups) != port.security_groups:
        set_groups(tx, port.id, changes["security_groups"])
    changed = change(tx, PORTS, port, context.now_us, changes)
    if changed.security_groups and not changed.port_security_enabled and "security_groups" not in changes:
        raise NetworkConflict(
            "PortSecurityPortHasSecurityGroup",
            "Port has security group associated. Cannot disable port security or IP address until security group is removed.",
        )
    check_security(changed)
    if changed != port:
        _follow(tx, port, changed, network)
    return changed


def _check_rights(context: Context, port: Port, network: Network, changes: dict[str, Any]) -> None:
    """What only an administrator or the network's owner may set."""
    if context.is_admin:
        return
    if "binding_host" in changes:
        raise NetworkForbidden("update_port:binding:host_id")
    if "binding_profile" in changes:
        raise NetworkForbidden("update_port:binding:profile")
    if changes.get("mac_address", port.mac_address) != port.mac_address:
        raise NetworkForbidden("update_port:mac_address")
    if network.project_id == context.project_id:
        return
    for name in ("port_security_enabled", "address_pairs"):
        if name in changes and changes[name] != getattr(port, name):
            raise NetworkForbidden(f"update_port:{'allowed_address_pairs' if name == 'address_pairs' else name}")
    if any(wanted.ip for wanted in changes.get("fixed_ips", ())):
        raise NetworkForbidden("update_port:fixed_ips:ip_address")
    if is_trusted(changes.get("device_owner", "")):
        raise NetworkForbidden("update_port:device_owner")


def _settle_changes(tx: Tx, context: Context, port: Port, network: Network, changes: dict[str, Any]) -> None:
    """Bring changed values into the form of the row, and add what follows from them."""
    if changes.get("security_groups", ()) is None:
        changes["security_groups"] = [ensure_default_group(tx, context, port.project_id).id]
    elif "security_groups" in changes:
        changes["security_groups"] = check_groups(tx, context, port.project_id, changes["security_groups"])
    if "mac_address" in changes:
        changes["mac_address"] = _choose_mac(tx, context, port, network, changes["mac_address"])
    if changes.get("vnic_type", port.vnic_type) != port.vnic_type and port.host_id:
        raise NetworkConflict(
            "PortInUse",
            f"Unable to complete operation on port {port.id} for network {network.id}."
            f" Port already has an attached device {port.device_id}.",
        )
    if changes.get("binding_host", port.binding_host) != port.binding_host:
        host = HOSTS.find(tx, name=changes["binding_host"]) if changes["binding_host"] else None
        changes["host_id"] = host.id if host else ""
        changes["arriving_host_id"] = ""
        changes["status"] = DOWN
    if changes.get("admin_state_up", port.admin_state_up) != port.admin_state_up:
        # Up again, it is ACTIVE when the host says so.
        changes["status"] = DOWN


def _choose_mac(tx: Tx, context: Context, port: Port, network: Network, wanted: str | None) -> str:
    """The port's new MAC address; None asks for any."""
    if wanted == port.mac_address:
        return wanted
    if port.host_id:
        raise NetworkConflict(
            "PortBound",
            f"Unable to complete operation on port {port.id}, port is already bound, port type: ovs,"
            f" old_mac {port.mac_address}, new_mac {wanted}.",
        )
    for _ in range(MAC_DRAWS_MOST):
        mac = wanted or draw_mac(context)
        if mac != network.service_mac and not is_mac_taken(tx, network.id, mac):
            return mac
        if wanted:
            break
    raise mac_taken(network.id, wanted or "")


def _exchange_addresses(tx: Tx, context: Context, port: Port, changes: dict[str, Any]) -> list[FixedIp]:
    """The port's new addresses: kept where they are asked for, by address or by subnet; others claimed and given back."""
    wanted: Sequence[WantedIp] = changes["fixed_ips"]
    subnets = list_network_subnets(tx, port.network_id)
    owner = changes.get("device_owner", port.device_owner)
    claims = plan_addresses(tx, port.network_id, subnets, wanted, owner)
    left = list(port.fixed_ips)
    kept: dict[int, FixedIp] = {}
    for by_address in (True, False):
        for place, claim in enumerate(claims):
            if (claim.address is not None) == by_address:
                match = next((f for f in left if _answers(claim, f)), None)
                if match is not None:
                    left.remove(match)
                    kept[place] = match
    for fixed in left:
        release_address(tx, fixed.subnet_id, to_number(fixed.ip), port.id)
    missing = [claim for place, claim in enumerate(claims) if place not in kept]
    claimed = iter(claim_addresses(tx, port.network_id, [(port.id, missing)], context.rng)[port.id])
    return [kept[place] if place in kept else next(claimed) for place in range(len(claims))]


def _answers(claim: Claim, fixed: FixedIp) -> bool:
    """Whether the port's address is what the claim is after."""
    if fixed.subnet_id != claim.candidates[0].id:
        return False
    return claim.address is None or to_text(claim.address) == fixed.ip


def _follow(tx: Tx, old: Port, new: Port, network: Network) -> None:
    """Bring the wishes after a changed row."""
    if old.host_id and old.host_id != new.host_id:
        displace_port(tx, old)
    if new.host_id:
        place_port(tx, new, network)
    if old.host_id and old.host_id == new.host_id:
        unused = [g for g in old.security_groups if g not in new.security_groups]
        for host_id in filter(None, (new.host_id, new.arriving_host_id)):
            withdraw_groups(tx, host_id, unused)


def delete_port(tx: Tx, context: Context, port_id: str, expected_revision: int | None = None) -> None:
    """Delete a port. One that a server uses is taken from it, as Neutron tells Nova to."""
    port = get_port(tx, context, port_id)
    check_revision(port, expected_revision)
    if is_service_port(port):
        raise _service_port_refusal(port_id)
    remove_port(tx, port)
    if port.device_owner.startswith(COMPUTE_OWNER):
        forget_port(tx, port.device_id, port.id, context.now_us)


def _service_port_refusal(port_id: str) -> NetworkConflict:
    return NetworkConflict(
        "ServicePortInUse",
        f"Port {port_id} cannot be deleted directly via the port API: it has the addresses of DHCP and goes with them.",
    )


def settle_port(tx: Tx, host_id: str, report: Report, now_us: int) -> None:
    """A host has reported on a port: the only writer of ACTIVE, BUILD and ERROR.

    What doesn't speak of the wish as it stands now, or comes from a host that the port has left, is passed over.
    """
    found, generation = PORTS.ask(tx, id=report.id, host_id=host_id), ask_generation(tx, host_id, Noun.PORT, report.id)
    port = next(iter(found()), None)
    if port is None or generation() != report.generation:
        return
    status = _status_of(report.phase, port.admin_state_up)
    if status != port.status:
        change(tx, PORTS, port, now_us, {"status": status})


def foresee_port(tx: Tx, host_id: str, report: Report) -> None:
    """``settle_port`` will be called (``Tx.foresee``)."""
    PORTS.foresee(tx, id=report.id, host_id=host_id)
    foresee_generation(tx, host_id, Noun.PORT, report.id)


def _status_of(phase: Phase, admin_up: bool) -> str:
    if not admin_up:
        return DOWN
    match phase:
        case Phase.READY:
            return ACTIVE
        case Phase.WORKING:
            return BUILD
        case Phase.FAILED:
            return ERROR
        case Phase.ABSENT:
            return DOWN
