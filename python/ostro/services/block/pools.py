"""The disks that volumes are made on: one pool a host."""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.context import Context
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.inventories import INVENTORIES


@dataclass(frozen=True, slots=True)
class Pool:
    """One host's disk: what there is for servers and volumes, and what they have claimed."""

    host: Host
    total_gb: int
    used_gb: int

    @property
    def name(self) -> str:
        """As block storage names pools: host, back end, pool."""
        return f"{self.host.name}@local#local"


def list_pools(tx: Tx, context: Context) -> list[Pool]:
    """Every host's disk, by name."""
    disks = {row.provider_id: row for row in INVENTORIES.list(tx, resource_class="DISK_GB")}
    pools: list[Pool] = []
    for host in HOSTS.list(tx, order="name"):
        disk = disks.get(host.id)
        pools.append(Pool(host, disk.total if disk else 0, disk.used if disk else 0))
    return pools
