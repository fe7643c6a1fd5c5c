"""Claims: inventories are the sum of what was allocated, never more than there is, and allocations are what servers and volumes hold."""

from __future__ import annotations

from ostro.store.database import Tx
from ostro.store.inventories import count_wrong_sums

OVERCOMMITTED = (
    "SELECT provider_id, resource_class, used, capacity FROM inventories WHERE used > capacity OR used < 0"
    " ORDER BY provider_id, resource_class"
)
OWNERLESS = (
    "SELECT DISTINCT a.consumer_id FROM allocations a"
    " LEFT JOIN servers s ON s.id = a.consumer_id AND s.deleted_at_us = 0 LEFT JOIN volumes v ON v.id = a.consumer_id"
    " LEFT JOIN server_migrations m ON m.uuid = a.consumer_id"
    " WHERE s.id IS NULL AND v.id IS NULL AND m.uuid IS NULL ORDER BY a.consumer_id"
)
SERVERS = (
    "SELECT s.id, CASE WHEN s.deleting = 1 AND s.host_id <> '' THEN a.provider_id ELSE s.host_id END,"
    " s.vcpus, s.ram_mb, s.disk_gb, a.provider_id, a.resource_class, a.used FROM servers s"
    " LEFT JOIN allocations a ON a.consumer_id = s.id WHERE s.deleted_at_us = 0 AND (s.migration_id = '' OR s.resized = 1)"
    " ORDER BY s.id"
)


def check_claims(tx: Tx, now_us: int) -> list[str]:
    """See `ostro.testing.checkers`."""
    wrong = count_wrong_sums(tx)
    complaints = [f"{wrong} inventories are not the sum of their allocations"] if wrong else []
    for provider_id, name, used, capacity in tx.all(OVERCOMMITTED):
        complaints.append(f"{used} of {capacity} {name} are used on {provider_id}")
    complaints += [f"{row[0]} holds a claim and is no server, volume or migration" for row in tx.all(OWNERLESS)]
    return complaints + _check_servers(tx)


def _check_servers(tx: Tx) -> list[str]:
    """A server that stays on a host holds there what it takes, and one without holds nothing.

    One that is deleted in the midst of an evacuation may hold it on the host where it would have gone.
    """
    wanted: dict[str, dict[tuple[str, str], int]] = {}
    held: dict[str, dict[tuple[str, str], int]] = {}
    for id_, host_id, vcpus, ram_mb, disk_gb, provider_id, name, used in tx.all(SERVERS):
        sizes = {"VCPU": vcpus, "MEMORY_MB": ram_mb, "DISK_GB": disk_gb}
        wanted[id_] = {(host_id, key): int(size) for key, size in sizes.items() if size and host_id}
        if provider_id is not None:
            held.setdefault(id_, {})[(provider_id, name)] = int(used)
    return [
        f"server {id_} should hold {want} and holds {held.get(id_, {})}"
        for id_, want in wanted.items()
        if want != held.get(id_, {})
    ]
