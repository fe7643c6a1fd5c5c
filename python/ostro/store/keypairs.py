"""Keypairs: public keys, per user."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Keypair(msgspec.Struct, frozen=True):
    """A public key under a name. ``id`` is a number, as the API shows it; ``type`` is ssh or x509."""

    id: int
    user_id: str
    name: str
    type: str
    fingerprint: str
    public_key: str
    created_at_us: int


KEYPAIRS = Table("keypairs", Keypair, key="name")


def next_keypair_id(tx: Tx) -> int:
    """A number that no keypair has."""
    row = tx.one("SELECT coalesce(max(id), 0) + 1 FROM keypairs")
    assert row is not None
    return int(row[0])


def list_user_keypairs(tx: Tx, user_id: str, *, after: str, limit: int) -> list[Keypair]:
    """A user's keypairs in the order of their names, from after one on."""
    return KEYPAIRS.select(tx, "WHERE user_id = ? AND name > ? ORDER BY name LIMIT ?", (user_id, after, limit))
