"""Questions to hosts that somebody waits for, so that forgotten ones can be taken back."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Ask(msgspec.Struct, frozen=True):
    """A question under way."""

    id: str
    host_id: str
    created_at_us: int


ASKS = Table("asks", Ask)


def list_old_asks(tx: Tx, before_us: int, limit: int) -> list[Ask]:
    """Questions asked before then, the oldest first."""
    return ASKS.select(tx, "WHERE created_at_us < ? ORDER BY created_at_us LIMIT ?", (before_us, limit))
