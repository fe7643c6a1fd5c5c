"""What controllers know of each other: shared secrets, who serves the API, and uploads under way in any process."""

from __future__ import annotations

from collections.abc import Iterable

from ostro.store.database import Tx


def find_secret(tx: Tx, name: str) -> str | None:
    """A secret as it was sealed, or None."""
    row = tx.one("SELECT sealed FROM secrets WHERE name = ?", (name,))
    return None if row is None else str(row[0])


def ensure_secret(tx: Tx, name: str, sealed: str) -> str:
    """Keep the sealed secret unless there is one of this name; the one that is kept."""
    tx.execute("INSERT INTO secrets (name, sealed) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, sealed))
    found = find_secret(tx, name)
    assert found is not None, "it is there now"
    return found


def touch_controller(tx: Tx, url: str, now_us: int) -> None:
    """The API is served there."""
    tx.execute(
        "INSERT INTO controllers (url, seen_at_us) VALUES (?, ?) ON CONFLICT (url) DO UPDATE SET seen_at_us = excluded.seen_at_us",
        (url, now_us),
    )


def list_controllers(tx: Tx, since_us: int) -> list[str]:
    """Where the API has been served since then."""
    return [row[0] for row in tx.all("SELECT url FROM controllers WHERE seen_at_us >= ? ORDER BY url", (since_us,))]


def forget_controllers(tx: Tx, before_us: int) -> None:
    """Drop those that have been gone since before then."""
    tx.execute("DELETE FROM controllers WHERE seen_at_us < ?", (before_us,))


def add_live_upload(tx: Tx, upload_id: str, now_us: int) -> None:
    """The upload begins in some process."""
    tx.execute("INSERT INTO live_uploads (upload_id, seen_at_us) VALUES (?, ?)", (upload_id, now_us))


def touch_uploads(tx: Tx, upload_ids: Iterable[str], now_us: int) -> None:
    """These uploads are still under way, but for those that have ended meanwhile."""
    for upload_id in upload_ids:
        tx.execute("UPDATE live_uploads SET seen_at_us = ? WHERE upload_id = ?", (now_us, upload_id))


def end_live_upload(tx: Tx, upload_id: str) -> None:
    """The upload is under way no more. Idempotent."""
    tx.execute("DELETE FROM live_uploads WHERE upload_id = ?", (upload_id,))


def list_live_uploads(tx: Tx, since_us: int) -> set[str]:
    """Uploads that were under way since then."""
    return {row[0] for row in tx.all("SELECT upload_id FROM live_uploads WHERE seen_at_us >= ?", (since_us,))}


def forget_live_uploads(tx: Tx, before_us: int) -> None:
    """Drop what was last under way before then."""
    tx.execute("DELETE FROM live_uploads WHERE seen_at_us < ?", (before_us,))
