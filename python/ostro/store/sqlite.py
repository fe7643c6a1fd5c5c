"""SQLite: the embedded engine. WAL, one writer, group commit.

Every waiting transaction runs in one worker hop as a savepoint of one real transaction, which is then committed with one
``fsync``: under load the cost of durability is shared, and an idle cloud still answers after a single commit. A transaction that
fails rolls back to its own savepoint and takes nobody with it. If the common commit fails, all of them fail.

Readers use connections of their own on WAL snapshots and never wait for the writer. A read is first tried on the trio thread with a budget of
``INLINE_STEPS`` to twice as many of SQLite's virtual machine, a millisecond or two: most reads are one or two index look-ups of some 20 us, while a hop
to a worker thread and back takes 100 to 300 us, and, while this thread is busy, 5 ms for each time that the worker needs the interpreter. A read that
needs more, or would have to wait, is interrupted and runs again in a worker; it has no effects, so running twice is harmless. An in-memory database
(simulation, tests) has one connection, and reads queue with the writes.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import trio

from ostro.model.errors import Bug, Conflict, Full, Invalid, Unavailable
from ostro.runtime.doorbell import Doorbell
from ostro.runtime.log import REQUEST_ID
from ostro.runtime.room import Room
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.store.database import FULL_RETRY_S, NO_ROOM, UNSTORABLE, Duplicate, Effects, Params, Row, Tx

T = TypeVar("T")
P = ParamSpec("P")

BATCH_MOST = 256
READERS = 4
DEADLINE_S = 60.0
INLINE_STEPS = 20_000
INLINE_LEAST_S = 0.0005
"""Of the processor's time, from the first call of the budget on: what is over sooner is not interrupted, however many steps its statements have done in their
lives."""
STATEMENTS_CACHED = 512
ENDED = "The database is not served any more: the process ends."


class SqliteTx:
    """A transaction on one connection."""

    __slots__ = ("_connection", "effects", "request_id")
    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection, request_id: str = "") -> None:
        self._connection = connection
        self.request_id = request_id
        self.effects = Effects()

    def execute(self, sql: str, params: Params = (), *, part: str = "") -> int:
        return self._connection.execute(sql, params).rowcount

    def send(self, sql: str, params: Params = (), *, missing: Exception | None = None, part: str = "") -> None:
        if self._connection.execute(sql, params).rowcount == 0 and missing is not None:
            raise missing

    def one(self, sql: str, params: Params = ()) -> Row | None:
        # fetchall, not fetchone: an unfinished statement with RETURNING would stay open.
        rows = self._connection.execute(sql, params).fetchall()
        return rows[0] if rows else None

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._connection.execute(sql, params).fetchall()

    def ask(self, sql: str, params: Params = ()) -> Callable[[], list[Row]]:
        rows = self.all(sql, params)
        return lambda: rows

    def foresee(self, sql: str, params: Params = (), *, part: str = "") -> None:
        # There is no round trip to save.
        return

    def ring(self, *topics: str) -> None:
        self.effects.topics.update(topics)

    def after_commit(self, hook: Callable[[], None]) -> None:
        self.effects.hooks.append(hook)


@dataclass(slots=True)
class _Job:
    """A transaction in the queue, and then its outcome."""

    call: Callable[[Tx], object]
    request_id: str
    done: trio.Event = field(default_factory=trio.Event)
    result: object = None
    error: BaseException | None = None
    effects: Effects | None = None


@dataclass(slots=True)
class _Batch:
    """Transactions that commit together. The worker sets ``committed`` and then looks whether the batch was ``abandoned``; the trio
    thread does it the other way round, so one of them sees the other."""

    jobs: list[_Job]
    committed: bool = False
    abandoned: bool = False


class _Budget:
    """What a read on the trio thread may cost.

    SQLite calls the handler each time that a prepared statement has done so many steps *since it was prepared*, over all its uses. So the first call within
    a read says nothing of this read, and statements that are always used together come to it together. A read has really been long when
    there was a second call some time after the first.
    """

    __slots__ = ("_runs", "_warned_s")

    def __init__(self) -> None:
        self._runs = False
        self._warned_s = 0.0

    def begin(self) -> None:
        """A read begins."""
        self._runs, self._warned_s = True, 0.0

    def end(self) -> None:
        """From here on nothing is interrupted: a transaction whose end was would stay open, and with it its snapshot."""
        self._runs = False

    def is_spent(self) -> bool:
        """Called by SQLite; True interrupts the statement."""
        now_s = time.thread_time()
        if self._warned_s:
            return self._runs and now_s - self._warned_s > INLINE_LEAST_S
        self._warned_s = now_s
        return False


class SqliteDatabase:
    """``Database`` on a file, or in memory with the path ``:memory:``.

    Without ``durable`` a commit survives the death of the process but not of the machine: for tests.
    """

    shared = False
    room: Room | None = None

    def __init__(self, world: World, path: str, *, durable: bool = True) -> None:
        self._world = world
        self._path = path
        self._synchronous = "FULL" if durable else "OFF"
        self.doorbell = Doorbell()
        world.metrics.watch("ostro_database_waiting", "Transactions that wait", "writer", lambda: len(self._queue))
        self._writer = self._connect()
        self._queue: list[_Job] = []
        self._writing = world.metrics.loop("writer")
        self._writing.pending = lambda: len(self._queue)
        self._wake = trio.Event()
        self._ended = False
        self._write_pool = Pool("sqlite-writer", 1)
        self._read_pool = Pool("sqlite-reader", READERS)
        self._readers: list[sqlite3.Connection] = []
        self._inline = self._connect()
        self._inline.execute("PRAGMA busy_timeout=0")
        self._budget = _Budget()
        self._inline.set_progress_handler(self._budget.is_spent, INLINE_STEPS)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_CACHED
        )
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={self._synchronous}",
            "foreign_keys=ON",
            "case_sensitive_like=ON",
            "busy_timeout=10000",
            "cache_size=-16384",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @property
    def _in_memory(self) -> bool:
        return self._path == ":memory:"

    async def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._ended:
            # Whoever tidies up behind a shield would wait for ever, and the process with it.
            raise Unavailable(ENDED)
        job = _Job(_bind(fn, args, kwargs), REQUEST_ID.get())
        self._queue.append(job)
        self._wake.set()
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._in_memory:
            return await self.run(fn, *args, **kwargs)
        await trio.lowlevel.checkpoint()
        call = _bind(fn, args, kwargs)
        self._budget.begin()
        try:
            return _snapshot(self._inline, call, self._budget.end)
        except sqlite3.OperationalError:
            # Interrupted or busy. If it is anything worse, it happens again in the worker and is reported from there.
            return await self._world.threads.run(self._read_pool, self._read, call, deadline_s=DEADLINE_S)
        except OverflowError as error:
            raise translate(error) from error

    def _read(self, call: Callable[[Tx], T]) -> T:
        connection = self._readers.pop() if self._readers else self._connect()
        try:
            return _snapshot(connection, call)
        except (sqlite3.Error, OverflowError) as error:
            raise translate(error) from error
        finally:
            self._readers.append(connection)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._ended = False
        task_status.started()
        try:
            while True:
                if not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                jobs, self._queue = self._queue[:BATCH_MOST], self._queue[BATCH_MOST:]
                with self._writing.run():
                    await self._settle(jobs)
        finally:
            self._ended = True
            for job in self._queue:
                job.error = Unavailable(ENDED)
                job.done.set()

    async def _settle(self, jobs: list[_Job]) -> None:
        """Run the batch to its end even when this task is cancelled: a commit has no middle.

        One that passes the deadline may still commit. Its callers have been told that nobody knows; its effects follow then.
        """
        batch = _Batch(jobs)
        run = functools.partial(self._run_batch, batch, trio.lowlevel.current_trio_token())
        with trio.CancelScope(shield=True):
            try:
                await self._world.threads.run(self._write_pool, run, deadline_s=DEADLINE_S)
            except BaseException as error:
                batch.abandoned = True
                self._announce(batch)
                for job in jobs:
                    job.error = job.error or error
                    job.done.set()
                if not isinstance(error, Unavailable):
                    raise
                return
        # Caches forget before anybody learns that the change is made.
        self._announce(batch)
        for job in jobs:
            job.done.set()

    def _announce(self, batch: _Batch) -> None:
        """Run the hooks and ring the bells of a batch that has committed, once."""
        if not batch.committed:
            return
        batch.committed = False
        topics: set[str] = set()
        for job in batch.jobs:
            if job.effects is not None:
                job.effects.run_hooks()
                topics |= job.effects.topics
        self.doorbell.ring(topics)

    def _run_batch(self, batch: _Batch, token: trio.lowlevel.TrioToken) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for job in batch.jobs:
                self._run_job(job)
            self._writer.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise translate(error) from error
        batch.committed = True
        if batch.abandoned:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._announce, batch)

    def _run_job(self, job: _Job) -> None:
        self._writer.execute("SAVEPOINT job")
        tx = SqliteTx(self._writer, job.request_id)
        try:
            job.result = job.call(tx)
            job.effects = tx.effects
        except BaseException as error:
            if not self._writer.in_transaction:
                # The engine itself rolled back everything (disk full, I/O error): nobody's work is left.
                if isinstance(error, sqlite3.OperationalError):
                    raise
                raise sqlite3.OperationalError(f"rolled back by the engine: {error}") from error
            self._writer.execute("ROLLBACK TO job")
            job.error = translate(error)
        self._writer.execute("RELEASE job")

    def close(self) -> None:
        for connection in (*self._readers, self._inline, self._writer):
            connection.close()
        self._readers.clear()


def _snapshot(connection: sqlite3.Connection, call: Callable[[Tx], T], ends: Callable[[], None] | None = None) -> T:
    """Run a read on one snapshot. What it may have written by mistake is rolled back. ``ends`` is called before that."""
    connection.execute("BEGIN")
    try:
        return call(SqliteTx(connection))
    finally:
        if ends is not None:
            ends()
        connection.execute("ROLLBACK")


def _bind(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Tx], T]:
    return lambda tx: fn(tx, *args, **kwargs)


def translate(error: BaseException) -> BaseException:
    """The engine's errors in our terms; everything else as it is."""
    match error:
        case sqlite3.IntegrityError() if "UNIQUE" in str(error) or "PRIMARY KEY" in str(error):
            mapped: Exception = Duplicate("The object exists already.", detail=str(error))
        case sqlite3.IntegrityError() if "FOREIGN KEY" in str(error):
            mapped = Conflict("The object is in use, or one that it needs is gone.", detail=str(error))
        case OverflowError():
            mapped = Invalid(UNSTORABLE, detail=str(error))
        case sqlite3.OperationalError() if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            mapped = Full(NO_ROOM, retry_after_s=FULL_RETRY_S, detail=str(error))
        case sqlite3.OperationalError():
            mapped = Unavailable("The database can't be written to now.", retry_after_s=5, detail=str(error))
        case sqlite3.Error():
            mapped = Bug("The database refused a statement.", detail=str(error))
        case _:
            return error
    mapped.__cause__ = error
    return mapped
