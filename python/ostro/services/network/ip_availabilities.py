"""How many addresses of each network's pools are taken."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.network.addresses import pool_ranges
from ostro.store.addresses import count_taken
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS, Network
from ostro.store.paging import Page, list_page
from ostro.store.subnets import SUBNETS, Subnet


class SubnetUse(msgspec.Struct, frozen=True):
    """A subnet's pools."""

    subnet: Subnet
    total: int
    used: int


class NetworkUse(msgspec.Struct, frozen=True):
    """A network's subnets together."""

    network: Network
    subnets: list[SubnetUse]

    @property
    def id(self) -> str:
        return self.network.id

    @property
    def total(self) -> int:
        return sum(use.total for use in self.subnets)

    @property
    def used(self) -> int:
        return sum(use.used for use in self.subnets)


def list_ip_availabilities(tx: Tx, context: Context, page: Page, ip_version: int | None) -> list[NetworkUse]:
    """The networks of one page with the use of their addresses: three statements."""
    return _count(tx, list_page(tx, NETWORKS, page), ip_version)


def get_ip_availability(tx: Tx, context: Context, network_id: str) -> NetworkUse:
    """Raises NotFound."""
    network = NETWORKS.find(tx, id=network_id)
    if network is None:
        raise NotFound("network", network_id)
    return _count(tx, [network], None)[0]


def _count(tx: Tx, networks: Sequence[Network], ip_version: int | None) -> list[NetworkUse]:
    subnets = SUBNETS.list(tx, network_id=[n.id for n in networks], order="created_at_us, id")
    if ip_version is not None:
        subnets = [s for s in subnets if s.ip_version == ip_version]
    used = count_taken(tx, [s.id for s in subnets])
    uses: dict[str, list[SubnetUse]] = {n.id: [] for n in networks}
    for subnet in subnets:
        total = sum(r.size for r in pool_ranges(subnet.allocation_pools))
        uses[subnet.network_id].append(SubnetUse(subnet, total, used[subnet.id]))
    return [NetworkUse(n, uses[n.id]) for n in networks]
