"""Hosts as Compute shows them: hypervisors, the services on them, and whether they take new servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.names import DISABLED
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host, HostLife, count_hosts_until, list_lives
from ostro.store.inventories import Inventory, list_inventories, sum_host_inventories
from ostro.store.providers import PROVIDER_TRAITS, raise_provider_generation
from ostro.store.servers import SERVERS, Server, count_by_host, count_on_hosts

ORDER = "registered_at_us, id"
NUMBER_DIGITS = 9
NOTHING = Inventory("", "", 0, 0, 1, 1, 1, 1.0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a host has and uses, or several together."""

    vcpus: Inventory
    ram: Inventory
    disk: Inventory
    servers: int


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A host, what it has and uses. ``number`` is its id before 2.53: its place in the order of registration, from 1."""

    host: Host
    number: int
    amounts: Amounts


Numbered = tuple[int, Host]
"""A host and its number."""


def list_hosts(tx: Tx, context: Context) -> list[Numbered]:
    """Every host, in the order of registration."""
    return list(enumerate(HOSTS.list(tx, order=ORDER), 1))


def list_host_lives(tx: Tx, context: Context) -> list[HostLife]:
    """Whether hosts are up and take servers, in the order of registration."""
    return list_lives(tx)


def list_hosts_behind(tx: Tx, context: Context, marker: str, limit: int, *, numbered: bool) -> list[Numbered]:
    """At most ``limit`` hosts behind the one with this id (or, ``numbered``, this number; empty: from the first on), in the order of registration.

    Raises Invalid for a marker that isn't there. Only ``numbered`` ones have their numbers; those of the others are 0.
    """
    if not marker:
        found = HOSTS.list(tx, order=ORDER, limit=limit)
    else:
        last = _find_numbered(tx, marker) if numbered else HOSTS.find(tx, id=marker)
        if last is None:
            raise Invalid(f"marker [{marker}] not found")
        behind = f"WHERE (registered_at_us, id) > (?, ?) ORDER BY {ORDER} LIMIT ?"
        found = HOSTS.select(tx, behind, (last.registered_at_us, last.id, limit))
    if not numbered:
        return [(0, host) for host in found]
    return list(enumerate(found, int(marker or 0) + 1))


def _find_numbered(tx: Tx, number: str) -> Host | None:
    """The host in this place of the order of registration, counted from 1."""
    if not number.isdecimal() or len(number) > NUMBER_DIGITS or not int(number):
        return None
    found = HOSTS.select(tx, f"ORDER BY {ORDER} LIMIT 1 OFFSET ?", (int(number) - 1,))
    return found[0] if found else None


def describe_hosts(tx: Tx, context: Context, hosts: Sequence[Numbered]) -> list[Hypervisor]:
    """What these hosts have and use."""
    inventories = list_inventories(tx, [host.id for _, host in hosts])
    servers = count_by_host(tx, [host.id for _, host in hosts])
    found = []
    for number, host in hosts:
        has = {inventory.resource_class: inventory for inventory in inventories.get(host.id, ())}
        vcpus, ram, disk = (has.get(name, NOTHING) for name in ("VCPU", "MEMORY_MB", "DISK_GB"))
        found.append(Hypervisor(host, number, Amounts(vcpus, ram, disk, servers.get(host.id, 0))))
    return found


def list_hypervisors(tx: Tx, context: Context) -> list[Hypervisor]:
    """Every host with all it has, in the order of registration."""
    return describe_hosts(tx, context, list_hosts(tx, context))


def sum_hosts(tx: Tx, context: Context) -> tuple[int, Amounts]:
    """How many hosts there are, and what they have and use together. A few statements, however many there are."""
    sums = sum_host_inventories(tx)
    vcpus, ram, disk = (
        msgspec.structs.replace(NOTHING, total=total, reserved=reserved, used=used)
        for total, reserved, used in (sums.get(name, (0, 0, 0)) for name in ("VCPU", "MEMORY_MB", "DISK_GB"))
    )
    return HOSTS.count(tx), Amounts(vcpus, ram, disk, count_on_hosts(tx))


def get_hypervisor(tx: Tx, context: Context, id_: str) -> Hypervisor:
    """One host, by its id or its number. Raises NotFound."""
    host = HOSTS.find(tx, id=id_) or _find_numbered(tx, id_)
    if host is None:
        raise NotFound("compute host", id_, f"Compute host {id_} could not be found.")
    return describe_hosts(tx, context, [(count_hosts_until(tx, host), host)])[0]


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
