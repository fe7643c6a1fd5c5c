"""Inventories: what providers have, and how much of it is used.

``used`` is changed only by ``take`` and ``give``, in the transaction that writes the allocation rows, so it always equals their sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Inventory(msgspec.Struct, frozen=True):
    """How much of one resource class a provider has, in Placement's terms. ``capacity`` is what may be allocated in all."""

    provider_id: str
    resource_class: str
    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio: float
    capacity: int
    used: int
    updated_at_us: int


INVENTORIES = Table("inventories", Inventory, key="provider_id", noun="inventory")


def list_inventories(tx: Tx, provider_ids: Collection[str] | None) -> dict[str, list[Inventory]]:
    """Inventories by provider, of these providers or (None) of all; ordered by class."""
    conditions: dict[str, Any] = {} if provider_ids is None else {"provider_id": list(provider_ids)}
    out: dict[str, list[Inventory]] = defaultdict(list)
    for inventory in INVENTORIES.list(tx, order="resource_class", **conditions):
        out[inventory.provider_id].append(inventory)
    return out


def sum_host_inventories(tx: Tx) -> dict[str, tuple[int, int, int]]:
    """(total, reserved, used) of all hosts together, by class."""
    rows = tx.all(
        "SELECT i.resource_class, sum(i.total), sum(i.reserved), sum(i.used) FROM inventories i"
        " JOIN hosts h ON h.id = i.provider_id GROUP BY i.resource_class"
    )
    return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in rows}


def take(tx: Tx, provider_id: str, amounts: Mapping[str, int]) -> bool:
    """Use these amounts of a provider if every one of them fits, else change nothing; whether they did.

    The check and the change are one statement, so whoever else claims at the same time, the sum never passes the capacity.
    """
    fits = (
        "(resource_class = ? AND used + ? <= capacity AND min_unit <= ? AND max_unit >= ?"
        " AND ? / step_size * step_size = ?)"
    )
    params: list[object] = [value for pair in amounts.items() for value in pair]
    params.append(provider_id)
    for resource_class, amount in amounts.items():
        params += [resource_class, amount, amount, amount, amount, amount]
    rows = tx.all(
        f"UPDATE inventories SET used = used + CASE resource_class {'WHEN ? THEN ? ' * len(amounts)}END"
        f" WHERE provider_id = ? AND ({' OR '.join([fits] * len(amounts))}) RETURNING resource_class",
        params,
    )
    if len(rows) == len(amounts):
        return True
    give(tx, provider_id, {row[0]: amounts[row[0]] for row in rows})
    return False


def give(tx: Tx, provider_id: str, amounts: Mapping[str, int]) -> None:
    """Give back amounts that were taken."""
    if not amounts:
        return
    params: list[object] = [value for pair in amounts.items() for value in pair]
    tx.execute(
        f"UPDATE inventories SET used = used - CASE resource_class {'WHEN ? THEN ? ' * len(amounts)}END"
        f" WHERE provider_id = ? AND resource_class IN ({', '.join('?' * len(amounts))})",
        [*params, provider_id, *amounts],
    )


def count_wrong_sums(tx: Tx) -> int:
    """How many inventories disagree with the sum of their allocations; anything but 0 is a bug. For checkers."""
    row = tx.one(
        "SELECT count(*) FROM inventories i WHERE i.used <> (SELECT coalesce(sum(a.used), 0) FROM allocations a"
        " WHERE a.provider_id = i.provider_id AND a.resource_class = i.resource_class)"
    )
    assert row is not None
    return int(row[0])


def list_fitting_hosts(
    tx: Tx,
    amounts: Mapping[str, int],
    *,
    required: Sequence[str],
    only_hosts: Sequence[str] | None,
    not_hosts: Sequence[str],
    limit: int,
) -> list[str]:
    """Ids of hosts with room for ``amounts`` and the traits ``required`` (or, as ``!NAME``, without)."""
    joins: list[str] = []
    params: list[Any] = []
    for i, (name, amount) in enumerate(amounts.items()):
        joins.append(
            f" JOIN inventories i{i} ON i{i}.provider_id = h.id AND i{i}.resource_class = ?"
            f" AND i{i}.used + ? <= i{i}.capacity"
        )
        params += [name, amount]
    where = ["1 = 1"]
    for trait in required:
        found = "EXISTS (SELECT 1 FROM provider_traits t WHERE t.provider_id = h.id AND t.trait = ?)"
        where.append(f"NOT {found}" if trait.startswith("!") else found)
        params.append(trait.removeprefix("!"))
    if only_hosts is not None:
        where.append(f"h.id IN ({', '.join('?' * len(only_hosts))})" if only_hosts else "1 = 0")
        params += only_hosts
    if not_hosts:
        where.append(f"h.id NOT IN ({', '.join('?' * len(not_hosts))})")
        params += not_hosts
    rows = tx.all(
        f"SELECT h.id FROM hosts h{''.join(joins)} WHERE {' AND '.join(where)} ORDER BY h.id LIMIT ?", [*params, limit]
    )
    return [row[0] for row in rows]


def has_inventory_of(tx: Tx, resource_class: str) -> bool:
    """Whether any provider has this class."""
    return tx.one("SELECT 1 FROM inventories WHERE resource_class = ? LIMIT 1", (resource_class,)) is not None
