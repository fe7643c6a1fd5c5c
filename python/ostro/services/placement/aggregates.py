"""Aggregates of providers: nothing but ids that several have in common."""

from __future__ import annotations

from collections.abc import Sequence

from ostro.model.context import Context
from ostro.services.placement.changes import change_provider, get_provider
from ostro.services.placement.engine import PlacementEngine
from ostro.store.database import Tx
from ostro.store.providers import PROVIDER_AGGREGATES


def get_aggregates(tx: Tx, context: Context, provider_id: str) -> tuple[int, list[str]]:
    """A provider's generation and aggregates."""
    provider = get_provider(tx, provider_id)
    return provider.generation, PROVIDER_AGGREGATES.of(tx, provider_id)


def set_aggregates(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    provider_id: str,
    generation: int | None,
    aggregates: Sequence[str],
) -> tuple[int, list[str]]:
    """Put the provider into exactly these aggregates; its new generation, and they."""
    get_provider(tx, provider_id)
    raised = change_provider(tx, provider_id, generation, context.now_us)
    PROVIDER_AGGREGATES.replace(tx, provider_id, aggregates)
    engine.note_provider(tx, provider_id)
    return raised, sorted(set(aggregates))
