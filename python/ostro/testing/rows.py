"""One row more, as a transaction: for tests of stores."""

from __future__ import annotations

import typing
from typing import Any, TypeVar

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table

T = TypeVar("T", bound=msgspec.Struct)


def blank_row(table: Table[T], **given: Any) -> T:
    """A row whose columns are as empty as they can be, but for those that are given."""
    values = {field.name: _blank(field.type) for field in msgspec.structs.fields(table.type)}
    return table.type(**(values | given))


def _blank(kind: Any) -> Any:
    """Nothing, of a column's type."""
    if type(None) in typing.get_args(kind):
        return None
    return (typing.get_origin(kind) or kind)()


def insert_row(tx: Tx, table: Table[T], row: T) -> T:
    """Insert the row into the table."""
    return table.insert(tx, row)
