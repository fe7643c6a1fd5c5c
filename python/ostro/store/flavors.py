"""Flavors: sizes of servers."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Flavor(msgspec.Struct, frozen=True):
    """A size. One that is not public is seen only by the projects that have access. ``disk_gb`` 0 means as large as the image."""

    id: str
    name: str
    ram_mb: int
    vcpus: int
    disk_gb: int
    ephemeral_gb: int
    swap_mb: int
    rxtx_factor: float
    is_public: bool
    description: str | None
    extra_specs: dict[str, str]
    created_at_us: int
    updated_at_us: int


FLAVORS = Table("flavors", Flavor)

VISIBLE_TO = "flavors.is_public = 1 OR EXISTS (SELECT 1 FROM flavor_access a WHERE a.flavor_id = flavors.id AND a.project_id = ?)"
"""The condition that a project sees a flavor."""


def list_access(tx: Tx, flavor_id: str) -> list[str]:
    """Projects with access to a flavor that is not public."""
    rows = tx.all("SELECT project_id FROM flavor_access WHERE flavor_id = ? ORDER BY project_id", (flavor_id,))
    return [row[0] for row in rows]


def has_access(tx: Tx, flavor_id: str, project_id: str) -> bool:
    """Whether the project was given access."""
    sql = "SELECT 1 FROM flavor_access WHERE flavor_id = ? AND project_id = ?"
    return tx.one(sql, (flavor_id, project_id)) is not None


def add_access(tx: Tx, flavor_id: str, project_id: str) -> bool:
    """Give access; False if it was given already."""
    sql = "INSERT INTO flavor_access (flavor_id, project_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return tx.execute(sql, (flavor_id, project_id)) > 0


def remove_access(tx: Tx, flavor_id: str, project_id: str) -> bool:
    """Take access away; False if it wasn't there."""
    return tx.execute("DELETE FROM flavor_access WHERE flavor_id = ? AND project_id = ?", (flavor_id, project_id)) > 0


def names_of(tx: Tx, flavor_ids: Collection[str]) -> dict[str, str]:
    """Names by id."""
    return {f.id: f.name for f in FLAVORS.list(tx, id=list(flavor_ids))}
