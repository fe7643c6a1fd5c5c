"""Answers that a transaction has asked for before it needs them: how a change takes few round trips though its parts don't know of one another.

Whoever knows what the whole of a transaction will read says so at its beginning (``Tx.foresee``). Those questions go to the server together, and
whoever comes to ask one of them finds the answer here. So services read as if nobody had foreseen anything, and are right when nobody has.

An answer holds until the transaction itself changes what it was read from; others' changes are not seen in a transaction in any case. A change is known
by its statement: of the table that it names, or of one part of it. A DELETE forgets all, because rows of other tables may go with it, and so does
what isn't understood. What a table's triggers write changes with it (``TRIGGERED``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from ostro.store.database import Params, Row

Answer = Callable[[], list[Row]]
_Key = tuple[str, tuple[object, ...]]
_FEED = frozenset({"changes"})
TRIGGERED = {
    "attachments": _FEED,
    "block_devices": _FEED,
    "image_members": _FEED,
    "images": _FEED,
    "ports": _FEED | {"port_use"},
    "servers": _FEED | {"server_use"},
    "snapshots": _FEED,
    "volumes": _FEED,
}
"""What the triggers of each table write."""
_SELECT = re.compile(r"\s*SELECT\b")
_CHANGE = re.compile(r"\s*(?:INSERT INTO|UPDATE)\s+(\w+)")
_SOURCE = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")


@lru_cache(maxsize=4096)
def _changed(sql: str) -> str | None:
    """The table that a statement changes: None for a query, empty when it may be any."""
    if _SELECT.match(sql):
        return None
    match = _CHANGE.match(sql)
    return match[1] if match else ""


@lru_cache(maxsize=1024)
def _sources(sql: str) -> frozenset[str]:
    """The tables that a query reads."""
    return frozenset(_SOURCE.findall(sql))


class Foreseen:
    """The answers of one transaction that hold."""

    __slots__ = ("_answers", "_of")

    def __init__(self) -> None:
        self._answers: dict[_Key, Answer] = {}
        self._of: dict[str, dict[_Key, str]] = {}
        """By table: the questions that read it, and the part that each is about."""

    def add(self, sql: str, params: Params, part: str, answer: Answer) -> None:
        """Keep the answer to a query. One that joins tables can't be about a part."""
        sources = _sources(sql)
        assert sources and _changed(sql) is None, f"not a query of tables: {sql}"
        assert not part or len(sources) == 1, f"parts are of one table: {sql}"
        key = (sql, tuple(params))
        self._answers[key] = answer
        for table in sources:
            self._of.setdefault(table, {})[key] = part

    def find(self, sql: str, params: Params) -> Answer | None:
        """The answer to exactly this query, if there is one. A statement that isn't a query changes something, and is noted as such."""
        if not self._answers:
            return None
        if _changed(sql) is not None:
            self.change(sql)
            return None
        return self._answers.get((sql, tuple(params)))

    def change(self, sql: str, part: str = "") -> None:
        """A statement is about to be run that changes a table, or a part of it."""
        if not self._answers:
            return
        table = _changed(sql)
        if table == "":
            self._answers.clear()
            self._of.clear()
            return
        self._forget(table or "", part)
        for written in TRIGGERED.get(table or "", ()):
            self._forget(written, "")

    def _forget(self, table: str, part: str) -> None:
        stale = self._of.get(table)
        if stale is None:
            return
        for key in [key for key, about in stale.items() if not part or not about or about == part]:
            del stale[key]
            self._answers.pop(key, None)
