"""Objects of containers: the index, small bodies and manifests."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class BodyKind(StrEnum):
    """How an object's bytes are kept."""

    INLINE = "inline"
    """In its body row."""
    CHUNKS = "chunks"
    """The body row lists (chunk id, size) pairs."""
    STATIC = "static"
    """A static large object: the body row is its manifest of segments."""


class StoredObject(msgspec.Struct, frozen=True):
    """One object. ``headers`` are those that are stored and given back with it, by their names in title case."""

    container_id: int
    name: bytes
    id: int
    kind: BodyKind
    size_bytes: int
    etag: str
    content_type: str
    headers: dict[str, str]
    created_at_us: int
    delete_at_s: int


OBJECTS = Table("objects", StoredObject, key="id", noun="object")


def put_body(tx: Tx, id_: int, data: bytes) -> None:
    """Keep a small body, or a manifest."""
    tx.execute("INSERT INTO object_bodies (id, data) VALUES (?, ?)", (id_, data))


def get_body(tx: Tx, id_: int) -> bytes:
    """A body's bytes, or its manifest. The object must be there."""
    row = tx.one("SELECT data FROM object_bodies WHERE id = ?", (id_,))
    assert row is not None, "an object and its body are written and removed together"
    return bytes(row[0])


def drop_body(tx: Tx, id_: int) -> None:
    """Forget a body."""
    tx.execute("DELETE FROM object_bodies WHERE id = ?", (id_,))


def list_names(tx: Tx, container_id: int, *, low: bytes, high: bytes, limit: int, reverse: bool) -> list[StoredObject]:
    """Objects with names from ``low`` on and before ``high`` (empty: no bound), in order; the last first if ``reverse``."""
    tail, params = "WHERE container_id = ?", [container_id]
    bounds: list[object] = []
    if low:
        tail += " AND name >= ?"
        bounds.append(low)
    if high:
        tail += " AND name < ?"
        bounds.append(high)
    tail += f" ORDER BY name {'DESC' if reverse else 'ASC'} LIMIT ?"
    return OBJECTS.select(tx, tail, [*params, *bounds, limit])


def list_expired(tx: Tx, now_s: int, limit: int) -> list[tuple[int, bytes, int]]:
    """(container id, name, id) of objects whose time is over."""
    rows = tx.all(
        "SELECT container_id, name, id FROM objects WHERE delete_at_s > 0 AND delete_at_s <= ?"
        " ORDER BY delete_at_s LIMIT ?",
        (now_s, limit),
    )
    return [(int(row[0]), bytes(row[1]), int(row[2])) for row in rows]
