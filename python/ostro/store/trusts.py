"""Trusts: a trustor's roles on a project, lent to a trustee."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Trust(msgspec.Struct, frozen=True):
    """A trust. ``expires_at_us`` is 0 for never, ``remaining_uses`` None for any number."""

    id: str
    trustor_user_id: str
    trustee_user_id: str
    project_id: str
    impersonation: bool
    expires_at_us: int
    remaining_uses: int | None
    redelegated_trust_id: str
    redelegation_count: int
    role_ids: list[str]
    extra: dict[str, Any]


TRUSTS = Table("trusts", Trust)


def list_below(tx: Tx, trust_id: str) -> list[str]:
    """Ids of the trust and of all that were made from it, itself first."""
    out = [trust_id]
    for known in out:
        rows = tx.all("SELECT id FROM trusts WHERE redelegated_trust_id = ?", (known,))
        out += [row[0] for row in rows if row[0] not in out]
    return out


def use_trust(tx: Tx, trust_id: str) -> bool:
    """Count one use; whether there was one left."""
    return (
        tx.execute(
            "UPDATE trusts SET remaining_uses = remaining_uses - 1"
            " WHERE id = ? AND (remaining_uses IS NULL OR remaining_uses > 0)",
            (trust_id,),
        )
        == 1
    )
