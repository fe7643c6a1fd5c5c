"""What a database is to the rest of Ostro.

A transaction is a plain function ``verb_noun(tx, ...)``. ``await db.run(fn, ...)`` runs it serializably and commits;
``await db.read(fn, ...)`` runs it on one consistent snapshot and never writes. The function may run more than once, so it has
no effect but on ``tx``: what must follow a commit is handed to ``tx.after_commit`` (runs on the trio thread, once) or
``tx.ring`` (doorbells, here and in other processes).

SQL is written once, in the subset that SQLite and PostgreSQL share: ``?`` parameters, no literal ``?`` or ``%``, INTEGER 0/1 for
flags, BIGINT microseconds for times, TEXT for JSON, ``ON CONFLICT`` and ``RETURNING``, ``IN ()`` of nothing. A failed statement ends the transaction (as
PostgreSQL has it): to survive a duplicate use ``ON CONFLICT DO NOTHING`` and look at the count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import trio

from ostro.model.errors import Conflict
from ostro.runtime.doorbell import Doorbell
from ostro.runtime.room import Room

T = TypeVar("T")
P = ParamSpec("P")
Row = tuple[Any, ...]
Params = Sequence[object]


UNSTORABLE = "A value is out of its range or holds a character that can't be stored."
NO_ROOM = "The cloud's database has no room left on its disk: nothing can be changed until somebody makes room."
FULL_RETRY_S = 30


class Tx(Protocol):
    """One transaction, valid only inside the function it was given to."""

    dialect: str
    """``sqlite`` or ``postgres``: for migrations alone."""
    request_id: str
    """The request that it belongs to, for logs; empty for none."""

    def execute(self, sql: str, params: Params = (), *, part: str = "") -> int:
        """Run a statement; the number of rows that it changed. ``part`` is what ``foresee`` says of it."""
        ...

    def send(self, sql: str, params: Params = (), *, missing: Exception | None = None, part: str = "") -> None:
        """Run a statement whose outcome nobody waits for: it goes with the next that is waited for, which saves a round trip.

        It is done by then, in its turn, or by the end of the transaction; if it fails, its error is raised there. With ``missing``, that is raised when
        it has changed no row.
        """
        ...

    def one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""
        ...

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        """Every row."""
        ...

    def ask(self, sql: str, params: Params = ()) -> Callable[[], list[Row]]:
        """``all`` for whoever has more to ask before looking: call what it returns for the rows. All that was asked until then takes one round trip."""
        ...

    def foresee(self, sql: str, params: Params = (), *, part: str = "") -> None:
        """This query will be made in the course of the transaction: where that saves a round trip, have it answered with the next that is waited for.

        Whoever makes it then gets that answer, unless the transaction has changed the table meanwhile. With ``part``, only changes of that part of
        the table count, and those that name none: each table has one column at most whose values name parts (`Table.part`).
        """
        ...

    def ring(self, *topics: str) -> None:
        """Ring these doorbells once the transaction has committed."""
        ...

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` on the trio thread of this process once the transaction has committed. It must not raise."""
        ...


class Database(Protocol):
    """An engine."""

    doorbell: Doorbell
    shared: bool
    """Whether other processes may use the same rows."""
    room: Room | None
    """Of reads, where those that have begun wait for somebody: whoever could begin later finds out here when."""

    async def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(tx, ...)`` and commit; what it raises rolls everything back and is raised here.

        Raises Unavailable when the database does not answer or serialization keeps failing, Full when its disk is full, Duplicate when a unique constraint is hit.
        Cancelling leaves it open whether the transaction commits.
        """
        ...

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(tx, ...)`` on one snapshot, read-only."""
        ...

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The engine's own tasks; runs until cancelled, started once rings of other processes are heard.

        ``run`` works only while this does.
        """
        ...

    def close(self) -> None:
        """Give back files and connections. Call it after ``serve`` has ended."""
        ...


class Duplicate(Conflict):
    """A unique constraint was hit by a row that nobody foresaw: two requests made the same thing at once."""


class Effects:
    """What one transaction leaves to be done after its commit."""

    __slots__ = ("hooks", "topics")

    def __init__(self) -> None:
        self.hooks: list[Callable[[], None]] = []
        self.topics: set[str] = set()

    def run_hooks(self) -> None:
        """Call every hook, in order."""
        for hook in self.hooks:
            hook()
