"""Ports: making them.

`create_ports` makes any number of ports in one transaction with a handful of statements whatever their number: the networks,
subnets and groups that they name are read once each, addresses and rows are written together. `insert_planned` below it is for
callers that have decided already, such as Compute and the networks' own service ports.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.wishes import AddressPair
from ostro.services.network.access import ask_visible_network
from ostro.services.network.addresses import WantedIp, claim_addresses, plan_addresses
from ostro.services.network.default_groups import ensure_default_group
from ostro.services.network.errors import (
    NetworkConflict,
    NetworkExhausted,
    group_not_found,
    mac_taken,
)
from ostro.services.network.quotas import check_quotas
from ostro.services.network.wishes import displace_port, place_port
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.networks import Network
from ostro.store.ports import PORTS, Port, insert_ports
from ostro.store.security_groups import SECURITY_GROUPS, SecurityGroup, map_groups
from ostro.store.subnets import Subnet, ask_network_subnets

MAC_PREFIX = "fa:16:3e"
TRUSTED_OWNERS = ("network:", "neutron:")
"""Devices of the network itself, which no group filters."""
DOWN, BUILD, ACTIVE, ERROR = "DOWN", "BUILD", "ACTIVE", "ERROR"


class PortSpec(msgspec.Struct, frozen=True):
    """A port as it is asked for. None is "not said" where that differs from empty; an empty ``mac_address`` means any."""

    network_id: str
    project_id: str
    name: str = ""
    description: str = ""
    mac_address: str = ""
    admin_state_up: bool = True
    device_id: str = ""
    device_owner: str = ""
    fixed_ips: list[WantedIp] | None = None
    security_groups: list[str] | None = None
    address_pairs: list[AddressPair] = []
    port_security_enabled: bool | None = None
    binding_host: str = ""
    vnic_type: str = "normal"
    binding_profile: dict[str, Any] = {}
    hostname: str = ""
    nic_index: int = 0
    nic_tag: str = ""
    owned_by_server: bool = False
    tags: list[str] = []


class Sources:
    """What ports refer to, read once in a transaction however many of them do."""

    def __init__(self, tx: Tx, context: Context) -> None:
        self._tx = tx
        self._context = context
        self._networks: dict[str, Callable[[], Network]] = {}
        self._subnets: dict[str, Callable[[], list[Subnet]]] = {}
        self._default_groups: dict[str, str] = {}
        self._named_groups: dict[tuple[str, str], list[SecurityGroup]] = {}
        self._host_ids: dict[str, str] = {"": ""}
        self._hosts: dict[str, Host] = {}
        self._default_asked: Callable[[], list[SecurityGroup]] = list

    def ask(self, network_ids: Collection[str], project_id: str) -> None:
        """Ask for what ports of the project on these networks will need, with what else is asked then."""
        for network_id in set(network_ids):
            self._networks[network_id] = ask_visible_network(self._tx, self._context, network_id)
            self._subnets[network_id] = ask_network_subnets(self._tx, network_id)
        self._default_asked = SECURITY_GROUPS.ask(self._tx, project_id=project_id, is_default=True)

    def network(self, network_id: str) -> Network:
        """A network that the actor may use. Raises NotFound."""
        if network_id not in self._networks:
            self._networks[network_id] = ask_visible_network(self._tx, self._context, network_id)
        return self._networks[network_id]()

    def subnets(self, network_id: str) -> list[Subnet]:
        """The network's subnets."""
        if network_id not in self._subnets:
            self._subnets[network_id] = ask_network_subnets(self._tx, network_id)
        return self._subnets[network_id]()

    def default_group(self, project_id: str) -> str:
        """The id of the project's default group, made if need be."""
        if project_id not in self._default_groups:
            asked = [group.id for group in self._default_asked() if group.project_id == project_id]
            group_id = asked[0] if asked else ensure_default_group(self._tx, self._context, project_id).id
            self._default_groups[project_id] = group_id
        return self._default_groups[project_id]

    def groups_named(self, project_id: str, name: str) -> list[SecurityGroup]:
        """The project's groups of which this is the id, or else the name."""
        key = project_id, name
        if key not in self._named_groups:
            by_id = SECURITY_GROUPS.find(self._tx, id=name, project_id=project_id)
            self._named_groups[key] = (
                [by_id] if by_id else SECURITY_GROUPS.list(self._tx, project_id=project_id, name=name)
            )
        return self._named_groups[key]

    def host_id(self, name: str) -> str:
        """The host of that name; empty if there is none."""
        if name not in self._host_ids:
            host = HOSTS.find(self._tx, name=name)
            self._host_ids[name] = host.id if host else ""
        return self._host_ids[name]

    def host(self, host_id: str) -> Host:
        """A host that is there."""
        if host_id not in self._hosts:
            host = self._hosts[host_id] = HOSTS.get(self._tx, host_id)
            self._host_ids[host.name] = host.id
        return self._hosts[host_id]


def draw_mac(context: Context) -> str:
    """A MAC address for a guest."""
    number = context.rng.getrandbits(24)
    return f"{MAC_PREFIX}:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def is_trusted(device_owner: str) -> bool:
    """Whether a port of this owner is the network's own."""
    return device_owner.startswith(TRUSTED_OWNERS)


def create_ports(tx: Tx, context: Context, specs: Sequence[PortSpec], sources: Sources | None = None) -> list[Port]:
    """Make ports, all or none; those with a host are wished there. ``sources`` may be what the transaction has read already.

    Raises NotFound, NetworkInvalid, and NetworkConflict for a full quota and for addresses that are taken or used up.
    """
    check_quotas(tx, context, (spec.project_id for spec in specs), "port")
    sources = sources or Sources(tx, context)
    return insert_planned(tx, context, sources, [plan_port(tx, context, sources, spec) for spec in specs])


def plan_port(tx: Tx, context: Context, sources: Sources, spec: PortSpec) -> tuple[Port, PortSpec]:
    """The row of a port, all but its addresses, which are claimed by ``insert_planned``."""
    network = sources.network(spec.network_id)
    secure = network.port_security_enabled if spec.port_security_enabled is None else spec.port_security_enabled
    if is_trusted(spec.device_owner):
        secure = False
    port = Port(
        id=context.new_id(),
        network_id=network.id,
        project_id=spec.project_id,
        name=spec.name,
        description=spec.description,
        mac_address=spec.mac_address,
        admin_state_up=spec.admin_state_up,
        status=DOWN,
        device_id=spec.device_id,
        device_owner=spec.device_owner,
        fixed_ips=[],
        security_groups=_choose_groups(tx, context, sources, spec, secure),
        address_pairs=spec.address_pairs,
        port_security_enabled=secure,
        binding_host=spec.binding_host,
        host_id=sources.host_id(spec.binding_host),
        vnic_type=spec.vnic_type,
        binding_profile=spec.binding_profile,
        hostname=spec.hostname,
        nic_index=spec.nic_index,
        owned_by_server=spec.owned_by_server,
        nic_tag=spec.nic_tag,
        tags=spec.tags,
        revision_number=1,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    check_security(port)
    if spec.mac_address == network.service_mac and not is_trusted(spec.device_owner):
        raise mac_taken(network.id, spec.mac_address)
    return port, spec


def _choose_groups(tx: Tx, context: Context, sources: Sources, spec: PortSpec, secure: bool) -> list[str]:
    if spec.security_groups is None:
        # Neutron makes the project's default group at its first port even where the port won't use it.
        default = sources.default_group(spec.project_id)
        return [default] if secure and not is_trusted(spec.device_owner) else []
    return check_groups(tx, context, spec.project_id, spec.security_groups)


def check_groups(tx: Tx, context: Context, project_id: str, group_ids: Sequence[str]) -> list[str]:
    """The ids without repetition. Raises NotFound for a group that a port of the project may not use."""
    ids = list(dict.fromkeys(group_ids))
    groups = map_groups(tx, ids)
    for id_ in ids:
        if id_ not in groups or not (context.is_admin or groups[id_].project_id == project_id):
            raise group_not_found(id_)
    if len({group.stateful for group in groups.values()}) > 1:
        raise NetworkConflict(
            "SecurityGroupConflict",
            "Error Cannot apply both stateful and stateless security groups on the same port at the same time"
            " while attempting the operation.",
        )
    return ids


def check_security(port: Port) -> None:
    """Raise NetworkConflict for groups or address pairs on a port without port security."""
    if port.port_security_enabled:
        return
    if port.security_groups:
        raise NetworkConflict(
            "PortSecurityAndIPRequiredForSecurityGroups",
            "Port security must be enabled and port must have an IP address in order to use security groups.",
        )
    if port.address_pairs:
        raise NetworkConflict(
            "AddressPairAndPortSecurityRequired",
            "Port Security must be enabled in order to have allowed address pairs on a port.",
        )


def insert_planned(tx: Tx, context: Context, sources: Sources, planned: Sequence[tuple[Port, PortSpec]]) -> list[Port]:
    """Claim addresses, write rows, set wishes."""
    rows: list[Port] = []
    for network_id in dict.fromkeys(port.network_id for port, _ in planned):
        here = [(port, spec) for port, spec in planned if port.network_id == network_id]
        subnets = sources.subnets(network_id)
        plans = [
            (port.id, plan_addresses(tx, network_id, subnets, spec.fixed_ips, spec.device_owner)) for port, spec in here
        ]
        addresses = claim_addresses(tx, network_id, plans, context.rng)
        rows += [msgspec.structs.replace(port, fixed_ips=addresses[port.id]) for port, _ in here]
    written = {port.id: port for port in insert_ports(tx, rows, lambda: draw_mac(context))}
    for port in rows:
        if port.id not in written:
            raise _no_mac(port)
    out = [written[port.id] for port, _ in planned]
    for port in out:
        if port.host_id:
            # Of several, one may have been told to the host of another as its peer.
            place_port(tx, port, sources.network(port.network_id), new=len(out) == 1)
    return out


def _no_mac(port: Port) -> Exception:
    if port.mac_address:
        return mac_taken(port.network_id, port.mac_address)
    return NetworkExhausted(
        "NetworkMacAddressGenerationFailure", f"Unable to generate unique mac on network {port.network_id}."
    )


def remove_port(tx: Tx, port: Port) -> None:
    """Delete the port's row, with its addresses and memberships, and withdraw it from hosts."""
    PORTS.delete(tx, port.id)
    if port.host_id:
        displace_port(tx, port)
