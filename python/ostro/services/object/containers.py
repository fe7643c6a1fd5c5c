"""Containers."""

from __future__ import annotations

from dataclasses import dataclass, field

from ostro.model.context import Context
from ostro.services.object.accounts import merge_headers
from ostro.services.object.errors import Missing, NotEmpty
from ostro.services.object.listings import Listing, Query, Range, list_entries
from ostro.store.database import Tx
from ostro.store.object_containers import CONTAINERS, ObjectContainer, add_counts, forget_counts
from ostro.store.objects import OBJECTS, StoredObject, list_names


@dataclass(frozen=True, slots=True)
class ContainerChanges:
    """Headers to set (an empty value takes one off) and access lists to replace (None leaves one)."""

    headers: dict[str, str] = field(default_factory=dict)
    read_acl: str | None = None
    write_acl: str | None = None


def find_container(tx: Tx, context: Context, project_id: str, name: bytes) -> ObjectContainer | None:
    """A container, its counts as they were last added up."""
    return CONTAINERS.find(tx, project_id=project_id, name=name)


def get_container(tx: Tx, context: Context, project_id: str, name: bytes) -> ObjectContainer:
    """A container with its counts. Raises Missing."""
    return add_counts(tx, [require_container(tx, project_id, name)])[0]


def require_container(tx: Tx, project_id: str, name: bytes) -> ObjectContainer:
    """A container, its counts as they were last added up. Raises Missing."""
    found = CONTAINERS.find(tx, project_id=project_id, name=name)
    if found is None:
        raise Missing("container", name.decode(errors="replace"))
    return found


def put_container(tx: Tx, context: Context, project_id: str, name: bytes, changes: ContainerChanges) -> bool:
    """Make a container, or change one that is there; whether it is new."""
    container = ObjectContainer(
        id=context.rng.getrandbits(62),
        project_id=project_id,
        name=name,
        headers=merge_headers({}, changes.headers),
        read_acl=changes.read_acl or "",
        write_acl=changes.write_acl or "",
        object_count=0,
        bytes_used=0,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    if CONTAINERS.insert_new(tx, container):
        return True
    update_container(tx, context, project_id, name, changes)
    return False


def update_container(tx: Tx, context: Context, project_id: str, name: bytes, changes: ContainerChanges) -> None:
    """Change a container's headers and access lists. Raises Missing."""
    container = require_container(tx, project_id, name)
    columns: dict[str, object] = {
        "headers": merge_headers(container.headers, changes.headers),
        "updated_at_us": context.now_us,
    }
    if changes.read_acl is not None:
        columns["read_acl"] = changes.read_acl
    if changes.write_acl is not None:
        columns["write_acl"] = changes.write_acl
    CONTAINERS.update_where(tx, columns, id=container.id)


def delete_container(tx: Tx, context: Context, project_id: str, name: bytes) -> None:
    """Remove an empty container. Raises Missing, NotEmpty."""
    container = require_container(tx, project_id, name)
    if OBJECTS.list(tx, container_id=container.id, limit=1):
        raise NotEmpty()
    forget_counts(tx, container.id)
    CONTAINERS.delete_where(tx, id=container.id)


def list_objects(
    tx: Tx, context: Context, project_id: str, name: bytes, query: Query
) -> tuple[ObjectContainer, Listing[StoredObject]]:
    """A container, and a page of its objects. Raises Missing."""
    container = get_container(tx, context, project_id, name)

    def read(names: Range, limit: int) -> list[StoredObject]:
        return list_names(tx, container.id, low=names.low, high=names.high, limit=limit, reverse=query.reverse)

    return container, list_entries(query, read, _name_of)


def _name_of(stored: StoredObject) -> bytes:
    return stored.name
