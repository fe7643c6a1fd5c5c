"""Lists of the APIs: filters, sort keys, marker and limit, as one indexed query of bounded size.

Pages are found by key ("seek"), never by OFFSET: the marker's row gives the values after which to go on, so a page costs the same
wherever it is, and rows that come or go do not shift it. The last sort key is always the primary key, so the order is total.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from ostro.model.errors import Invalid
from ostro.store.database import Tx
from ostro.store.table import Table

T = TypeVar("T", bound=msgspec.Struct)


class Op(StrEnum):
    """How a column is compared."""

    EQ = "="
    NE = "<>"
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "IN"
    LIKE = "LIKE"


@dataclass(frozen=True)
class Filter:
    """``column op value``; ``value`` is a list for IN, a pattern with ``%`` for LIKE, None for IS [NOT] NULL with EQ and NE."""

    column: str
    value: Any
    op: Op = Op.EQ


@dataclass(frozen=True)
class Where:
    """A condition in SQL, for what ``Filter`` can't say: ``sql`` has ``?`` marks for ``params``."""

    sql: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Sort:
    """One sort key."""

    column: str
    descending: bool = False


@dataclass(frozen=True)
class Page:
    """What to list. ``limit`` rows at most; ``marker`` is the key of the last row of the page before."""

    limit: int
    marker: str = ""
    sorts: tuple[Sort, ...] = ()
    filters: tuple[Filter | Where, ...] = ()
    reverse: bool = False

    def with_filters(self, *filters: Filter | Where) -> Page:
        """The same page, narrowed further: how a service adds its own scope."""
        return Page(self.limit, self.marker, self.sorts, self.filters + filters, self.reverse)


def escape_like(text: str) -> str:
    """``text`` for use inside a LIKE pattern with ESCAPE '\\\\'."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _condition(table: Table[T], item: Filter | Where) -> tuple[str, list[Any]]:
    if isinstance(item, Where):
        return f"({item.sql})", list(item.params)
    assert item.column in table.columns, f"{table.name} has no column {item.column}"
    column = f"{table.name}.{item.column}"
    if item.value is None:
        return (f"{column} IS NULL" if item.op is Op.EQ else f"{column} IS NOT NULL"), []
    if item.op is Op.IN:
        values = [table.value(item.column, v) for v in item.value]
        return (f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0"), values
    if item.op is Op.LIKE:
        return f"{column} LIKE ? ESCAPE '\\'", [item.value]
    return f"{column} {item.op.value} ?", [table.value(item.column, item.value)]


def _after(table: Table[T], tx: Tx, page: Page, sorts: tuple[Sort, ...]) -> tuple[str, list[Any]]:
    """The condition "comes after the marker's row" in the order of ``sorts``. Raises Invalid for an unknown marker."""
    columns = ", ".join(s.column for s in sorts)
    row = tx.one(f"SELECT {columns} FROM {table.name} WHERE {table.key} = ?", (page.marker,))
    if row is None:
        raise Invalid(f"marker [{page.marker}] not found")
    alternatives: list[str] = []
    params: list[Any] = []
    for depth, last in enumerate(sorts):
        parts = [f"{table.name}.{s.column} = ?" for s in sorts[:depth]]
        parts.append(f"{table.name}.{last.column} {'<' if last.descending else '>'} ?")
        alternatives.append("(" + " AND ".join(parts) + ")")
        params.extend(row[: depth + 1])
    return "(" + " OR ".join(alternatives) + ")", params


def total_order(table: Table[T], page: Page) -> tuple[Sort, ...]:
    """The page's sort keys with the primary key last; the other way round for a page before the marker."""
    sorts = page.sorts
    if all(s.column != table.key for s in sorts):
        sorts += (Sort(table.key, sorts[-1].descending if sorts else False),)
    if page.reverse:
        sorts = tuple(Sort(s.column, not s.descending) for s in sorts)
    return sorts


def list_page(tx: Tx, table: Table[T], page: Page) -> list[T]:
    """The rows of one page, in order. Sort columns must not be NULL. Raises Invalid for an unknown marker."""
    sorts = total_order(table, page)
    conditions: list[str] = []
    params: list[Any] = []
    for item in page.filters:
        sql, values = _condition(table, item)
        conditions.append(sql)
        params.extend(values)
    if page.marker:
        sql, values = _after(table, tx, page, sorts)
        conditions.append(sql)
        params.extend(values)
    tail = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    tail += "ORDER BY " + ", ".join(f"{table.name}.{s.column} {'DESC' if s.descending else 'ASC'}" for s in sorts)
    rows = table.select(tx, tail + " LIMIT ?", [*params, page.limit])
    if page.reverse:
        rows.reverse()
    return rows
