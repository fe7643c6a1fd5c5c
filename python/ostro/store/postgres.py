"""PostgreSQL: the engine of many processes. SERIALIZABLE; NOTIFY only as a doorbell.

Changes of this process share transactions (``postgres_writer.py``), in a worker thread. Reads run on the trio thread, which serves others while one of
them waits for the server (``runtime/strands.py``): handed to workers, a short one took as much of the processor again for the taking turns with the interpreter, and the more
of them the more. A read that gets many rows begins again in a worker, for what is made of them takes long.

Topics rung by a transaction are gathered for a few milliseconds and sent by one NOTIFY on a connection of its own, never inside a business
transaction (a NOTIFY there takes a global lock at commit). A listener connection brings the other processes' rings in; this process's own bells
ring at once.

A connection that breaks is thrown away and the caller told ``Unavailable``; nothing was committed, or it can't be known, exactly as
after any lost reply. But what is sure to have committed nothing, reads above all, is tried once more before that, on a fresh connection: most have broken while nobody used them. So it is
with one to a server that has become another's standby; which server is asked next says `postgres_servers`. The listener comes back by itself, and then rings every bell: a wake-up missed is worse than one too many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar, cast

import psycopg
import structlog
import trio

from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.doorbell import Doorbell
from ostro.runtime.room import Room
from ostro.runtime.strands import run_strand
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.store.database import Tx
from ostro.store.postgres_servers import Servers
from ostro.store.postgres_session import SNAPSHOT, Connection, Session, Sessions, TooManyRows
from ostro.store.postgres_writer import DEADLINE_S, LATE, Lost, PostgresTx, Writer, translate

log = structlog.get_logger()

T = TypeVar("T")
P = ParamSpec("P")

READS_MOST = 16
"""At once on the trio thread, each on a connection of its own."""
ROWS_MOST = 256
"""What makes more of the server's answers would hold up all others on the trio thread for more than some ten milliseconds."""
READERS = 4
CONNECTING_MOST = 4
DEBOUNCE_S = 0.002
CHANNEL = "ostro"
TOPICS_SEPARATOR = "\n"
PAYLOAD_MOST_BYTES = 7900
"""NOTIFY takes 8000."""
ALL_TOPICS = "*"


class PostgresDatabase:
    """``Database`` on a PostgreSQL server, by a libpq connection string or URL."""

    shared = True

    def __init__(self, world: World, dsn: str) -> None:
        self._world = world
        self.doorbell = Doorbell()
        self._sessions = Sessions(Servers(dsn).connect)
        self._writer = Writer(world, self._sessions, self._ring)
        self._places = Room(READS_MOST)
        self.room: Room | None = self._places
        self._connecting = Pool("postgres-connect", CONNECTING_MOST)
        self._readers = Pool("postgres-reader", READERS)
        self._long: set[object] = set()
        """The code of reads that got many rows when they ran last."""
        self._aside = Pool("postgres-doorbell", 2)
        self._outbox: set[str] = set()
        self._outbox_bell = trio.Event()
        self._publisher_pid = 0
        self._publishing = world.metrics.loop("doorbell: publish")
        self._publishing.pending = lambda: len(self._outbox)
        self._listening = world.metrics.loop("doorbell: listen")
        waiting = {"writer": lambda: self._writer.waiting, "reads": lambda: self._places.waiting}
        for name, count in waiting.items():
            world.metrics.watch("ostro_database_waiting", "Transactions that wait", name, count)
        world.metrics.watch(
            "ostro_database_active", "Reads on the trio thread", "reads", lambda: READS_MOST - self._places.left
        )
        work = {
            "statements": lambda: self._sessions.statements,
            "round_trips": lambda: self._sessions.round_trips,
            "changes": lambda: self._writer.changes,
            "commits": lambda: self._writer.batches,
        }
        for name, count in work.items():
            world.metrics.watch_total("ostro_database_work", "What the database was asked for", name, count)

    async def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return cast(T, await self._writer.run(lambda tx: fn(tx, *args, **kwargs)))

    def _ring(self, topics: set[str]) -> None:
        """Ring bells, here and in the other processes."""
        self.doorbell.ring(topics)
        self._outbox |= topics
        self._outbox_bell.set()
        self._publishing.due()

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What finds its connection dead is tried once more: it has changed nothing, and the next connection is a fresh one."""

        def call(tx: Tx) -> T:
            return fn(tx, *args, **kwargs)

        code = getattr(fn, "__code__", type(fn))
        with trio.move_on_after(DEADLINE_S):
            with suppress(Lost):
                return await self._read(call, code)
            try:
                return await self._read(call, code)
            except Lost as lost:
                raise lost.error from lost.__cause__
        raise Unavailable(LATE, retry_after_s=5)

    async def _read(self, call: Callable[[Tx], T], code: object) -> T:
        """On the trio thread, unless ``code`` got many rows when it ran last."""
        if code not in self._long:
            try:
                async with self._places:
                    while (session := self._sessions.take_idle()) is None:
                        # Nobody may wait for it any more once it is open, so it isn't handed over but laid to the others.
                        await self._world.threads.run(self._connecting, self._sessions.open_idle)
                    result, rows = await run_strand(partial(self._snapshot, call, session, ROWS_MOST))
                    return result
            except TooManyRows:
                self._long.add(code)
        result, rows = await self._world.threads.run(self._readers, self._snapshot, call, deadline_s=math.inf)
        if rows <= ROWS_MOST:
            self._long.discard(code)
        return result

    def _snapshot(
        self, call: Callable[[Tx], T], session: Session | None = None, rows_most: float = math.inf
    ) -> tuple[T, int]:
        """In a strand or a worker: the result, and how many rows it took. Raises Lost, and TooManyRows when there are more."""
        with self._sessions.use(session) as session:
            try:
                session.begin(SNAPSHOT, rows_most)
                result = call(PostgresTx(session))
                session.settle()
            except psycopg.Error as error:
                if session.is_lost:
                    raise Lost(translate(error)) from error
                raise translate(error) from error
            return result, session.rows_got

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._writer.serve)
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
                        if connection is None:
                            connection = await self._world.threads.run(self._aside, self._sessions.connect)
                            self._publisher_pid = connection.info.backend_pid
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
            # It may be another server, where that number is another's.
            self._publisher_pid = 0
            if not started:
                started = True
                task_status.started()
            self.doorbell.ring_all()
            try:
                while True:
                    await trio.lowlevel.wait_readable(connection.fileno())
                    for note in connection.notifies(timeout=0):
                        # What this process has sent has rung here before it was sent.
                        if note.pid != self._publisher_pid:
                            self._ring_from_note(note.payload)
            except psycopg.Error as error:
                self._listening.errors += 1
                self._listening.due()
                log.warning("doorbell listener lost", error=str(error))
            finally:
                connection.close()

    def _open_listener(self) -> Connection:
        connection = self._sessions.connect()
        connection.execute(f"LISTEN {CHANNEL}".encode())
        return connection

    def _ring_from_note(self, payload: str) -> None:
        if payload == ALL_TOPICS:
            self.doorbell.ring_all()
        else:
            self.doorbell.ring(payload.split(TOPICS_SEPARATOR))

    def close(self) -> None:
        self._sessions.close()


def check_server(dsn: str) -> None:
    """Connect once: for who can't wait until a server comes. Raises Invalid for what is no address, Unavailable with what is wrong."""
    try:
        servers = Servers(dsn)
    except psycopg.Error as error:
        raise Invalid(f"The database's address can't be read: {str(error).strip()}") from error
    try:
        servers.connect().close()
    except psycopg.Error as error:
        raise Unavailable(f"The database can't be reached: {str(error).strip()}") from error


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
