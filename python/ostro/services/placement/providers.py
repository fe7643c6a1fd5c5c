"""Resource providers: a host's, kept by its registrations, and those that the API makes."""

from __future__ import annotations

from collections.abc import Mapping

from ostro.model import wishes
from ostro.services.placement.engine import TOPIC
from ostro.services.placement.traits import CUSTOM, DISABLED, STANDARD
from ostro.store.database import Tx
from ostro.store.inventories import INVENTORIES, Inventory
from ostro.store.providers import PROVIDER_TRAITS, PROVIDERS, Provider, raise_provider_generation
from ostro.store.traits import ensure_custom_trait

VCPU_RATIO = 16.0
"""Virtual processors per real one. An operator changes it per host through the API, and it stays."""
RAM_RESERVED_MOST_MB = 512
RAM_RESERVED_PART = 8
"""Memory kept for the host itself: an eighth, at most ``RAM_RESERVED_MOST_MB``."""


def capacity_of(total: int, reserved: int, allocation_ratio: float) -> int:
    """What may be allocated in all."""
    return int((total - reserved) * allocation_ratio)


def ensure_host_provider(tx: Tx, host_id: str, name: str, inventory: wishes.Inventory, now_us: int) -> None:
    """Make the host's provider, or bring it up to what the host offers now. Nothing changed writes nothing.

    Ratios and reservations that an operator has set stay, and so do custom traits and the host's being disabled.
    """
    known = PROVIDERS.find(tx, id=host_id)
    if known is None:
        PROVIDERS.insert(tx, Provider(host_id, name, 0, host_id, "", now_us, now_us))
    changed = _offer(
        tx, host_id, {"VCPU": inventory.vcpus, "MEMORY_MB": inventory.ram_mb, "DISK_GB": inventory.disk_gb}, now_us
    )
    changed |= _characterise(tx, host_id, inventory.traits, now_us)
    if known is None or changed:
        raise_provider_generation(tx, host_id, now_us)
        tx.ring(TOPIC)


def _offer(tx: Tx, provider_id: str, totals: Mapping[str, int], now_us: int) -> bool:
    """Set the totals of a host's resources; whether any was another before."""
    known = {i.resource_class: i for i in INVENTORIES.list(tx, provider_id=provider_id)}
    changed = False
    for name, total in totals.items():
        old = known.get(name)
        if old is None:
            reserved = min(RAM_RESERVED_MOST_MB, total // RAM_RESERVED_PART) if name == "MEMORY_MB" else 0
            ratio = VCPU_RATIO if name == "VCPU" else 1.0
            capacity = capacity_of(total, reserved, ratio)
            INVENTORIES.insert(
                tx, Inventory(provider_id, name, total, reserved, 1, max(total, 1), 1, ratio, capacity, 0, now_us)
            )
        elif old.total != total:
            capacity = capacity_of(total, old.reserved, old.allocation_ratio)
            INVENTORIES.update_where(
                tx,
                {"total": total, "max_unit": max(total, 1), "capacity": capacity, "updated_at_us": now_us},
                provider_id=provider_id,
                resource_class=name,
            )
        else:
            continue
        changed = True
    return changed


def _characterise(tx: Tx, provider_id: str, reported: list[str], now_us: int) -> bool:
    """Set the traits that the host reports, keep those that only operators set; whether they changed."""
    old = PROVIDER_TRAITS.of(tx, provider_id)
    kept = {t for t in old if t == DISABLED or CUSTOM.fullmatch(t)}
    new = kept | {t for t in reported if t in STANDARD or CUSTOM.fullmatch(t)}
    if new == set(old):
        return False
    for trait in new - STANDARD:
        ensure_custom_trait(tx, trait, now_us)
    PROVIDER_TRAITS.replace(tx, provider_id, new)
    return True
