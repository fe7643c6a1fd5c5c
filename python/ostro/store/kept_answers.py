"""First answers to requests that may come again."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class KeptAnswer(msgspec.Struct, frozen=True):
    """``fingerprint`` is of the whole request, ``answer`` is sealed."""

    id: str
    fingerprint: str
    answer: str
    created_at_us: int


KEPT_ANSWERS = Table("kept_answers", KeptAnswer, noun="answer")


def find_answer(tx: Tx, id_: str) -> KeptAnswer | None:
    """A first answer, if there was one."""
    return KEPT_ANSWERS.find(tx, id=id_)


def forget_answers(tx: Tx, before_us: int, limit: int) -> int:
    """Drop answers older than a time; how many."""
    return tx.execute(
        "DELETE FROM kept_answers WHERE id IN"
        " (SELECT id FROM kept_answers WHERE created_at_us < ? ORDER BY created_at_us LIMIT ?)",
        (before_us, limit),
    )
