"""Roles and what they imply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Role(msgspec.Struct, frozen=True):
    """A role; ``domain_id`` is empty for a global one."""

    id: str
    name: str
    domain_id: str
    description: str
    options: dict[str, Any]
    extra: dict[str, Any] = {}


ROLES = Table("roles", Role)


def expand_roles(tx: Tx, role_ids: Iterable[str]) -> set[str]:
    """The roles and everything they imply, however far."""
    known = set(role_ids)
    if not known:
        return known
    implied: dict[str, list[str]] = {}
    for prior, follows in tx.all("SELECT prior_id, implied_id FROM role_implications"):
        implied.setdefault(prior, []).append(follows)
    todo = list(known)
    while todo:
        for role_id in implied.get(todo.pop(), ()):
            if role_id not in known:
                known.add(role_id)
                todo.append(role_id)
    return known


def list_implications(tx: Tx, prior_id: str = "") -> list[tuple[str, str]]:
    """(prior, implied) role ids, of one prior role or of all."""
    where, params = (" WHERE prior_id = ?", (prior_id,)) if prior_id else ("", ())
    rows = tx.all(f"SELECT prior_id, implied_id FROM role_implications{where} ORDER BY prior_id, implied_id", params)
    return [(row[0], row[1]) for row in rows]


def add_implication(tx: Tx, prior_id: str, implied_id: str) -> None:
    """Make one role imply another. Idempotent."""
    tx.execute(
        "INSERT INTO role_implications (prior_id, implied_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (prior_id, implied_id),
    )


def remove_implication(tx: Tx, prior_id: str, implied_id: str) -> bool:
    """Undo ``add_implication``; whether there was one."""
    return tx.execute("DELETE FROM role_implications WHERE prior_id = ? AND implied_id = ?", (prior_id, implied_id)) > 0
