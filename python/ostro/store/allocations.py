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
    tx.send(
        "INSERT INTO allocations (consumer_id, provider_id, resource_class, used) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * len(amounts)),
        params,
    )


def change_allocations(tx: Tx, consumer_id: str, provider_id: str, delta: Mapping[str, int]) -> None:
    """Add to (or take from) a consumer's allocations on one provider; of what is used up, no row is left."""
    for resource_class, amount in delta.items():
        tx.execute(
            "UPDATE allocations SET used = used + ? WHERE consumer_id = ? AND provider_id = ? AND resource_class = ?",
            (amount, consumer_id, provider_id, resource_class),
        )
    if min(delta.values(), default=0) < 0:
        ALLOCATIONS.delete_where(tx, consumer_id=consumer_id, provider_id=provider_id, used=0)


def list_by_provider(tx: Tx, consumer_id: str) -> dict[str, dict[str, int]]:
    """A consumer's amounts by provider and class, ordered."""
    out: dict[str, dict[str, int]] = {}
    for row in ALLOCATIONS.list(tx, consumer_id=consumer_id, order="provider_id, resource_class"):
        out.setdefault(row.provider_id, {})[row.resource_class] = row.used
    return out


class UsageRow(msgspec.Struct, frozen=True):
    """What consumers of one type use of one class, and how many such consumers there are."""

    consumer_type: str
    resource_class: str
    used: int
    consumers: int


def sum_usages(tx: Tx, project_id: str, user_id: str) -> list[UsageRow]:
    """What the project's consumers, or those of one user in it, use. ``consumers`` counts all of a type, whatever they use."""
    where, params = "c.project_id = ?", [project_id]
    if user_id:
        where, params = where + " AND c.user_id = ?", [*params, user_id]
    counts: dict[str, int] = dict(
        tx.all(f"SELECT c.type, count(*) FROM consumers c WHERE {where} GROUP BY c.type", params)
    )
    rows = tx.all(
        "SELECT c.type, a.resource_class, sum(a.used) FROM consumers c JOIN allocations a ON a.consumer_id = c.id"
        f" WHERE {where} GROUP BY c.type, a.resource_class ORDER BY c.type, a.resource_class",
        params,
    )
    return [UsageRow(type_, name, int(used), int(counts[type_])) for type_, name, used in rows]


def list_provider_consumers(tx: Tx, provider_id: str) -> list[tuple[str, int, str, int]]:
    """(consumer, its generation, class, amount) of every allocation on a provider."""
    rows = tx.all(
        "SELECT c.id, c.generation, a.resource_class, a.used FROM allocations a JOIN consumers c ON c.id = a.consumer_id"
        " WHERE a.provider_id = ? ORDER BY c.id, a.resource_class",
        (provider_id,),
    )
    return [(row[0], int(row[1]), row[2], int(row[3])) for row in rows]


def has_allocations(tx: Tx, provider_id: str) -> bool:
    """Whether anything of the provider is used."""
    return tx.one("SELECT 1 FROM allocations WHERE provider_id = ? LIMIT 1", (provider_id,)) is not None
