"""Rows more, in transactions: for tests of stores."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import msgspec

from ostro.model.errors import Invalid
from ostro.store.database import Database, Tx
from ostro.store.table import Table

T = TypeVar("T", bound=msgspec.Struct)
TURNS, FAILS_EVERY = 30, 5


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


async def play(db: Database, step: Callable[[Tx], None], living: list[str]) -> AsyncIterator[None]:
    """Run the step in transaction after transaction, every fifth of which fails, and hand back after each; ``living`` is as the rows are."""

    def fail(tx: Tx) -> None:
        step(tx)
        raise Invalid("no")

    for number in range(1, TURNS + 1):
        before = list(living)
        if number % FAILS_EVERY:
            await db.run(step)
        else:
            try:
                await db.run(fail)
            except Invalid as error:
                assert error.message == "no", error.message
            else:
                raise AssertionError("the transaction was to fail")
            living[:] = before
        yield
