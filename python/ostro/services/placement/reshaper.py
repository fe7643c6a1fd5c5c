"""Reshaping: inventories move between providers together with what is allocated of them, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ostro.model.context import Context
from ostro.services.placement.allocations import AllocationSet, set_allocations
from ostro.services.placement.changes import change_provider
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.errors import PlacementInvalid
from ostro.services.placement.inventories import Offer, check_offer, put_offer, remove_inventory
from ostro.store.database import Tx
from ostro.store.inventories import INVENTORIES
from ostro.store.providers import PROVIDERS


class NewShape(msgspec.Struct, frozen=True):
    """All the inventories that a provider shall have, and the generation that the client has seen."""

    generation: int
    offers: Mapping[str, Offer]


def reshape(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    shapes: Mapping[str, NewShape],
    sets: Sequence[AllocationSet],
) -> None:
    """Add what is new, move the allocations, remove what is no longer there. All or nothing."""
    for provider_id, shape in shapes.items():
        if PROVIDERS.find(tx, id=provider_id) is None:
            raise PlacementInvalid(f"Resource provider {provider_id} in inventories does not exist.")
        change_provider(tx, provider_id, shape.generation, context.now_us)
        known = {i.resource_class: i for i in INVENTORIES.list(tx, provider_id=provider_id)}
        for name, offer in shape.offers.items():
            check_offer(tx, provider_id, name, offer, full_reserve=True)
            put_offer(tx, provider_id, name, offer, known.get(name), context.now_us)
    set_allocations(tx, context, engine, sets)
    for provider_id, shape in shapes.items():
        for inventory in INVENTORIES.list(tx, provider_id=provider_id):
            if inventory.resource_class not in shape.offers:
                remove_inventory(tx, inventory)
        engine.note_provider(tx, provider_id)
