"""Changes on PostgreSQL: those of one process that come at the same time share a transaction (group commit).

Whatever waits when a **batch** begins is run in one worker, on one connection, each change as a savepoint of one SERIALIZABLE transaction. So a
commit, its flush and its trips are shared, changes of one process don't collide, and none is run in vain because of another. A change that fails rolls back
to its own savepoint and takes nobody with it; nobody is told anything before all have committed.

One batch runs at a time, for at most ``BATCH_S``; what is left waits for the next. A batch that takes longer than ``SLOW_S`` (a change of a
thousand things, a lock that somebody holds by hand) doesn't hold up the others: the next one begins beside it.

Batches that other processes get in the way of are run again: a few times beside them, which is quickest where it happens seldom, and then **in
turn**: one at a time among all processes, by an advisory lock that is taken before the snapshot is. So however many want to change one row, or
count against one quota, each comes to its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

import psycopg
import trio
from psycopg import errors

from ostro.model.errors import Bug, Conflict, Full, Invalid, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.log import REQUEST_ID
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.store.database import FULL_RETRY_S, NO_ROOM, UNSTORABLE, Duplicate, Effects, Params, Row, Tx
from ostro.store.foreseen import Foreseen
from ostro.store.postgres_session import SERIALIZABLE, Session, Sessions, TailFailed

BATCH_MOST = 64
BATCH_S = 0.03
"""No further change is begun in a batch that has taken so long."""
SLOW_S = 0.2
BATCHES_MOST = 8
"""At once, if all the others are slow."""
LOCK_WAIT_MS = 100
"""Whoever waits longer for a row gives up and begins again: it has the locks of a whole batch, so two may wait for each other."""
ATTEMPTS_ASIDE = 2
ATTEMPTS_IN_TURN = 12
"""Others may still be in the way: those that began before, and other processes' first attempts."""
CONTENDED_S = 0.5
"""For so long after one has failed aside, all take turns; then it is tried again whether they need to."""
TURNS = 0x6F7374726F
"""The advisory lock of turns."""
DEADLINE_S = 60.0
CONTENDED = "Too many requests change the same thing."
LATE = f"The database did not finish in {DEADLINE_S:g} s."
ENDED = "The database is not served any more: the process ends."
IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)


class PostgresTx:
    """A transaction on one connection."""

    __slots__ = ("_foreseen", "_session", "effects", "request_id")
    dialect = "postgres"

    def __init__(self, session: Session) -> None:
        self._session = session
        # A worker has the context of the task that called it.
        self.request_id = REQUEST_ID.get()
        self.effects = Effects()
        self._foreseen = Foreseen()

    def send(self, sql: str, params: Params = (), *, missing: Exception | None = None, part: str = "") -> None:
        self._foreseen.change(sql, part)
        self._session.send(sql, params, missing)

    def execute(self, sql: str, params: Params = (), *, part: str = "") -> int:
        self._foreseen.change(sql, part)
        return self._session.run(sql, params).command_tuples or 0

    def one(self, sql: str, params: Params = ()) -> Row | None:
        answer = self._foreseen.find(sql, params)
        rows = self._session.rows(self._session.run(sql, params), 1) if answer is None else answer()
        return rows[0] if rows else None

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        answer = self._foreseen.find(sql, params)
        return self._session.rows(self._session.run(sql, params)) if answer is None else answer()

    def ask(self, sql: str, params: Params = ()) -> Callable[[], list[Row]]:
        return self._foreseen.find(sql, params) or self._session.ask(sql, params)

    def foresee(self, sql: str, params: Params = (), *, part: str = "") -> None:
        if self._foreseen.find(sql, params) is None:
            self._foreseen.add(sql, params, part, self._session.ask(sql, params))

    def ring(self, *topics: str) -> None:
        self.effects.topics.update(topics)

    def after_commit(self, hook: Callable[[], None]) -> None:
        self.effects.hooks.append(hook)


@dataclass(slots=True, eq=False)
class _Change:
    """A change that waits, and then its outcome. ``context`` is that of the task that asked for it."""

    call: Callable[[Tx], object]
    context: Context = field(default_factory=copy_context)
    done: trio.Event = field(default_factory=trio.Event)
    result: object = None
    error: BaseException | None = None
    effects: Effects | None = None

    def run(self, session: Session) -> None:
        """In a transaction that is begun. What goes wrong for this one alone is kept; what dooms the transaction, or is another's, is raised.

        What it has sent last may still fail: that is for the caller to see.
        """
        self.result = self.error = self.effects = None
        try:
            self.result, self.effects = self.context.run(self._work, session)
        except (*IN_THE_WAY, TailFailed):
            raise
        except BaseException as error:
            if not session.is_well:
                raise
            self.error = _translated(error)

    def _work(self, session: Session) -> tuple[object, Effects]:
        tx = PostgresTx(session)
        result = self.call(tx)
        session.judge()
        return result, tx.effects

    def fail(self, error: Exception) -> None:
        """It has failed after all."""
        self.result, self.effects, self.error = None, None, _translated(error)


@dataclass(slots=True, eq=False)
class _Batch:
    """Changes that commit together."""

    changes: list[_Change]
    in_turn: bool
    begun_s: float


class _Contended(Exception):
    """Others were in the way each time."""


class Lost(Exception):
    """The connection was dead, and nothing was committed. ``error`` is what a caller is told."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Writer:
    """All the changes of one process."""

    def __init__(self, world: World, sessions: Sessions, announce: Callable[[set[str]], None]) -> None:
        self._world = world
        self._sessions = sessions
        self._announce = announce
        self._pool = Pool("postgres-writer", BATCHES_MOST)
        self._queue: list[_Change] = []
        self._running: list[_Batch] = []
        self._wake = trio.Event()
        self._served, self._ended = False, False
        self._contended_until_s = -math.inf
        self.changes = 0
        self.batches = 0
        self._loop = world.metrics.loop("writer")
        self._loop.pending = lambda: len(self._queue) + sum(len(batch.changes) for batch in self._running)
        self._loop.oldest_age_s = self._oldest_age_s

    async def run(self, call: Callable[[Tx], object]) -> object:
        """Have it done in the next batch; its result once that has committed. Works only while ``serve`` does."""
        if self._ended:
            # Whoever tidies up behind a shield would wait for ever, and the process with it.
            raise Unavailable(ENDED)
        change = _Change(call)
        self._queue.append(change)
        self._wake.set()
        try:
            with trio.move_on_after(DEADLINE_S):
                await change.done.wait()
        finally:
            if not change.done.is_set() and change in self._queue:
                self._queue.remove(change)
        if not change.done.is_set():
            raise Unavailable(LATE, retry_after_s=5)
        if change.error is not None:
            raise change.error
        return change.result

    async def serve(self) -> None:
        """Run batches until cancelled."""
        self._ended = False
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._wake = trio.Event()
                    while self._queue and self._may_begin():
                        nursery.start_soon(self._settle, self._next_batch())
                    with trio.move_on_after(self._patience_s()):
                        await self._wake.wait()
        finally:
            self._ended = True
            for change in self._queue:
                change.error = Unavailable(ENDED)
                change.done.set()

    @property
    def waiting(self) -> int:
        """Changes that wait for a batch."""
        return len(self._queue)

    def _oldest_age_s(self) -> float:
        return max((trio.current_time() - batch.begun_s for batch in self._running), default=0.0)

    @property
    def _in_turn(self) -> bool:
        return trio.current_time() < self._contended_until_s

    def _may_begin(self) -> bool:
        """Whether a batch may begin now: alone, or beside others that are all slow."""
        if not self._running:
            return True
        return self._patience_s() <= 0.0

    def _patience_s(self) -> float:
        """How long those that wait do so for the batches that run."""
        alone = self._in_turn or any(batch.in_turn for batch in self._running)
        if not self._queue or not self._running or alone or len(self._running) >= BATCHES_MOST:
            return math.inf
        return max(0.0, max(batch.begun_s for batch in self._running) + SLOW_S - trio.current_time())

    def _next_batch(self) -> _Batch:
        changes, self._queue = self._queue[:BATCH_MOST], self._queue[BATCH_MOST:]
        batch = _Batch(changes, self._in_turn, trio.current_time())
        self._running.append(batch)
        return batch

    async def _settle(self, batch: _Batch) -> None:
        """See a batch through, and tell those who wait how theirs has ended."""
        try:
            with self._loop.run():
                done = await self._attempts(batch)
        except _Contended as error:
            self._contended_until_s = trio.current_time() + CONTENDED_S
            if batch.in_turn:
                _fail(batch.changes, Unavailable(CONTENDED, detail=str(error)))
            else:
                self._queue[:0] = batch.changes
        except Exception as error:  # noqa: BLE001 - it is raised where it belongs
            _fail(batch.changes, error)
        except BaseException:
            _fail(batch.changes, Unavailable(ENDED))
            raise
        else:
            self._queue[:0] = batch.changes[done:]
            self._tell(batch.changes[:done])
        finally:
            self._running.remove(batch)
            self._wake.set()

    def _tell(self, changes: list[_Change]) -> None:
        """These have committed, or failed by themselves."""
        self.batches += 1
        self.changes += len(changes)
        topics: set[str] = set()
        for change in changes:
            if change.effects is not None:
                change.effects.run_hooks()
                topics |= change.effects.topics
        # Caches forget before anybody learns that the change is made.
        if topics:
            self._announce(topics)
        for change in changes:
            change.done.set()

    async def _attempts(self, batch: _Batch) -> int:
        """Try until others are not in the way; how many of the changes, from the first on, are settled. Raises _Contended.

        What finds its connection dead before the server was told to commit is tried once more: most have died while nobody used them.
        """
        backoff, was_lost = Backoff(first_s=0.004, most_s=0.25), False
        most = ATTEMPTS_IN_TURN if batch.in_turn else ATTEMPTS_ASIDE
        for attempt in range(1, most + 1):
            try:
                return await self._world.threads.run(self._pool, self._attempt, batch, deadline_s=math.inf)
            except Lost as lost:
                if was_lost or attempt == most:
                    raise lost.error from lost.__cause__
                was_lost = True
            except IN_THE_WAY as error:
                if attempt == most:
                    raise _Contended(str(error)) from error
                self._world.metrics.retries.inc(len(batch.changes))
                await trio.sleep(backoff.delay_s(attempt, self._world.random))
        raise AssertionError("unreachable")

    def _attempt(self, batch: _Batch) -> int:
        """In a worker."""
        try:
            with self._sessions.use() as session, _alone(session) if batch.in_turn else nullcontext():
                return _commit(session, batch)
        except IN_THE_WAY:
            raise
        except psycopg.Error as error:
            if session.is_lost and not session.may_have_committed:
                raise Lost(translate(error)) from error
            raise translate(error) from error


def _fail(changes: list[_Change], error: Exception) -> None:
    """None of these has committed, as far as anybody knows. One that had failed by itself says so."""
    for change in changes:
        change.error = change.error or error
        change.done.set()


def _commit(session: Session, batch: _Batch) -> int:
    """One transaction; how many of the changes it has settled."""
    session.begin(SERIALIZABLE)
    if len(batch.changes) == 1:
        (change,) = batch.changes
        change.run(session)
        if change.error is None:
            session.commit()
        return 1
    if not batch.in_turn:
        session.send(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
    until_s, done = time.monotonic() + BATCH_S, 0
    while done < len(batch.changes) and (not done or time.monotonic() <= until_s):
        try:
            _add(session, batch.changes[done])
        except TailFailed as failed:
            # Of the one before. This one has done nothing yet that counts, and begins again.
            _take_back(session, batch.changes[done - 1], failed.error)
        else:
            done += 1
    try:
        session.settle()
    except TailFailed as failed:
        _take_back(session, batch.changes[done - 1], failed.error)
    session.commit()
    return done


def _add(session: Session, change: _Change) -> None:
    """One more change in a transaction, as a savepoint. The server goes on with what it has sent last while the next one begins: a third of its time.

    Raises TailFailed when so the one before has failed.
    """
    session.send("SAVEPOINT change")
    change.run(session)
    if change.error is not None:
        # Whatever else it has sent is taken back, so it doesn't matter what becomes of it.
        with suppress(Exception):
            session.settle_tail()
        session.part("ROLLBACK TO SAVEPOINT change")
    session.send("RELEASE SAVEPOINT change")
    session.hand_over()


def _take_back(session: Session, change: _Change, error: Exception) -> None:
    """What the change had sent last has failed, and with it its savepoint's release, so that is still there."""
    if isinstance(error, IN_THE_WAY):
        raise error
    change.fail(error)
    session.part("ROLLBACK TO SAVEPOINT change")
    session.send("RELEASE SAVEPOINT change")


@contextmanager
def _alone(session: Session) -> Iterator[None]:
    """Hold the lock of turns from before the transaction's snapshot until the transaction has ended."""
    session.run("SELECT pg_advisory_lock(?)", (TURNS,))
    try:
        yield
    finally:
        try:
            session.rollback()
            session.part("SELECT pg_advisory_unlock(?)", (TURNS,))
        except psycopg.Error:
            # The lock goes with the connection.
            session.close()


def _translated(error: BaseException) -> BaseException:
    if not isinstance(error, psycopg.Error):
        return error
    mapped = translate(error)
    mapped.__cause__ = error
    return mapped


def translate(error: psycopg.Error) -> Exception:
    """The engine's errors in our terms."""
    detail: Any = str(error)
    match error:
        case errors.UniqueViolation() | errors.DuplicateTable() | errors.DuplicateObject():
            return Duplicate("The object exists already.", detail=detail)
        case errors.ForeignKeyViolation():
            return Conflict("The object is in use, or one that it needs is gone.", detail=detail)
        case psycopg.DataError():
            return Invalid(UNSTORABLE, detail=detail)
        case errors.DiskFull():
            return Full(NO_ROOM, retry_after_s=FULL_RETRY_S, detail=detail)
        case psycopg.OperationalError() | psycopg.InterfaceError() | errors.ReadOnlySqlTransaction():
            return Unavailable("The database does not answer.", retry_after_s=2, detail=detail)
        case _:
            return Bug("The database refused a statement.", detail=detail)
