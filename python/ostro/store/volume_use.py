"""What projects use of block storage, counted from the rows themselves."""

from __future__ import annotations

from typing import NamedTuple

from ostro.store.database import Tx
from ostro.store.limits import Scope


class Use(NamedTuple):
    """What there is of one type of volumes. A volume counts with the size that it shall have."""

    volumes: int
    volumes_gb: int
    snapshots: int
    snapshots_gb: int


def sum_use(tx: Tx, scope: Scope) -> dict[str, Use]:
    """By the id of the type, of types that anything is there of: one statement."""
    rows = tx.all(
        "SELECT volume_type_id, count(*), sum(wished_size_gb), 0, 0 FROM volumes"
        f" WHERE {scope.on('project_id')} GROUP BY volume_type_id"
        " UNION ALL SELECT volume_type_id, 0, 0, count(*), sum(size_gb) FROM snapshots"
        f" WHERE {scope.on('project_id')} GROUP BY volume_type_id",
        (*scope.params, *scope.params),
    )
    out: dict[str, Use] = {}
    for type_id, *numbers in rows:
        known = out.get(type_id, Use(0, 0, 0, 0))
        out[type_id] = Use(*(old + int(new) for old, new in zip(known, numbers, strict=True)))
    return out


def total(uses: dict[str, Use]) -> Use:
    """Of all types."""
    return Use(*(sum(column) for column in zip(*uses.values(), strict=True))) if uses else Use(0, 0, 0, 0)
