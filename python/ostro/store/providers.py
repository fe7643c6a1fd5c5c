"""Resource providers, and what they have besides inventories: traits and aggregates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Provider(msgspec.Struct, frozen=True):
    """A source of resources. ``parent_id`` is empty for a root, whose ``root_id`` is its own id."""

    id: str
    name: str
    generation: int
    root_id: str
    parent_id: str
    created_at_us: int
    updated_at_us: int


PROVIDERS = Table("resource_providers", Provider, noun="resource provider")


def raise_provider_generation(tx: Tx, provider_id: str, now_us: int, *, seen: int | None = None) -> int | None:
    """Raise the generation; the new one, or None when the provider is gone or not at generation ``seen`` any more."""
    sql = "UPDATE resource_providers SET generation = generation + 1, updated_at_us = ? WHERE id = ?"
    if seen is None:
        row = tx.one(f"{sql} RETURNING generation", (now_us, provider_id))
    else:
        row = tx.one(f"{sql} AND generation = ? RETURNING generation", (now_us, provider_id, seen))
    return None if row is None else int(row[0])


def raise_provider_generations(tx: Tx, provider_ids: Collection[str], now_us: int) -> None:
    """Raise the generations of several providers."""
    marks = ", ".join("?" * len(provider_ids))
    if provider_ids:
        tx.execute(
            f"UPDATE resource_providers SET generation = generation + 1, updated_at_us = ? WHERE id IN ({marks})",
            (now_us, *provider_ids),
        )


def list_generations(tx: Tx) -> dict[str, int]:
    """Every provider's generation."""
    return {row[0]: int(row[1]) for row in tx.all("SELECT id, generation FROM resource_providers")}


class _Words:
    """A table of (provider, word) pairs."""

    def __init__(self, table: str, column: str) -> None:
        self._table, self._column = table, column

    def of(self, tx: Tx, provider_id: str) -> list[str]:
        """One provider's words, ordered."""
        sql = f"SELECT {self._column} FROM {self._table} WHERE provider_id = ? ORDER BY {self._column}"
        return [row[0] for row in tx.all(sql, (provider_id,))]

    def of_many(self, tx: Tx, provider_ids: Collection[str] | None) -> dict[str, list[str]]:
        """Words by provider, of these providers or (None) of all."""
        tail = "" if provider_ids is None else f" WHERE provider_id IN ({', '.join('?' * len(provider_ids))})"
        rows = tx.all(
            f"SELECT provider_id, {self._column} FROM {self._table}{tail} ORDER BY provider_id, {self._column}",
            tuple(provider_ids or ()),
        )
        out: dict[str, list[str]] = defaultdict(list)
        for provider_id, word in rows:
            out[provider_id].append(word)
        return out

    def replace(self, tx: Tx, provider_id: str, words: Iterable[str]) -> None:
        """Give the provider exactly these words."""
        tx.execute(f"DELETE FROM {self._table} WHERE provider_id = ?", (provider_id,))
        for word in sorted(set(words)):
            tx.execute(f"INSERT INTO {self._table} (provider_id, {self._column}) VALUES (?, ?)", (provider_id, word))

    def in_use(self, tx: Tx, word: str) -> bool:
        """Whether any provider has the word."""
        return tx.one(f"SELECT 1 FROM {self._table} WHERE {self._column} = ? LIMIT 1", (word,)) is not None

    def used(self, tx: Tx) -> set[str]:
        """Every word that a provider has."""
        return {row[0] for row in tx.all(f"SELECT DISTINCT {self._column} FROM {self._table}")}


PROVIDER_TRAITS = _Words("provider_traits", "trait")
PROVIDER_AGGREGATES = _Words("provider_aggregates", "aggregate_id")
