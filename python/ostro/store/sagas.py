"""Rows of the saga engine: one unfinished saga per object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table

TOPIC = "sagas"
"""The doorbell of the saga runners."""


class SagaRow(msgspec.Struct, frozen=True):
    """How far a saga has come.

    ``step`` is the next step. ``due_us`` is when a runner must look, at the latest at ``deadline_us`` of the present step; 0 is now.
    ``epoch`` grows with every write, and a write with an old one hits nothing.
    """

    id: str
    kind: str
    object_id: str
    step: int
    undoing: bool
    params: dict[str, Any]
    fault: str
    deadline_us: int
    due_us: int
    epoch: int
    created_at_us: int
    updated_at_us: int


SAGAS = Table("sagas", SagaRow)


def count_sagas(tx: Tx) -> list[tuple[str, int, int]]:
    """(kind, unfinished, when the oldest began in microseconds), of each kind that there is."""
    rows = tx.all("SELECT kind, count(*), min(created_at_us) FROM sagas GROUP BY kind")
    return [(row[0], int(row[1]), int(row[2])) for row in rows]


def put_saga(tx: Tx, row: SagaRow) -> None:
    """Add a saga in the place of an unfinished one of the same object, if there is one. Looks for none, so it collides with nobody's."""
    columns = SAGAS.columns
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column != "object_id")
    tx.send(
        f"INSERT INTO sagas ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT (object_id) DO UPDATE SET {changes}",
        SAGAS.row(row),
    )


def poke_sagas(tx: Tx, object_ids: Sequence[str]) -> None:
    """Rows that sagas of these objects may wait for have changed: have them looked at."""
    marks = ", ".join("?" * len(object_ids))
    if object_ids and tx.execute(f"UPDATE sagas SET due_us = 0 WHERE object_id IN ({marks})", tuple(object_ids)):
        tx.ring(TOPIC)


def list_due_sagas(tx: Tx, now_us: int, limit: int) -> tuple[list[SagaRow], int | None]:
    """Unfinished sagas to look at now, the longest due first; and when the next one is due if nothing rings before, None if there is none."""
    select = f"SELECT {SAGAS.select_list} FROM sagas WHERE due_us"
    rows = tx.all(
        f"SELECT * FROM ({select} <= ? ORDER BY due_us, created_at_us, id LIMIT ?) AS due"
        f" UNION ALL SELECT * FROM ({select} > ? ORDER BY due_us LIMIT 1) AS later",
        (now_us, limit, now_us),
    )
    found = [SAGAS.load(row) for row in rows]
    later = [row.due_us for row in found if row.due_us > now_us]
    return [row for row in found if row.due_us <= now_us], later[0] if later else None


def measure_sagas(tx: Tx) -> tuple[int, int]:
    """How many there are, and when the oldest was begun, 0 without one."""
    row = tx.one("SELECT count(*), coalesce(min(created_at_us), 0) FROM sagas")
    assert row is not None, "an aggregate has a row"
    return int(row[0]), int(row[1])
