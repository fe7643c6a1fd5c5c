"""Addresses: who has which one in a subnet.

An address is claimed by inserting it; the primary key (subnet, address) is what keeps two ports from ever having the same, under any
concurrency. Free ones are found by drawing at random and inserting blindly: that reads nothing, so requests that run at once neither
wait for one another nor fail to serialize, and its cost doesn't depend on how many addresses are taken. Draws come from the low
end of the pools first, in windows that grow, so that small networks get small numbers. Only in a crowded pool, where
draws keep missing, one query finds the end of the run of taken addresses behind a random point.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ostro.store.database import Tx

FIRST_WINDOW = 4096
"""The low addresses that are tried first: few enough to look tidy, enough to be free at the first draw in most networks."""
WINDOW_GROWTH = 16
ROWS_MOST = 200
"""Rows in one INSERT."""


@dataclass(frozen=True)
class Range:
    """Addresses from ``first`` to ``last``, both included, as numbers."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def claim_address(tx: Tx, subnet_id: str, address: int, port_id: str) -> bool:
    """Take this address for the port; whether it was free."""
    return (
        tx.execute(
            "INSERT INTO addresses (subnet_id, address, port_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (subnet_id, address, port_id),
        )
        == 1
    )


def claim_any(
    tx: Tx, subnet_id: str, ranges: Sequence[Range], port_ids: Sequence[str], rng: random.Random
) -> dict[str, int]:
    """Take one free address within ``ranges`` (ordered, disjoint) for each port; ports that are missing from the answer got none."""
    total = sum(r.size for r in ranges)
    claimed: dict[str, int] = {}
    waiting = list(port_ids)
    for window in _windows(total, len(waiting)):
        draws = rng.sample(range(window), min(len(waiting), window))
        taken = dict(zip((_nth(ranges, n) for n in draws), waiting, strict=False))
        for address in _insert(tx, subnet_id, taken):
            claimed[taken[address]] = address
        waiting = [port_id for port_id in waiting if port_id not in claimed]
        if not waiting:
            return claimed
    for port_id in waiting:
        free = find_free(tx, subnet_id, ranges, rng.randrange(total)) if total else None
        if free is None:
            break
        if claim_address(tx, subnet_id, free, port_id):
            claimed[port_id] = free
    return claimed


def _windows(total: int, wanted: int) -> list[int]:
    """How many of the lowest addresses to draw from, try by try; the last two are all of them."""
    if total == 0:
        return []
    windows = []
    window = max(FIRST_WINDOW, 2 * wanted)
    while window < total:
        windows.append(window)
        window *= WINDOW_GROWTH
    return [*windows, total, total]


def _nth(ranges: Sequence[Range], n: int) -> int:
    """The ``n``-th address of the ranges."""
    for r in ranges:
        if n < r.size:
            return r.first + n
        n -= r.size
    raise IndexError(n)


def _insert(tx: Tx, subnet_id: str, wanted: dict[int, str]) -> list[int]:
    """Claim these addresses; those that were free."""
    items = list(wanted.items())
    free: list[int] = []
    for start in range(0, len(items), ROWS_MOST):
        part = items[start : start + ROWS_MOST]
        params = [value for address, port_id in part for value in (subnet_id, address, port_id)]
        marks = ", ".join(["(?, ?, ?)"] * len(part))
        rows = tx.all(
            f"INSERT INTO addresses (subnet_id, address, port_id) VALUES {marks}"
            " ON CONFLICT DO NOTHING RETURNING address",
            params,
        )
        free += [int(row[0]) for row in rows]
    return free


def find_free(tx: Tx, subnet_id: str, ranges: Sequence[Range], start: int) -> int | None:
    """The first free address at or after the ``start``-th, going round once; None when all are taken."""
    origin = _nth(ranges, start)
    behind = [Range(max(r.first, origin), r.last) for r in ranges if r.last >= origin]
    before = [Range(r.first, min(r.last, origin - 1)) for r in ranges if r.first < origin]
    for part in (*behind, *before):
        address = _find_free_in(tx, subnet_id, part)
        if address is not None:
            return address
    return None


def _find_free_in(tx: Tx, subnet_id: str, part: Range) -> int | None:
    if tx.one("SELECT 1 FROM addresses WHERE subnet_id = ? AND address = ?", (subnet_id, part.first)) is None:
        return part.first
    row = tx.one(
        "SELECT a.address + 1 FROM addresses a WHERE a.subnet_id = ? AND a.address >= ? AND a.address < ?"
        " AND NOT EXISTS (SELECT 1 FROM addresses b WHERE b.subnet_id = a.subnet_id AND b.address = a.address + 1)"
        " ORDER BY a.address LIMIT 1",
        (subnet_id, part.first, part.last),
    )
    return None if row is None else int(row[0])


def release_address(tx: Tx, subnet_id: str, address: int, port_id: str) -> bool:
    """Give an address back; whether the port had it."""
    return (
        tx.execute(
            "DELETE FROM addresses WHERE subnet_id = ? AND address = ? AND port_id = ?", (subnet_id, address, port_id)
        )
        > 0
    )


def find_address_owner(tx: Tx, subnet_id: str, address: int) -> str | None:
    """The port that has the address."""
    row = tx.one("SELECT port_id FROM addresses WHERE subnet_id = ? AND address = ?", (subnet_id, address))
    return None if row is None else str(row[0])


def count_taken(tx: Tx, subnet_ids: Sequence[str]) -> dict[str, int]:
    """How many addresses of each subnet are taken."""
    out = dict.fromkeys(subnet_ids, 0)
    if out:
        marks = ", ".join("?" * len(out))
        rows = tx.all(
            f"SELECT subnet_id, count(*) FROM addresses WHERE subnet_id IN ({marks}) GROUP BY subnet_id", tuple(out)
        )
        out.update((row[0], int(row[1])) for row in rows)
    return out
