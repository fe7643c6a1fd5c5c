"""The smallest table that every cloud has, for tests of the database itself."""

from __future__ import annotations

from ostro.store.database import Tx


def put_setting(tx: Tx, name: str, value: str) -> None:
    """Add one. Raises Duplicate."""
    tx.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (name, value))


def find_setting(tx: Tx, name: str) -> str | None:
    """Its value, if it is there."""
    row = tx.one("SELECT value FROM settings WHERE name = ?", (name,))
    return None if row is None else row[0]
