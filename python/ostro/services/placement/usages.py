"""What is used: of a provider, or by a project and user."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.services.placement.changes import get_provider
from ostro.store.allocations import UsageRow, sum_usages
from ostro.store.database import Tx
from ostro.store.inventories import INVENTORIES


def get_provider_usages(tx: Tx, context: Context, provider_id: str) -> tuple[int, dict[str, int]]:
    """A provider's generation, and what is used of each class that it has."""
    provider = get_provider(tx, provider_id)
    rows = INVENTORIES.list(tx, provider_id=provider_id, order="resource_class")
    return provider.generation, {row.resource_class: row.used for row in rows}


def get_usages(tx: Tx, context: Context, project_id: str, user_id: str, consumer_type: str | None) -> list[UsageRow]:
    """What a project (or one of its users) uses, by consumer type and class."""
    rows = sum_usages(tx, project_id, user_id)
    if consumer_type in (None, "all"):
        return rows
    wanted = "" if consumer_type == "unknown" else consumer_type
    return [row for row in rows if row.consumer_type == wanted]
