"""Resource providers: a host's, kept by its registrations, and those that the API makes."""

from __future__ import annotations

from collections.abc import Mapping

from ostro.model import registration
from ostro.model.context import Context
from ostro.services.placement.changes import get_provider
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.errors import (
    BAD_VALUE,
    CANNOT_DELETE_PARENT,
    DUPLICATE_NAME,
    PROVIDER_IN_USE,
    PlacementConflict,
    PlacementInvalid,
)
from ostro.services.placement.names import CUSTOM, DISABLED, OWN, STANDARD_TRAITS
from ostro.services.placement.resource_classes import exists as class_exists
from ostro.services.placement.traits import exists as trait_exists
from ostro.store.allocations import has_allocations
from ostro.store.database import Tx
from ostro.store.inventories import INVENTORIES, Inventory
from ostro.store.providers import (
    PROVIDER_TRAITS,
    PROVIDERS,
    Provider,
    ProviderQuery,
    find_providers,
    list_below,
    raise_provider_generation,
)
from ostro.store.traits import ensure_custom_trait

VCPU_RATIO = 16.0
"""Virtual processors per real one. An operator changes it per host through the API, and it stays."""
RAM_RESERVED_MOST_MB = 512
RAM_RESERVED_PART = 8
"""Memory kept for the host itself: an eighth, at most ``RAM_RESERVED_MOST_MB``."""


def capacity_of(total: int, reserved: int, allocation_ratio: float) -> int:
    """What may be allocated in all."""
    return int((total - reserved) * allocation_ratio)


def ensure_host_provider(
    tx: Tx, engine: PlacementEngine, host_id: str, name: str, inventory: registration.Inventory, now_us: int
) -> None:
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
        engine.note_provider(tx, host_id)


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
    kept = {t for t in old if t == DISABLED or (CUSTOM.fullmatch(t) and not t.startswith(OWN))}
    new = kept | {t for t in reported if t in STANDARD_TRAITS or CUSTOM.fullmatch(t)}
    if new == set(old):
        return False
    for trait in new - STANDARD_TRAITS:
        ensure_custom_trait(tx, trait, now_us)
    PROVIDER_TRAITS.replace(tx, provider_id, new)
    return True


# ---- by the API ----------------------------------------------------------------------------------------------------


def create_provider(
    tx: Tx, context: Context, engine: PlacementEngine, provider_id: str, name: str, parent_id: str
) -> Provider:
    """Make a provider, a root or below ``parent_id``. Raises a conflict when its name or id is taken."""
    provider_id = provider_id or context.new_id()
    if PROVIDERS.find(tx, name=name):
        raise PlacementConflict(f"Conflicting resource provider name: {name} already exists.", DUPLICATE_NAME)
    if PROVIDERS.find(tx, id=provider_id):
        raise PlacementConflict(f"Conflicting resource provider uuid: {provider_id} already exists.", DUPLICATE_NAME)
    root_id = _root_of(tx, parent_id) if parent_id else provider_id
    provider = Provider(provider_id, name, 0, root_id, parent_id, context.now_us, context.now_us)
    PROVIDERS.insert(tx, provider)
    engine.note_provider(tx, provider_id)
    return provider


def _root_of(tx: Tx, parent_id: str) -> str:
    parent = PROVIDERS.find(tx, id=parent_id)
    if parent is None:
        raise PlacementInvalid(
            "Unable to create resource provider: Object action create failed because: "
            "parent provider UUID does not exist."
        )
    return parent.root_id


def update_provider(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    provider_id: str,
    *,
    name: str,
    parent_id: str | None,
    may_move: bool,
) -> Provider:
    """Rename a provider and put it below another parent; ``parent_id`` None leaves it where it is, empty makes it a root.

    Raises PlacementInvalid for a move that the client's version doesn't allow (``may_move``) or that would close a circle.
    """
    provider = get_provider(tx, provider_id)
    same = PROVIDERS.find(tx, name=name)
    if same is not None and same.id != provider_id:
        raise PlacementConflict(f"Conflicting resource provider name: {name} already exists.", DUPLICATE_NAME)
    moved: list[str] = []
    if parent_id is not None and parent_id != provider.parent_id:
        if provider.parent_id and not may_move:
            raise PlacementInvalid(
                f"Unable to save resource provider {provider_id}: re-parenting a provider is not currently allowed."
            )
        moved = _move(tx, provider, parent_id)
    PROVIDERS.update(tx, provider_id, name=name, updated_at_us=context.now_us)
    for id_ in {provider_id, *moved}:
        engine.note_provider(tx, id_)
    return PROVIDERS.get(tx, provider_id)


def _move(tx: Tx, provider: Provider, parent_id: str) -> list[str]:
    """Put a provider and everything below it under another root; the ids moved."""
    below = list_below(tx, provider.id)
    if parent_id in below:
        raise PlacementInvalid(
            f"Unable to save resource provider {provider.id}: creating loop in the provider tree is not allowed."
        )
    root_id = _root_of(tx, parent_id) if parent_id else provider.id
    PROVIDERS.update(tx, provider.id, parent_id=parent_id)
    PROVIDERS.update_where(tx, {"root_id": root_id}, id=below)
    return below


def delete_provider(tx: Tx, context: Context, engine: PlacementEngine, provider_id: str) -> None:
    """Remove a provider that nothing uses and nothing is below."""
    get_provider(tx, provider_id)
    if PROVIDERS.find(tx, parent_id=provider_id):
        raise PlacementConflict(
            f"Unable to delete parent resource provider {provider_id}: It has child resource providers.",
            CANNOT_DELETE_PARENT,
        )
    if has_allocations(tx, provider_id):
        raise PlacementConflict(
            f"Unable to delete resource provider {provider_id}: Resource provider has allocations.", PROVIDER_IN_USE
        )
    PROVIDERS.delete(tx, provider_id)
    engine.note_provider(tx, provider_id)


def show_provider(tx: Tx, context: Context, provider_id: str) -> Provider:
    """The provider. Raises ProviderNotFound."""
    return get_provider(tx, provider_id)


def list_providers(tx: Tx, context: Context, query: ProviderQuery) -> list[Provider]:
    """Providers that meet every condition. Raises PlacementInvalid for unknown traits and classes."""
    missing = sorted(name for name in query.trait_names() if not trait_exists(tx, name))
    if missing:
        raise PlacementInvalid(f"Invalid query string parameters: No such trait(s): {', '.join(missing)}.", BAD_VALUE)
    for name in query.resources:
        if not class_exists(tx, name):
            raise PlacementInvalid(f"Invalid resource class in resources parameter: {name}", BAD_VALUE)
    return find_providers(tx, query)
