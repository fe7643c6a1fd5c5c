"""Inventories: what a provider has of each resource class."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.placement.changes import change_provider, get_provider
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.errors import INVENTORY_IN_USE, PlacementConflict, PlacementInvalid
from ostro.services.placement.resource_classes import exists
from ostro.store.database import Tx
from ostro.store.inventories import INVENTORIES, Inventory
from ostro.store.providers import Provider


class Offer(msgspec.Struct, frozen=True):
    """How much there is of one class, as clients say it."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2**31 - 1
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """What may be allocated in all."""
        return int((self.total - self.reserved) * self.allocation_ratio)


def get_inventories(tx: Tx, context: Context, provider_id: str) -> tuple[int, list[Inventory]]:
    """A provider's generation and its inventories, ordered by class."""
    provider = get_provider(tx, provider_id)
    return provider.generation, INVENTORIES.list(tx, provider_id=provider_id, order="resource_class")


def get_inventory(tx: Tx, context: Context, provider_id: str, name: str) -> tuple[Provider, Inventory]:
    """One of them. Raises NotFound."""
    provider = get_provider(tx, provider_id)
    inventory = INVENTORIES.find(tx, provider_id=provider_id, resource_class=name)
    if inventory is None:
        raise NotFound("inventory", name, f"No inventory of class {name} for {provider_id}")
    return provider, inventory


def check_offer(tx: Tx, provider_id: str, name: str, offer: Offer, *, full_reserve: bool) -> None:
    """Raise PlacementInvalid for an unknown class or a reservation that leaves nothing."""
    if not exists(tx, name):
        raise PlacementInvalid(
            f"Unknown resource class in inventory for resource provider {provider_id}: No such resource class {name}."
        )
    if offer.reserved > offer.total or (offer.reserved == offer.total and not full_reserve):
        raise PlacementInvalid(
            f"Unable to update inventory for resource provider {provider_id}: Invalid inventory for '{name}' on "
            f"resource provider '{provider_id}'. The reserved value is greater than or equal to total."
        )


def set_inventories(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    provider_id: str,
    generation: int | None,
    offers: Mapping[str, Offer],
    *,
    full_reserve: bool,
) -> tuple[int, list[Inventory]]:
    """Give the provider exactly these inventories; its new generation, and they. Raises a conflict when one that would go is in use."""
    get_provider(tx, provider_id)
    for name, offer in offers.items():
        check_offer(tx, provider_id, name, offer, full_reserve=full_reserve)
    raised = change_provider(tx, provider_id, generation, context.now_us)
    known = {i.resource_class: i for i in INVENTORIES.list(tx, provider_id=provider_id)}
    for name in known.keys() - offers.keys():
        remove_inventory(tx, known[name])
    for name, offer in offers.items():
        put_offer(tx, provider_id, name, offer, known.get(name), context.now_us)
    engine.note_provider(tx, provider_id)
    return raised, INVENTORIES.list(tx, provider_id=provider_id, order="resource_class")


def remove_inventory(tx: Tx, inventory: Inventory) -> None:
    """Remove a row. Raises a conflict when it is in use."""
    if inventory.used:
        raise PlacementConflict(
            f"Inventory for '{inventory.resource_class}' on resource provider '{inventory.provider_id}' in use.",
            INVENTORY_IN_USE,
        )
    INVENTORIES.delete_where(tx, provider_id=inventory.provider_id, resource_class=inventory.resource_class)


def put_offer(tx: Tx, provider_id: str, name: str, offer: Offer, known: Inventory | None, now_us: int) -> None:
    """Write a row, new or changed."""
    fields = {field: getattr(offer, field) for field in Offer.__struct_fields__} | {"capacity": offer.capacity}
    if known is None:
        INVENTORIES.insert(
            tx, Inventory(provider_id=provider_id, resource_class=name, used=0, updated_at_us=now_us, **fields)
        )
    elif any(getattr(known, field) != value for field, value in fields.items()):
        # Less than is used is allowed: nothing new fits until enough has gone.
        INVENTORIES.update_where(tx, {**fields, "updated_at_us": now_us}, provider_id=provider_id, resource_class=name)


def add_inventory(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    provider_id: str,
    generation: int | None,
    name: str,
    offer: Offer,
    *,
    full_reserve: bool,
) -> tuple[int, Inventory]:
    """Add one inventory. Raises a conflict when the provider has it."""
    get_provider(tx, provider_id)
    check_offer(tx, provider_id, name, offer, full_reserve=full_reserve)
    if INVENTORIES.find(tx, provider_id=provider_id, resource_class=name):
        raise PlacementConflict(f"Update conflict: Inventory {name} already exists on resource provider {provider_id}.")
    return _put_one(tx, context, engine, provider_id, generation, name, offer, None)


def _put_one(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    provider_id: str,
    generation: int | None,
    name: str,
    offer: Offer,
    known: Inventory | None,
) -> tuple[int, Inventory]:
    raised = change_provider(tx, provider_id, generation, context.now_us)
    put_offer(tx, provider_id, name, offer, known, context.now_us)
    engine.note_provider(tx, provider_id)
    return raised, get_inventory(tx, context, provider_id, name)[1]


def update_inventory(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    provider_id: str,
    generation: int | None,
    name: str,
    offer: Offer,
    *,
    full_reserve: bool,
) -> tuple[int, Inventory]:
    """Change one inventory. Raises Invalid when the provider hasn't got it."""
    get_provider(tx, provider_id)
    check_offer(tx, provider_id, name, offer, full_reserve=full_reserve)
    known = INVENTORIES.find(tx, provider_id=provider_id, resource_class=name)
    if known is None:
        raise PlacementInvalid(
            f"Unable to update inventory for resource provider {provider_id}: No inventory of class {name} found for update."
        )
    return _put_one(tx, context, engine, provider_id, generation, name, offer, known)


def delete_inventory(tx: Tx, context: Context, engine: PlacementEngine, provider_id: str, name: str) -> None:
    """Remove one inventory. Raises NotFound, and a conflict when it is in use."""
    _, inventory = get_inventory(tx, context, provider_id, name)
    remove_inventory(tx, inventory)
    change_provider(tx, provider_id, None, context.now_us)
    engine.note_provider(tx, provider_id)
