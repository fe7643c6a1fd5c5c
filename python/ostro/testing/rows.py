"""One row more, as a transaction: for tests of stores."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table

T = TypeVar("T", bound=msgspec.Struct)


def insert_row(tx: Tx, table: Table[T], row: T) -> T:
    """Insert the row into the table."""
    return table.insert(tx, row)
