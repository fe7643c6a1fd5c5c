"""Containers, and how many objects and bytes they hold."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class ObjectContainer(msgspec.Struct, frozen=True):
    """One container. ``object_count`` and ``bytes_used`` leave out changes that are not yet added up: see ``add_counts``."""

    id: int
    project_id: str
    name: bytes
    headers: dict[str, str]
    read_acl: str
    write_acl: str
    object_count: int
    bytes_used: int
    created_at_us: int
    updated_at_us: int


CONTAINERS = Table("object_containers", ObjectContainer, noun="container")


def change_counts(tx: Tx, container_id: int, objects: int, bytes_: int) -> None:
    """Note that a container has so many objects and bytes more."""
    if objects or bytes_:
        tx.execute(
            "INSERT INTO object_count_changes (container_id, objects, bytes) VALUES (?, ?, ?)",
            (container_id, objects, bytes_),
        )


def add_counts(tx: Tx, containers: list[ObjectContainer]) -> list[ObjectContainer]:
    """The containers with the changes that are not yet added up."""
    if not containers:
        return []
    marks = ", ".join("?" * len(containers))
    rows = tx.all(
        "SELECT container_id, sum(objects), sum(bytes) FROM object_count_changes"
        f" WHERE container_id IN ({marks}) GROUP BY container_id",
        [c.id for c in containers],
    )
    changes = {int(row[0]): (int(row[1]), int(row[2])) for row in rows}
    out: list[ObjectContainer] = []
    for container in containers:
        objects, bytes_ = changes.get(container.id, (0, 0))
        out.append(
            msgspec.structs.replace(
                container,
                object_count=container.object_count + objects,
                bytes_used=container.bytes_used + bytes_,
            )
        )
    return out


def list_changed_containers(tx: Tx, limit: int) -> list[int]:
    """Containers with changes that are not yet added up."""
    rows = tx.all("SELECT DISTINCT container_id FROM object_count_changes LIMIT ?", (limit,))
    return [int(row[0]) for row in rows]


def fold_counts(tx: Tx, container_id: int) -> None:
    """Add up the changes of one container."""
    rows = tx.all("DELETE FROM object_count_changes WHERE container_id = ? RETURNING objects, bytes", (container_id,))
    tx.execute(
        "UPDATE object_containers SET object_count = object_count + ?, bytes_used = bytes_used + ? WHERE id = ?",
        (sum(int(row[0]) for row in rows), sum(int(row[1]) for row in rows), container_id),
    )


def forget_counts(tx: Tx, container_id: int) -> None:
    """The container is gone."""
    tx.execute("DELETE FROM object_count_changes WHERE container_id = ?", (container_id,))


def list_container_names(
    tx: Tx, project_id: str, *, low: bytes, high: bytes, limit: int, reverse: bool
) -> list[ObjectContainer]:
    """Containers with names from ``low`` on and before ``high`` (empty: no bound), in order, with their counts."""
    tail, params = "WHERE project_id = ?", [project_id]
    bounds: list[object] = []
    if low:
        tail += " AND name >= ?"
        bounds.append(low)
    if high:
        tail += " AND name < ?"
        bounds.append(high)
    tail += f" ORDER BY name {'DESC' if reverse else 'ASC'} LIMIT ?"
    return add_counts(tx, CONTAINERS.select(tx, tail, [*params, *bounds, limit]))


def sum_account(tx: Tx, project_id: str) -> tuple[int, int, int]:
    """(containers, objects, bytes) of a project."""
    row = tx.one(
        "SELECT count(*), coalesce(sum(object_count), 0), coalesce(sum(bytes_used), 0) FROM object_containers"
        " WHERE project_id = ?",
        (project_id,),
    )
    more = tx.one(
        "SELECT coalesce(sum(d.objects), 0), coalesce(sum(d.bytes), 0) FROM object_count_changes d"
        " JOIN object_containers c ON c.id = d.container_id WHERE c.project_id = ?",
        (project_id,),
    )
    assert row is not None and more is not None
    return int(row[0]), int(row[1]) + int(more[0]), int(row[2]) + int(more[1])
