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
