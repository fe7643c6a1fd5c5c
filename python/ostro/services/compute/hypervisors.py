"""Hosts as Compute shows them: hypervisors, the services on them, and whether they take new servers."""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.names import DISABLED
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.inventories import Inventory, list_inventories
from ostro.store.providers import PROVIDER_TRAITS, raise_provider_generation
from ostro.store.servers import SERVERS, Server, count_by_host

NOTHING = Inventory("", "", 0, 0, 1, 1, 1, 1.0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A host, what it has and uses. ``number`` is its id before 2.53: its place in the order of registration, from 1."""

    host: Host
    number: int
    vcpus: Inventory
    ram: Inventory
    disk: Inventory
    servers: int


def list_hypervisors(tx: Tx, context: Context) -> list[Hypervisor]:
    """Every host, in the order of registration. Hosts are few: a page is cut out of all of them."""
    hosts = HOSTS.list(tx, order="registered_at_us, id")
    inventories = list_inventories(tx, [host.id for host in hosts])
    servers = count_by_host(tx)
    found = []
    for number, host in enumerate(hosts, 1):
        has = {inventory.resource_class: inventory for inventory in inventories.get(host.id, ())}
        vcpus, ram, disk = (has.get(name, NOTHING) for name in ("VCPU", "MEMORY_MB", "DISK_GB"))
        found.append(Hypervisor(host, number, vcpus, ram, disk, servers.get(host.id, 0)))
    return found


def get_hypervisor(tx: Tx, context: Context, id_: str) -> Hypervisor:
    """One host, by its id or its number. Raises NotFound."""
    for hypervisor in list_hypervisors(tx, context):
        if id_ in (hypervisor.host.id, str(hypervisor.number)):
            return hypervisor
    raise NotFound("compute host", id_, f"Compute host {id_} could not be found.")


def list_host_servers(tx: Tx, context: Context, host_ids: list[str]) -> dict[str, list[Server]]:
    """Living servers by host."""
    out: dict[str, list[Server]] = {host_id: [] for host_id in host_ids}
    for server in SERVERS.list(tx, host_id=host_ids, deleted_at_us=0, order="created_at_us, id"):
        out[server.host_id].append(server)
    return out


def set_enabled(tx: Tx, context: Context, engine: PlacementEngine, host_id: str, *, enabled: bool, reason: str) -> Host:
    """Have a host take new servers, or no more. Those that it has stay."""
    HOSTS.update(tx, host_id, enabled=enabled, disabled_reason="" if enabled else reason)
    traits = set(PROVIDER_TRAITS.of(tx, host_id))
    wanted = traits - {DISABLED} if enabled else traits | {DISABLED}
    if wanted != traits:
        PROVIDER_TRAITS.replace(tx, host_id, wanted)
        raise_provider_generation(tx, host_id, context.now_us)
        engine.note_provider(tx, host_id)
    return HOSTS.get(tx, host_id)


def find_host(tx: Tx, context: Context, *, host_id: str = "", name: str = "") -> Host:
    """A host by id or name. Raises NotFound with Compute's words about its service."""
    host = HOSTS.find(tx, id=host_id) if host_id else HOSTS.find(tx, name=name)
    if host is None:
        raise NotFound("service", host_id or name, f"Compute service {host_id or name} could not be found.")
    return host
