"""Allocations by clients of the API: a consumer's whole set is replaced at once, or not at all.

Taking is a conditional update of the inventories, as servers' claims are, so the two never over-commit together. Consumers have a generation:
a client that says which one it has seen gets a conflict when somebody else was faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.placement.changes import get_provider
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.errors import CONCURRENT_UPDATE, PlacementConflict, PlacementInvalid
from ostro.services.placement.resource_classes import exists
from ostro.store.allocations import (
    ALLOCATIONS,
    CONSUMERS,
    Consumer,
    insert_allocations,
    list_by_provider,
    list_provider_consumers,
)
from ostro.store.database import Tx
from ostro.store.inventories import INVENTORIES, give, take
from ostro.store.providers import PROVIDERS, raise_provider_generations

NOT_SAID = -1


class AllocationSet(msgspec.Struct, frozen=True):
    """Everything that a consumer shall have: amounts by provider and class.

    ``generation`` is what the client has seen of the consumer: None for "there is none", ``NOT_SAID`` in versions that don't ask.
    """

    consumer_id: str
    amounts: Mapping[str, Mapping[str, int]]
    project_id: str
    user_id: str
    type: str | None = None
    generation: int | None = NOT_SAID


def get_allocations(
    tx: Tx, context: Context, consumer_id: str
) -> tuple[Consumer | None, dict[str, dict[str, int]], dict[str, int]]:
    """A consumer, its amounts by provider and class, and the generations of those providers."""
    consumer = CONSUMERS.find(tx, id=consumer_id)
    if consumer is None:
        return None, {}, {}
    amounts = list_by_provider(tx, consumer_id)
    generations = {p.id: p.generation for p in PROVIDERS.list(tx, id=list(amounts))}
    return consumer, amounts, generations


def get_provider_allocations(
    tx: Tx, context: Context, provider_id: str
) -> tuple[int, dict[str, tuple[int, dict[str, int]]]]:
    """A provider's generation, and by consumer its generation and amounts."""
    provider = get_provider(tx, provider_id)
    out: dict[str, tuple[int, dict[str, int]]] = {}
    for consumer_id, generation, name, used in list_provider_consumers(tx, provider_id):
        out.setdefault(consumer_id, (generation, {}))[1][name] = used
    return provider.generation, out


def set_allocations(tx: Tx, context: Context, engine: PlacementEngine, sets: Sequence[AllocationSet]) -> None:
    """Replace what these consumers have, all of them or none. What is given back is there for the others of the same request.

    Raises PlacementInvalid for unknown providers and classes, PlacementConflict when it doesn't fit or a generation is another.
    """
    _check_names(tx, sets)
    touched: set[str] = set()
    known = {s.consumer_id: CONSUMERS.find(tx, id=s.consumer_id) for s in sets}
    for item in sets:
        consumer = known[item.consumer_id]
        _check_generation(item, consumer)
        if consumer is not None:
            touched |= _give_back(tx, engine, item.consumer_id)
    for item in sets:
        touched |= _take_all(tx, engine, item)
        _write_consumer(tx, item, known[item.consumer_id], context.now_us)
        for provider_id, amounts in item.amounts.items():
            insert_allocations(tx, item.consumer_id, provider_id, amounts)
    raise_provider_generations(tx, sorted(touched), context.now_us)


def _check_names(tx: Tx, sets: Sequence[AllocationSet]) -> None:
    provider_ids = {provider_id for item in sets for provider_id in item.amounts}
    found = {p.id for p in PROVIDERS.list(tx, id=sorted(provider_ids))} if provider_ids else set()
    if provider_ids - found:
        raise PlacementInvalid(
            f"Allocation for resource provider '{sorted(provider_ids - found)[0]}' that does not exist."
        )
    for name in {name for item in sets for amounts in item.amounts.values() for name in amounts}:
        if not exists(tx, name):
            raise PlacementInvalid(f"No such resource class {name}.")


def _check_generation(item: AllocationSet, consumer: Consumer | None) -> None:
    if item.generation == NOT_SAID:
        return
    have = consumer.generation if consumer else None
    if item.generation != have:
        raise PlacementConflict(
            f"consumer generation conflict - expected {'null' if have is None else have} but got {item.generation}",
            CONCURRENT_UPDATE,
        )


def _give_back(tx: Tx, engine: PlacementEngine, consumer_id: str) -> set[str]:
    held = list_by_provider(tx, consumer_id)
    for provider_id, amounts in held.items():
        give(tx, provider_id, amounts)
        engine.note_used(tx, provider_id, amounts, given_back=True)
    ALLOCATIONS.delete_where(tx, consumer_id=consumer_id)
    return set(held)


def _take_all(tx: Tx, engine: PlacementEngine, item: AllocationSet) -> set[str]:
    for provider_id, amounts in item.amounts.items():
        if not take(tx, provider_id, amounts):
            raise PlacementConflict(f"Unable to allocate inventory: {_why_not(tx, provider_id, amounts)}")
        engine.note_used(tx, provider_id, amounts)
    return set(item.amounts)


def _why_not(tx: Tx, provider_id: str, amounts: Mapping[str, int]) -> str:
    """Which amount doesn't fit, and why."""
    known = {i.resource_class: i for i in INVENTORIES.list(tx, provider_id=provider_id)}
    for name, amount in amounts.items():
        what = f"Unable to create allocation for '{name}' on resource provider '{provider_id}'."
        inventory = known.get(name)
        if inventory is None:
            return f"Inventory for '{name}' on resource provider '{provider_id}' invalid."
        if not inventory.min_unit <= amount <= inventory.max_unit or amount % inventory.step_size:
            return f"{what} The requested amount would violate inventory constraints."
        if inventory.used + amount > inventory.capacity:
            return f"{what} The requested amount would exceed the capacity."
    return "The inventory has changed."


def _write_consumer(tx: Tx, item: AllocationSet, known: Consumer | None, now_us: int) -> None:
    if not item.amounts:
        CONSUMERS.delete(tx, item.consumer_id)
    elif known is None:
        CONSUMERS.insert(
            tx, Consumer(item.consumer_id, 1, item.project_id, item.user_id, item.type or "", now_us, now_us)
        )
    else:
        CONSUMERS.update(
            tx,
            item.consumer_id,
            generation=known.generation + 1,
            project_id=item.project_id,
            user_id=item.user_id,
            type=known.type if item.type is None else item.type,
            updated_at_us=now_us,
        )


def delete_allocations(tx: Tx, context: Context, engine: PlacementEngine, consumer_id: str) -> None:
    """Give back all that a consumer has. Raises NotFound when that is nothing."""
    if CONSUMERS.find(tx, id=consumer_id) is None:
        raise NotFound("allocation", consumer_id, f"No allocations for consumer '{consumer_id}'")
    touched = _give_back(tx, engine, consumer_id)
    CONSUMERS.delete(tx, consumer_id)
    raise_provider_generations(tx, sorted(touched), context.now_us)
