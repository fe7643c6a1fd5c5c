"""Objects: the index's side. Bytes are written before (``uploads``) and read after (``downloads``) these transactions.

The one rule about chunks: a transaction that makes a body refer to chunks adds their references, one that drops a body takes them
away; who calls keeps the chunks pinned from before they are written until the transaction has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from ostro.model.context import Context
from ostro.services.object.containers import require_container
from ostro.services.object.errors import Missing
from ostro.services.object.quotas import check_room
from ostro.store.chunks import add_refs, drop_refs
from ostro.store.database import Tx
from ostro.store.object_containers import change_counts
from ostro.store.objects import OBJECTS, BodyKind, StoredObject, drop_body, get_body, put_body

Chunk = tuple[str, int]
"""(id, size in bytes)."""
_CHUNKS = msgspec.json.Decoder(list[Chunk])


@dataclass(frozen=True, slots=True)
class Body:
    """An object's bytes, ready to be referred to: ``inline`` or ``chunks`` or, for a static large object, its ``manifest``."""

    size_bytes: int
    etag: str
    inline: bytes = b""
    chunks: Sequence[Chunk] = ()
    manifest: bytes = b""

    @property
    def kind(self) -> BodyKind:
        """How it is kept."""
        if self.manifest:
            return BodyKind.STATIC
        return BodyKind.CHUNKS if self.chunks else BodyKind.INLINE

    @property
    def row(self) -> bytes:
        """What the body row holds."""
        return msgspec.json.encode(list(self.chunks)) if self.chunks else self.manifest or self.inline


@dataclass(frozen=True, slots=True)
class Details:
    """What is stored beside an object's bytes."""

    content_type: str
    headers: dict[str, str]
    delete_at_s: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is."""

    project_id: str
    container: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and its body row unless only the object was asked for."""

    stored: StoredObject
    body: bytes = b""


Check = Callable[[StoredObject | None], None]
"""Raises when a request's conditions don't hold for the object as it is."""


def decode_chunks(row: bytes) -> list[Chunk]:
    """The chunks of a body row."""
    return _CHUNKS.decode(row)


def find_object(tx: Tx, context: Context, place: Place, *, with_body: bool) -> Found | None:
    """An object whose time is not over, or None. Raises Missing for the container."""
    container = require_container(tx, place.project_id, place.container)
    stored = OBJECTS.find(tx, container_id=container.id, name=place.name)
    if stored is None or is_expired(stored, context.now_us):
        return None
    return Found(stored, get_body(tx, stored.id) if with_body else b"")


def get_object(tx: Tx, context: Context, place: Place, *, with_body: bool = True) -> Found:
    """An object. Raises Missing."""
    found = find_object(tx, context, place, with_body=with_body)
    if found is None:
        raise Missing("object", place.name.decode(errors="replace"))
    return found


def is_expired(stored: StoredObject, now_us: int) -> bool:
    """Whether the object's time is over."""
    return 0 < stored.delete_at_s <= now_us // 1_000_000


def put_object(
    tx: Tx, context: Context, place: Place, body: Body, details: Details, check: Check | None = None
) -> StoredObject:
    """Make the object, replacing the one that is there. Raises Missing for the container, OverQuota, and what ``check`` raises."""
    container = require_container(tx, place.project_id, place.container)
    old = OBJECTS.find(tx, container_id=container.id, name=place.name)
    if check is not None:
        check(None if old is None or is_expired(old, context.now_us) else old)
    more = (0 if old else 1, body.size_bytes - (old.size_bytes if old else 0))
    check_room(tx, container, *more)
    stored = StoredObject(
        container_id=container.id,
        name=place.name,
        id=context.rng.getrandbits(62),
        kind=body.kind,
        size_bytes=body.size_bytes,
        etag=body.etag,
        content_type=details.content_type,
        headers=details.headers,
        created_at_us=context.now_us,
        delete_at_s=details.delete_at_s,
    )
    if old is not None:
        _remove(tx, old)
    OBJECTS.insert(tx, stored)
    put_body(tx, stored.id, body.row)
    if body.chunks:
        add_refs(tx, body.chunks)
    change_counts(tx, container.id, *more)
    return stored


def check_place(tx: Tx, context: Context, place: Place, size_bytes: int) -> None:
    """Say before a long body comes that it can't be kept. Raises Missing for the container, OverQuota."""
    container = require_container(tx, place.project_id, place.container)
    old = OBJECTS.find(tx, container_id=container.id, name=place.name)
    check_room(tx, container, 0 if old else 1, size_bytes - (old.size_bytes if old else 0))


def _remove(tx: Tx, stored: StoredObject) -> None:
    """Drop the object's row and body; counts are the caller's."""
    if stored.kind is BodyKind.CHUNKS:
        drop_refs(tx, decode_chunks(get_body(tx, stored.id)))
    drop_body(tx, stored.id)
    OBJECTS.delete_where(tx, container_id=stored.container_id, name=stored.name)


def update_object(tx: Tx, context: Context, place: Place, details: Details) -> None:
    """Replace what is stored beside the bytes. An empty content type leaves the one that is there. Raises Missing."""
    stored = get_object(tx, context, place, with_body=False).stored
    changes = {
        "headers": details.headers,
        "delete_at_s": details.delete_at_s,
        "content_type": details.content_type or stored.content_type,
        "created_at_us": context.now_us,
    }
    OBJECTS.update_where(tx, changes, container_id=stored.container_id, name=stored.name)


def delete_object(tx: Tx, context: Context, place: Place, check: Check | None = None) -> bool:
    """Remove an object. Raises Missing for the container, and what ``check`` raises.

    False if there is none for whoever asks. One whose time is over leaves the listing all the same, so that the container can follow it.
    """
    container = require_container(tx, place.project_id, place.container)
    stored = OBJECTS.find(tx, container_id=container.id, name=place.name)
    if stored is None:
        return False
    expired = is_expired(stored, context.now_us)
    if check is not None and not expired:
        check(stored)
    _remove(tx, stored)
    change_counts(tx, stored.container_id, -1, -stored.size_bytes)
    return not expired


def expire_object(tx: Tx, container_id: int, name: bytes, id_: int) -> None:
    """Remove an object whose time is over, unless another one has taken its name."""
    stored = OBJECTS.find(tx, container_id=container_id, name=name)
    if stored is not None and stored.id == id_:
        _remove(tx, stored)
        change_counts(tx, container_id, -1, -stored.size_bytes)
