"""Volumes that hosts were lent for servers that come to them or have yet to leave them: what is to be looked at when a host has left."""

from __future__ import annotations

from ostro.store.database import Tx


def note_lent(tx: Tx, host_id: str, volume_id: str) -> None:
    """The host has the volume for a server that isn't there yet, or not any more. Idempotent."""
    tx.execute(
        "INSERT INTO lent_volumes (host_id, volume_id) VALUES (?, ?) ON CONFLICT (host_id, volume_id) DO NOTHING",
        (host_id, volume_id),
    )


def list_lent(tx: Tx, host_id: str) -> list[str]:
    """The volumes that were noted for the host."""
    rows = tx.all("SELECT volume_id FROM lent_volumes WHERE host_id = ? ORDER BY volume_id", (host_id,))
    return [row[0] for row in rows]


def forget_lent(tx: Tx, host_id: str, volume_id: str) -> None:
    """It was taken back, or is an ordinary one of the host's servers. Idempotent."""
    tx.execute("DELETE FROM lent_volumes WHERE host_id = ? AND volume_id = ?", (host_id, volume_id))
