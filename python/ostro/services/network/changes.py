"""Changing a row of the network service: every change counts in ``revision_number``."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import msgspec

from ostro.model.context import Context
from ostro.services.network.errors import RevisionMismatch
from ostro.store.database import Tx
from ostro.store.table import Table


class Revised(Protocol):
    """A row with a revision."""

    @property
    def id(self) -> str: ...

    @property
    def revision_number(self) -> int: ...


T = TypeVar("T", bound=msgspec.Struct)


def check_revision(row: Revised, expected: int | None) -> None:
    """Raise RevisionMismatch unless the row is at the revision that the caller has seen; None is whichever."""
    if expected is not None and row.revision_number != expected:
        raise RevisionMismatch(expected, row.revision_number)


def change(tx: Tx, table: Table[T], row: T, now_us: int, changes: dict[str, Any]) -> T:
    """Write those changes that are any, and a new revision; the row as it is now."""
    real = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not real:
        return row
    real["revision_number"] = row.revision_number + 1  # type: ignore[attr-defined]
    real["updated_at_us"] = now_us
    table.update(tx, getattr(row, table.key), **real)
    return msgspec.structs.replace(row, **real)


def bump(tx: Tx, context: Context, table: Table[T], id_: str) -> None:
    """Count a change of something that the object shows but keeps elsewhere."""
    row = table.find(tx, id=id_)
    if row is not None:
        table.update(tx, id_, revision_number=row.revision_number + 1, updated_at_us=context.now_us)  # type: ignore[attr-defined]
