"""Resource providers, and what they have besides inventories: traits and aggregates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        tx.send(
            f"UPDATE resource_providers SET generation = generation + 1, updated_at_us = ? WHERE id IN ({marks})",
            (now_us, *provider_ids),
        )


def list_generations(tx: Tx) -> dict[str, int]:
    """Every provider's generation."""
    return {row[0]: int(row[1]) for row in tx.all("SELECT id, generation FROM resource_providers")}


@dataclass(frozen=True, slots=True)
class Words:
    """A condition on a provider's traits or aggregates: it has one of ``any_of`` (or, ``negated``, none of them)."""

    any_of: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ProviderQuery:
    """Conditions on providers; all of them must hold. ``in_tree`` is any provider of the tree."""

    name: str | None = None
    id: str | None = None
    in_tree: str | None = None
    traits: Sequence[Words] = ()
    aggregates: Sequence[Words] = ()
    resources: Mapping[str, int] = field(default_factory=dict)

    def trait_names(self) -> set[str]:
        """Every trait that is mentioned."""
        return {name for words in self.traits for name in words.any_of}


def _has_words(table: str, column: str, words: Words) -> tuple[str, list[Any]]:
    marks = ", ".join("?" * len(words.any_of))
    sql = f"EXISTS (SELECT 1 FROM {table} w WHERE w.provider_id = resource_providers.id AND w.{column} IN ({marks}))"
    return f"NOT {sql}" if words.negated else sql, list(words.any_of)


def find_providers(tx: Tx, query: ProviderQuery) -> list[Provider]:
    """Providers that meet the query, in the order of their making."""
    where: list[str] = []
    params: list[Any] = []
    for column, value in (("name", query.name), ("id", query.id)):
        if value is not None:
            where.append(f"resource_providers.{column} = ?")
            params.append(value)
    if query.in_tree is not None:
        where.append("resource_providers.root_id = (SELECT r.root_id FROM resource_providers r WHERE r.id = ?)")
        params.append(query.in_tree)
    conditions = [_has_words("provider_traits", "trait", words) for words in query.traits]
    conditions += [_has_words("provider_aggregates", "aggregate_id", words) for words in query.aggregates]
    for name, amount in query.resources.items():
        sql = (
            "EXISTS (SELECT 1 FROM inventories i WHERE i.provider_id = resource_providers.id AND i.resource_class = ?"
            " AND i.used + ? <= i.capacity AND i.min_unit <= ? AND i.max_unit >= ? AND ? / i.step_size * i.step_size = ?)"
        )
        conditions.append((sql, [name, amount, amount, amount, amount, amount]))
    for sql, values in conditions:
        where.append(sql)
        params += values
    tail = f"WHERE {' AND '.join(where)} " if where else ""
    return PROVIDERS.select(tx, tail + "ORDER BY created_at_us, id", params)


def list_below(tx: Tx, provider_id: str) -> list[str]:
    """The provider and everything below it."""
    rows = tx.all(
        "WITH RECURSIVE below (id) AS (SELECT CAST(? AS TEXT) UNION ALL SELECT p.id FROM resource_providers p"
        " JOIN below ON p.parent_id = below.id) SELECT id FROM below",
        (provider_id,),
    )
    return [row[0] for row in rows]


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
