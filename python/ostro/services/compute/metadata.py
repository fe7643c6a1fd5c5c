"""Metadata and tags of servers. The guest reads the metadata from the metadata service, so a change of it is a change of the wish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.services.compute.quotas import check_items
from ostro.services.compute.servers import change_wish, lock_free
from ostro.services.compute.visibility import get_server
from ostro.store.database import Tx

TAGS_MOST = 50


def list_metadata(tx: Tx, context: Context, server_id: str) -> dict[str, str]:
    """All of it."""
    return get_server(tx, context, server_id).metadata


def get_metadata_item(tx: Tx, context: Context, server_id: str, key: str) -> str:
    """One value. Raises NotFound."""
    metadata = get_server(tx, context, server_id).metadata
    if key not in metadata:
        raise NotFound("metadata item", key, "Metadata item was not found")
    return metadata[key]


def set_metadata(
    tx: Tx, context: Context, server_id: str, items: Mapping[str, str], *, replace: bool
) -> dict[str, str]:
    """Add or change items, or ``replace`` all of them; all of them as they are now. Raises Forbidden when they get too many."""
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    merged = dict(items) if replace else {**server.metadata, **items}
    check_items(tx, context, merged)
    change_wish(tx, server, context.now_us, metadata=merged)
    return merged


def delete_metadata_item(tx: Tx, context: Context, server_id: str, key: str) -> None:
    """Remove one item. Raises NotFound."""
    get_metadata_item(tx, context, server_id, key)
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    left = {k: v for k, v in server.metadata.items() if k != key}
    change_wish(tx, server, context.now_us, metadata=left)


def list_tags(tx: Tx, context: Context, server_id: str) -> list[str]:
    """A server's tags, ordered."""
    return get_server(tx, context, server_id).tags


def check_tag(tx: Tx, context: Context, server_id: str, tag: str) -> None:
    """Raise NotFound unless the server has the tag."""
    if tag not in get_server(tx, context, server_id).tags:
        raise NotFound("tag", tag, f"Server {server_id} has no tag '{tag}'")


def set_tags(tx: Tx, context: Context, server_id: str, tags: Sequence[str]) -> list[str]:
    """Replace all tags; they as they are now, ordered. Raises Invalid when there are too many."""
    if len(set(tags)) > TAGS_MOST:
        raise Invalid(f"The number of tags exceeded the per-server limit {TAGS_MOST}")
    server = get_server(tx, context, server_id)
    ordered = sorted(set(tags))
    change_wish(tx, server, context.now_us, tags=ordered)
    return ordered


def add_tag(tx: Tx, context: Context, server_id: str, tag: str) -> bool:
    """Add one tag; False if it was there."""
    tags = list_tags(tx, context, server_id)
    if tag in tags:
        return False
    set_tags(tx, context, server_id, [*tags, tag])
    return True


def remove_tag(tx: Tx, context: Context, server_id: str, tag: str) -> None:
    """Remove one tag. Raises NotFound."""
    check_tag(tx, context, server_id, tag)
    set_tags(tx, context, server_id, [t for t in list_tags(tx, context, server_id) if t != tag])
