"""Metadata of volumes: what their owner notes, and what they remember of their image."""

from __future__ import annotations

from collections.abc import Mapping

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.services.block.attachments import get_own_volume
from ostro.store.database import Tx
from ostro.store.volumes import VOLUMES

ENTRIES_MOST = 128


def get_metadata(tx: Tx, context: Context, volume_id: str) -> dict[str, str]:
    """All entries."""
    return get_own_volume(tx, context, volume_id).metadata


def get_value(tx: Tx, context: Context, volume_id: str, key: str) -> str:
    """One entry's value. Raises NotFound."""
    entries = get_metadata(tx, context, volume_id)
    if key not in entries:
        raise NotFound("metadata", key, "Metadata item was not found")
    return entries[key]


def change_metadata(
    tx: Tx, context: Context, volume_id: str, entries: Mapping[str, str], *, replace: bool
) -> dict[str, str]:
    """Add to the entries, or replace them all; the entries then. Raises Invalid for too many."""
    volume = get_own_volume(tx, context, volume_id)
    changed = dict(entries) if replace else {**volume.metadata, **entries}
    _check(changed)
    VOLUMES.update(tx, volume_id, metadata=changed, updated_at_us=context.now_us)
    return changed


def remove_key(tx: Tx, context: Context, volume_id: str, key: str) -> None:
    """Remove one entry. Raises NotFound."""
    entries = dict(get_metadata(tx, context, volume_id))
    if entries.pop(key, None) is None:
        raise NotFound("metadata", key, "Metadata item was not found")
    VOLUMES.update(tx, volume_id, metadata=entries, updated_at_us=context.now_us)


def change_image_metadata(tx: Tx, context: Context, volume_id: str, entries: Mapping[str, str]) -> dict[str, str]:
    """Add to what the volume remembers of its image; all of it then."""
    volume = get_own_volume(tx, context, volume_id)
    changed = {**volume.image_metadata, **entries}
    _check(changed)
    VOLUMES.update(tx, volume_id, image_metadata=changed, updated_at_us=context.now_us)
    return changed


def remove_image_key(tx: Tx, context: Context, volume_id: str, key: str) -> None:
    """Remove one entry of what the volume remembers of its image. Raises NotFound."""
    entries = dict(get_own_volume(tx, context, volume_id).image_metadata)
    if entries.pop(key, None) is None:
        raise NotFound("metadata", key, "Metadata does not exist.")
    VOLUMES.update(tx, volume_id, image_metadata=entries, updated_at_us=context.now_us)


def _check(entries: Mapping[str, str]) -> None:
    if len(entries) > ENTRIES_MOST:
        raise Invalid(f"Invalid metadata: at most {ENTRIES_MOST} entries are allowed.")
