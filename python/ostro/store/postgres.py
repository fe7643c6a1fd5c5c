"""PostgreSQL: the engine of many processes. SERIALIZABLE with bounded retry; NOTIFY only as a doorbell.

psycopg 3 runs synchronously in worker threads, one connection a worker. Topics rung by a transaction are gathered for a few
milliseconds and sent by one NOTIFY on a connection of its own, never inside a business transaction (a NOTIFY there takes a global
lock at commit). A listener connection brings the other processes' rings in; this process's own bells ring at once.

Changes of one project wait for each other in each process (``LANE``): side by side they would mostly collide, and a third of the work be done in vain.
Transactions that get in each other's way are run again: a few times side by side, which is quickest where it happens seldom, and then **in turn**: one
after the other in this process, and one at a time among all processes by an advisory lock that is taken before the snapshot is. While that
goes on whoever comes queues up at once, so that the ones in turn are not disturbed. So however many want to change one row, or count
against one quota, each comes to its end.

A connection that breaks is thrown away and the caller told ``Unavailable``; nothing was committed, or it can't be known, exactly as
after any lost reply. So it is with one to a server that has become another's standby; which server is asked next says `postgres_servers`. The listener comes back by itself, and then rings every bell: a wake-up missed is worse than one too many.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
import structlog
import trio
from psycopg import errors

from ostro.model.errors import Bug, Conflict, Full, Invalid, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.doorbell import Doorbell
from ostro.runtime.log import REQUEST_ID
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.store.database import FULL_RETRY_S, LANE, NO_ROOM, UNSTORABLE, Duplicate, Effects, Params, Row, Tx
from ostro.store.postgres_servers import Servers
from ostro.store.postgres_session import Connection, Session

log = structlog.get_logger()

T = TypeVar("T")
P = ParamSpec("P")

CONNECTIONS = 16
ATTEMPTS_ASIDE = 3
ATTEMPTS_IN_TURN = 12
"""Others may still be in the way: those that began before, and other processes' first attempts."""
CONTENDED_S = 0.5
"""For so long after one has failed aside, all take turns; then it is tried again whether they need to."""
TURNS = 0x6F7374726F
"""The advisory lock of turns."""
DEADLINE_S = 60.0
DEBOUNCE_S = 0.002
CHANNEL = "ostro"
TOPICS_SEPARATOR = "\n"
PAYLOAD_MOST_BYTES = 7900
"""NOTIFY takes 8000."""
CONTENDED = "Too many requests change the same thing."
ALL_TOPICS = "*"


class PostgresTx:
    """A transaction on one connection."""

    __slots__ = ("_session", "effects", "request_id")
    dialect = "postgres"

    def __init__(self, session: Session) -> None:
        self._session = session
        # A worker has the context of the task that called it.
        self.request_id = REQUEST_ID.get()
        self.effects = Effects()

    def execute(self, sql: str, params: Params = ()) -> int:
        return self._session.run(sql, params).command_tuples or 0

    def one(self, sql: str, params: Params = ()) -> Row | None:
        rows = self._session.rows(self._session.run(sql, params), 1)
        return rows[0] if rows else None

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._session.rows(self._session.run(sql, params))

    def ring(self, *topics: str) -> None:
        self.effects.topics.update(topics)

    def after_commit(self, hook: Callable[[], None]) -> None:
        self.effects.hooks.append(hook)


@dataclass(slots=True)
class _After:
    """What follows the commit of one transaction. The worker sets ``effects`` and then looks whether it was ``abandoned``; the
    trio thread does it the other way round, so one of them sees the other."""

    effects: Effects | None = None
    abandoned: bool = False


@dataclass(slots=True)
class _Lane:
    """See ``LANE``. Forgotten when nobody uses it."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    users: int = 0


class _Contended(Exception):
    """Others were in the way each time."""


class PostgresDatabase:
    """``Database`` on a PostgreSQL server, by a libpq connection string or URL."""

    shared = True

    def __init__(self, world: World, dsn: str) -> None:
        self._world = world
        self._connect = Servers(dsn).connect
        self.doorbell = Doorbell()
        self._pool = Pool("postgres", CONNECTIONS)
        self._aside = Pool("postgres-doorbell", 2)
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()
        self._outbox: set[str] = set()
        self._outbox_bell = trio.Event()
        self._turn = trio.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._contended_until_s = -math.inf
        self._publishing = world.metrics.loop("doorbell: publish")
        self._publishing.pending = lambda: len(self._outbox)
        self._listening = world.metrics.loop("doorbell: listen")
        world.metrics.watch("ostro_database_waiting", "Transactions that wait", "turns", self._count_waiting)

    def _count_waiting(self) -> int:
        return self._turn.statistics().tasks_waiting

    async def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def call(tx: Tx) -> T:
            return fn(tx, *args, **kwargs)

        if trio.current_time() >= self._contended_until_s and not self._turn.locked():
            try:
                async with self._lane(LANE.get()):
                    return await self._write(call, in_turn=False)
            except _Contended:
                self._contended_until_s = trio.current_time() + CONTENDED_S
        with trio.move_on_after(DEADLINE_S) as scope:
            await self._turn.acquire()
        if scope.cancelled_caught:
            raise Unavailable(CONTENDED)
        try:
            return await self._write(call, in_turn=True)
        except _Contended as error:
            raise Unavailable(CONTENDED, detail=str(error)) from error
        finally:
            self._turn.release()

    @asynccontextmanager
    async def _lane(self, key: str) -> AsyncIterator[None]:
        """Be the only one of its lane. Raises Unavailable for one that waits too long."""
        if not key:
            yield
            return
        lane = self._lanes.setdefault(key, _Lane())
        lane.users += 1
        try:
            with trio.move_on_after(DEADLINE_S) as scope:
                await lane.lock.acquire()
            if scope.cancelled_caught:
                raise Unavailable(CONTENDED)
            try:
                yield
            finally:
                lane.lock.release()
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[key]

    async def _write(self, call: Callable[[Tx], T], *, in_turn: bool) -> T:
        """Run and commit. Raises _Contended when others were in the way each time."""
        after = _After()
        token = trio.lowlevel.current_trio_token()

        def work() -> T:
            result, after.effects = self._attempts(call, read_only=False, in_turn=in_turn)
            if after.abandoned:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._announce, after)
            return result

        try:
            return await self._world.threads.run(self._pool, work, deadline_s=DEADLINE_S)
        finally:
            # Cancelled, or out of time, this is reached before the worker has committed; it then has us come back.
            after.abandoned = True
            self._announce(after)

    def _announce(self, after: _After) -> None:
        """Run the hooks and ring the bells of a transaction that has committed, once."""
        effects, after.effects = after.effects, None
        if effects is None:
            return
        effects.run_hooks()
        if effects.topics:
            self.doorbell.ring(effects.topics)
            self._outbox |= effects.topics
            self._outbox_bell.set()
            self._publishing.due()

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            outcome: tuple[T, Effects] = await self._world.threads.run(
                self._pool, self._attempts, lambda tx: fn(tx, *args, **kwargs), deadline_s=DEADLINE_S
            )
        except _Contended as error:
            raise Unavailable(CONTENDED, detail=str(error)) from error
        return outcome[0]

    def _attempts(self, call: Callable[[Tx], T], *, read_only: bool = True, in_turn: bool = False) -> tuple[T, Effects]:
        backoff = Backoff(first_s=0.004, most_s=0.25)
        most = ATTEMPTS_IN_TURN if in_turn else ATTEMPTS_ASIDE
        for attempt in range(1, most + 1):
            try:
                return self._attempt(call, read_only, in_turn)
            except (errors.SerializationFailure, errors.DeadlockDetected) as error:
                if attempt == most:
                    raise _Contended(str(error)) from error
                self._world.metrics.retries.inc()
                time.sleep(backoff.delay_s(attempt, self._world.random))
        raise AssertionError("unreachable")

    def _attempt(self, call: Callable[[Tx], T], read_only: bool, in_turn: bool) -> tuple[T, Effects]:
        session = self._take()
        try:
            with _alone(session) if in_turn else nullcontext():
                return _transact(session, call, read_only)
        except (errors.SerializationFailure, errors.DeadlockDetected):
            raise
        except psycopg.Error as error:
            raise translate(error) from error
        finally:
            self._give_back(session)

    def _take(self) -> Session:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        try:
            return Session(self._connect())
        except psycopg.OperationalError as error:
            raise Unavailable("The database does not answer.", retry_after_s=2, detail=str(error)) from error

    def _give_back(self, session: Session) -> None:
        with suppress(psycopg.Error):
            session.rollback()
        if session.is_idle:
            self._idle.put(session)
            return
        session.close()
        # One connection broke, so the server may have restarted: the others are most likely dead too.
        self._drop_idle()

    def _drop_idle(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish)
            await nursery.start(self._listen)
            task_status.started()

    async def _publish(self) -> None:
        """Send rung topics to the other processes."""
        connection: Connection | None = None
        backoff, failures = Backoff(first_s=0.1, most_s=5.0), 0
        try:
            while True:
                await self._outbox_bell.wait()
                await trio.sleep(DEBOUNCE_S)
                self._outbox_bell = trio.Event()
                topics, self._outbox = self._outbox, set()
                try:
                    with self._publishing.run():
                        connection = connection or await self._world.threads.run(self._aside, self._connect)
                        await self._world.threads.run(self._aside, _notify, connection, payloads(topics))
                except (psycopg.Error, Unavailable) as error:
                    # The listeners may have kept their connections: they have to be told again.
                    failures += 1
                    log.warning("doorbell not published", error=str(error), failures=failures)
                    if connection is not None:
                        connection.close()
                    connection = None
                    self._outbox |= topics
                    self._outbox_bell.set()
                    await trio.sleep(backoff.delay_s(failures, self._world.random))
                else:
                    failures = 0
        finally:
            if connection is not None:
                connection.close()

    async def _listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        failures = 0
        started = False
        backoff = Backoff(first_s=0.1, most_s=5.0)
        while True:
            try:
                with self._listening.run():
                    connection = await self._world.threads.run(self._aside, self._open_listener)
            except (psycopg.Error, Unavailable) as error:
                failures += 1
                log.warning("doorbell listener not connected", error=str(error))
                await trio.sleep(backoff.delay_s(failures, self._world.random))
                continue
            failures = 0
            if not started:
                started = True
                task_status.started()
            self.doorbell.ring_all()
            try:
                while True:
                    await trio.lowlevel.wait_readable(connection.fileno())
                    for note in connection.notifies(timeout=0):
                        self._ring_from_note(note.payload)
            except psycopg.Error as error:
                self._listening.errors += 1
                self._listening.due()
                log.warning("doorbell listener lost", error=str(error))
            finally:
                connection.close()

    def _open_listener(self) -> Connection:
        connection = self._connect()
        connection.execute(f"LISTEN {CHANNEL}".encode())
        return connection

    def _ring_from_note(self, payload: str) -> None:
        if payload == ALL_TOPICS:
            self.doorbell.ring_all()
        else:
            self.doorbell.ring(payload.split(TOPICS_SEPARATOR))

    def close(self) -> None:
        self._drop_idle()


def _transact(session: Session, call: Callable[[Tx], T], read_only: bool) -> tuple[T, Effects]:
    # A read needs one snapshot, not the bookkeeping of SERIALIZABLE.
    session.begin(serializable=not read_only)
    tx = PostgresTx(session)
    result = call(tx)
    if read_only:
        session.rollback()
    else:
        session.commit()
    return result, tx.effects


@contextmanager
def _alone(session: Session) -> Iterator[None]:
    """Hold the lock of turns from before the transaction's snapshot until the transaction has ended."""
    session.run("SELECT pg_advisory_lock(?)", (TURNS,))
    try:
        yield
    finally:
        try:
            session.rollback()
            session.run("SELECT pg_advisory_unlock(?)", (TURNS,))
        except psycopg.Error:
            # The lock goes with the connection.
            session.close()


def payloads(topics: set[str]) -> list[str]:
    """Topics joined into NOTIFY payloads, each within PostgreSQL's bound; one ``*`` when there are far too many."""
    out: list[str] = []
    for topic in sorted(topics):
        if out and len(out[-1]) + len(topic) + 1 <= PAYLOAD_MOST_BYTES:
            out[-1] += TOPICS_SEPARATOR + topic
        else:
            out.append(topic)
    return out if len(out) <= 16 else [ALL_TOPICS]


def _notify(connection: Connection, messages: list[str]) -> None:
    for message in messages:
        connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, message))


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
