"""Allocations: which consumer uses how much of which provider."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Consumer(msgspec.Struct, frozen=True):
    """Who uses resources, such as a server. It exists as long as it has allocations. ``type`` is empty when it was never said."""

    id: str
    generation: int
    project_id: str
    user_id: str
    type: str
    created_at_us: int
    updated_at_us: int


class Allocation(msgspec.Struct, frozen=True):
    """So much of one resource class of one provider."""

    consumer_id: str
    provider_id: str
    resource_class: str
    used: int


CONSUMERS = Table("consumers", Consumer, noun="consumer")
ALLOCATIONS = Table("allocations", Allocation, key="consumer_id", noun="allocation")


def insert_allocations(tx: Tx, consumer_id: str, provider_id: str, amounts: Mapping[str, int]) -> None:
    """Write a consumer's allocations on one provider, in one statement."""
    params: list[object] = []
    for resource_class, amount in amounts.items():
        params += [consumer_id, provider_id, resource_class, amount]
    tx.execute(
        "INSERT INTO allocations (consumer_id, provider_id, resource_class, used) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * len(amounts)),
        params,
    )


def change_allocations(tx: Tx, consumer_id: str, provider_id: str, delta: Mapping[str, int]) -> None:
    """Add to (or take from) a consumer's allocations on one provider."""
    for resource_class, amount in delta.items():
        tx.execute(
            "UPDATE allocations SET used = used + ? WHERE consumer_id = ? AND provider_id = ? AND resource_class = ?",
            (amount, consumer_id, provider_id, resource_class),
        )


def list_by_provider(tx: Tx, consumer_id: str) -> dict[str, dict[str, int]]:
    """A consumer's amounts by provider and class, ordered."""
    out: dict[str, dict[str, int]] = {}
    for row in ALLOCATIONS.list(tx, consumer_id=consumer_id, order="provider_id, resource_class"):
        out.setdefault(row.provider_id, {})[row.resource_class] = row.used
    return out
