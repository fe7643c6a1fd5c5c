"""Subnets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import msgspec

from ostro.model.wishes import HostRoute
from ostro.store.database import Tx
from ostro.store.paging import Where
from ostro.store.table import Table


class Pool(msgspec.Struct, frozen=True):
    """Addresses given out by themselves, ``start`` and ``end`` included."""

    start: str
    end: str


class Subnet(msgspec.Struct, frozen=True):
    """A subnet. ``gateway_ip`` is empty for none. Pools are in the order of their addresses and do not overlap."""

    id: str
    network_id: str
    project_id: str
    name: str
    description: str
    ip_version: int
    cidr: str
    gateway_ip: str
    enable_dhcp: bool
    allocation_pools: list[Pool]
    dns_nameservers: list[str]
    host_routes: list[HostRoute]
    service_types: list[str]
    tags: list[str]
    revision_number: int
    created_at_us: int
    updated_at_us: int


SUBNETS = Table("subnets", Subnet)


def list_network_subnets(tx: Tx, network_id: str) -> list[Subnet]:
    """The subnets of a network, the oldest first."""
    return ask_network_subnets(tx, network_id)()


def ask_network_subnets(tx: Tx, network_id: str) -> Callable[[], list[Subnet]]:
    """``list_network_subnets`` for whoever has more to ask. Looking costs nothing the second time."""
    return cache(SUBNETS.ask(tx, network_id=network_id, order="created_at_us, id"))


def map_subnet_ids(tx: Tx, network_ids: Iterable[str]) -> dict[str, list[str]]:
    """Ids of the subnets of each network, the oldest first."""
    out: dict[str, list[str]] = {id_: [] for id_ in network_ids}
    if out:
        marks = ", ".join("?" * len(out))
        for network_id, id_ in tx.all(
            f"SELECT network_id, id FROM subnets WHERE network_id IN ({marks}) ORDER BY created_at_us, id", tuple(out)
        ):
            out[network_id].append(id_)
    return out


def visible_to(project_id: str) -> Where:
    """Narrows a list to the project's own subnets and those of shared networks."""
    return Where(
        "subnets.project_id = ? OR subnets.network_id IN (SELECT id FROM networks WHERE shared = 1)", (project_id,)
    )


def has_foreign_subnet(tx: Tx, network_id: str, project_id: str) -> bool:
    """Whether the network has a subnet of a project other than this."""
    row = tx.one("SELECT 1 FROM subnets WHERE network_id = ? AND project_id <> ? LIMIT 1", (network_id, project_id))
    return row is not None
