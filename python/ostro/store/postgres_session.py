"""A connection to PostgreSQL as transactions use it: libpq's own calls, with prepared statements, in pipeline mode.

A request that changes something runs dozens of small statements, so what each costs here, and each time that somebody waits for the server and
for the interpreter after it, is what counts. psycopg's cursors spend several times as long on a statement as the server does; what they are needed
for, turning values into Python's, is done by the same code of psycopg's, in C.

- A statement that is run a second time on a connection is prepared there: the server then parses and plans it no more.
- What nobody waits for (``send``, and the beginning and the end of a transaction) goes to the server with the next statement whose outcome is
  needed: one **round trip**. If it fails, that statement raises its error.
"""

from __future__ import annotations

import math
import select
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from queue import Empty, LifoQueue
from typing import Any, cast

import psycopg
import trio
from psycopg import errors, pq
from psycopg.adapt import Loader, Transformer

from ostro.model.errors import Unavailable
from ostro.runtime.strands import in_strand, wait
from ostro.store.database import Params, Row

PREPARED_MOST = 500
"""Statements with lists of any length are many; each that is prepared takes the server some tens of KiB."""
SEEN_MOST = 5000
SENT_MOST = 100
"""Statements that nobody has waited for yet."""
UNKNOWN, INT8, FLOAT8, BYTEA = 0, 20, 701, 17
LOST = (b"08", b"57P", b"25006")
"""Errors by which the server says that it ends the connection, or takes no changes any more: it has become a standby."""
OPTIONS = "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off"
"""A plan is made once and not for each set of values. Tables are never read from end to end where there is an index: what a transaction has read there
would collide with everybody's writes, though it needed one row."""
SERIALIZABLE = "BEGIN ISOLATION LEVEL SERIALIZABLE"
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ"
"""A read needs one snapshot, not the bookkeeping of SERIALIZABLE."""
Connection = psycopg.Connection[Row]
_Key = tuple[bytes, tuple[int, ...]]


class _WholeNumber(Loader):
    """Sums of BIGINT are NUMERIC."""

    def load(self, data: Any) -> Any:
        return int(bytes(data))


@lru_cache(maxsize=4096)
def to_postgres(sql: str) -> bytes:
    """``?`` parameters as PostgreSQL's, and empty lists, which its grammar does not have, as empty arrays."""
    sql = sql.replace("NOT IN ()", "<> ALL('{}')").replace("IN ()", "= ANY('{}')")
    first, *rest = sql.split("?")
    return "".join([first, *(f"${number}{part}" for number, part in enumerate(rest, 1))]).encode()


def _encode(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise psycopg.DataError(str(error)) from error
    if b"\0" in data:
        raise psycopg.DataError("PostgreSQL text can't contain NUL bytes")
    return data


@dataclass(slots=True)
class _Asked:
    """A question, and its answer once that has come."""

    result: pq.abc.PGresult | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    """A statement that was sent and not yet answered."""

    prepares: _Key | None = None
    """It prepares this one."""
    name: bytes = b""
    missing: Exception | None = None
    """To be raised when it has changed no row."""
    asked: _Asked | None = None
    """Where its result goes."""
    ends: bool = False
    """It is no statement but the end of a round trip."""


_PLAIN, _END = _Sent(), _Sent(ends=True)


@dataclass(slots=True)
class _Tail:
    """What one part of a transaction has sent last, up to this place, while the next goes on."""

    end: int
    error: Exception | None = None


class TailFailed(BaseException):
    """What was handed over has failed: ``error``. Not an Exception, because whoever learns of it has nothing to do with it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class TooManyRows(BaseException):
    """A transaction gets more rows than it said it would. Not an Exception, because whoever asked for them has nothing to do with it."""


class Session:
    """One connection, for one transaction after another. Methods raise psycopg's errors."""

    def __init__(self, connection: Connection) -> None:
        connection.adapters.register_loader("numeric", _WholeNumber)
        self.connection = connection
        self._pg = connection.pgconn
        self._pg.enter_pipeline_mode()
        self._poll = select.poll()
        self._poll.register(self._pg.socket, select.POLLIN)
        self._transformer = Transformer(connection)
        self._prepared: dict[_Key, bytes] = {}
        self._seen: set[_Key] = set()
        self._sent: list[_Sent] = []
        self._left = 0
        """So many of them belong to uses that have ended: whatever becomes of them."""
        self._tail: _Tail | None = None
        self._names = 0
        self._open = False
        self._lost = False
        self._left_off = False
        self.may_have_committed = False
        """Whether the server has been told to commit the transaction, so that it may have, though its answer never came."""
        self._rows_most = math.inf
        self.rows_got = 0
        """In this transaction, or the last one."""
        self.statements = 0
        self.round_trips = 0

    @property
    def is_well(self) -> bool:
        """Whether the connection can be used for another transaction."""
        return not self._lost and not self._left_off

    @property
    def is_lost(self) -> bool:
        """Whether the server has gone, or takes no changes any more."""
        return self._lost

    def send(self, sql: str, params: Params = (), missing: Exception | None = None) -> None:
        """A statement whose outcome nobody waits for. With ``missing``, that is raised when it has changed no row."""
        if len(self._sent) >= SENT_MOST:
            self.settle()
        self._post(sql, params, missing)

    def ask(self, sql: str, params: Params = ()) -> Callable[[], list[Row]]:
        """A query whose rows are looked at later, by what this returns."""
        if len(self._sent) >= SENT_MOST:
            self.settle()
        asked = _Asked()
        self._post(sql, params, None, asked)

        def rows() -> list[Row]:
            if asked.result is None:
                self.settle()
            assert asked.result is not None, "it was answered without an error"
            return self.rows(asked.result)

        return rows

    def run(self, sql: str, params: Params = ()) -> pq.abc.PGresult:
        """One statement, after all that was sent before it."""
        self._post(sql, params, None)
        result = self._answers()
        assert result is not None, "a statement was sent"
        return result

    def settle(self) -> None:
        """Wait for what was sent. Raises the first error."""
        if len(self._sent) > self._left:
            self._answers()

    def hand_over(self) -> None:
        """Have what was sent carried out while the next part of the transaction begins: the next that is waited for waits for it too.

        If it fails, TailFailed is raised there, and nothing of what was sent since is done. What was handed over before must have been waited for.
        """
        assert self._tail is None and not self._must_judge, "judge comes first"
        if len(self._sent) > self._left:
            self._end_trip()
            self._tail = _Tail(len(self._sent))

    def settle_tail(self) -> None:
        """Wait for what was handed over, if anything was, and with it for what was sent since. Raises TailFailed, or the first error of what was sent."""
        if self._tail is not None:
            self._answers()

    def judge(self) -> None:
        """Wait for what the server doesn't judge by itself: whether statements that had to change a row have. And for what was handed over before."""
        if self._tail is not None or self._must_judge:
            self._answers()

    @property
    def _must_judge(self) -> bool:
        return any(item.missing is not None for item in self._sent[self._left :])

    def begin(self, how: str, rows_most: float = math.inf) -> None:
        """Begin a transaction; its snapshot is taken by its first statement. TooManyRows is raised where it would get more rows."""
        self.send(how)
        self._open, self.may_have_committed, self.rows_got, self._rows_most = True, False, 0, rows_most

    def commit(self) -> None:
        """Commit. Raises when the transaction had failed and was rolled back instead."""
        if self._must_judge:
            # Whether a row was changed is judged here, so it must be known before the server commits.
            self.settle()
        self.may_have_committed = True
        if self.run("COMMIT").command_status == b"ROLLBACK":
            raise errors.InFailedSqlTransaction("a statement had failed, and the transaction was not ended")
        self._open = False

    def rollback(self) -> None:
        """Undo the transaction, if there is one. The server is told at once, and not waited for."""
        if self._open:
            self._open = False
            self.part("ROLLBACK")

    def part(self, sql: str, params: Params = ()) -> None:
        """Run a last statement, whatever became of those before it, and don't wait for it."""
        if self._sent and not self._sent[-1].ends:
            # What fails takes with it all that is sent up to the end of its round trip.
            self._end_trip()
        self._post(sql, params, None)
        self._end_trip()
        self._left = len(self._sent)
        self._tail = None

    def _end_trip(self) -> None:
        try:
            self._pg.pipeline_sync()
        except psycopg.OperationalError:
            self._lost = True
            raise
        self._sent.append(_END)

    def rows(self, result: pq.abc.PGresult, most: int | None = None) -> list[Row]:
        """The rows of a result, or the first of them."""
        self._transformer.set_pgresult(result)
        count = result.ntuples if most is None else min(most, result.ntuples)
        self.rows_got += count
        if self.rows_got > self._rows_most:
            raise TooManyRows
        return self._transformer.load_rows(0, count, tuple)

    def close(self) -> None:
        """Give back the connection."""
        self._lost = True
        self.connection.close()

    def _post(self, sql: str, params: Params, missing: Exception | None, asked: _Asked | None = None) -> None:
        """Hand a statement to libpq, and what prepares it if that is worth it."""
        values, kinds, formats = _wire(params)
        key = (to_postgres(sql), kinds)
        name = self._prepared.get(key)
        self.statements += 1
        try:
            if name is None and self._is_worth(key):
                name = b"s%d" % self._names
                self._names += 1
                self._pg.send_prepare(name, key[0], kinds)
                self._sent.append(_Sent(key, name))
            if name is None:
                self._pg.send_query_params(key[0], values, kinds, formats)
            else:
                self._pg.send_query_prepared(name, cast(list[bytes], values), formats)
        except psycopg.OperationalError:
            self._lost = True
            raise
        self._sent.append(_PLAIN if missing is None and asked is None else _Sent(missing=missing, asked=asked))

    def _is_worth(self, key: _Key) -> bool:
        """Whether the statement shall be prepared: it was run before."""
        if key in self._seen:
            return len(self._prepared) < PREPARED_MOST
        if len(self._seen) >= SEEN_MOST:
            self._seen.clear()
        self._seen.add(key)
        return False

    def _answers(self) -> pq.abc.PGresult | None:
        """Make a round trip: have all that was sent carried out, and wait for it. Raises the first error; else the last result."""
        if not self._sent or not self._sent[-1].ends:
            self._end_trip()
        self.round_trips += 1
        sent, left, tail = self._sent, self._left, self._tail or _Tail(self._left)
        self._sent, self._left, self._tail = [], 0, None
        error: Exception | None = None
        last: pq.abc.PGresult | None = None
        try:
            for number, item in enumerate(sent):
                result = self._next()
                if item.ends:
                    continue
                found = self._look_at(item, result)
                if number >= tail.end:
                    error, last = error or found, result
                elif number >= left:
                    tail.error = tail.error or found
                self._next()
        except psycopg.OperationalError:
            self._lost = True
            raise
        except BaseException:
            # Whoever waited was cancelled. The answers of a later question would come after these.
            self._left_off = True
            raise
        if tail.error is not None:
            raise TailFailed(tail.error)
        if error is not None:
            raise error
        return last

    def _next(self) -> Any:
        """The next thing that libpq has of the server: a result, or None after each. Waits for it without the interpreter."""
        while self._pg.is_busy():
            self._wait()
        return self._pg.get_result()

    def _wait(self) -> None:
        """Wait until something has come from the server, sending meanwhile what has not fitted into the socket's buffer: large values don't."""
        if not self._pg.flush():
            if in_strand():
                wait(self._until_readable)
            else:
                self._poll.poll()
            self._pg.consume_input()
            return
        if in_strand():
            wait(self._until_ready)
            # The server reads no further while nobody takes its answers. Where there are none, this does nothing.
            self._pg.consume_input()
            return
        self._poll.modify(self._pg.socket, select.POLLIN | select.POLLOUT)
        try:
            for _fd, events in self._poll.poll():
                if events != select.POLLOUT:
                    self._pg.consume_input()
        finally:
            self._poll.modify(self._pg.socket, select.POLLIN)

    async def _until_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._pg.socket)

    async def _until_ready(self) -> None:
        """Wait until the socket takes more, or has something."""
        async with trio.open_nursery() as nursery:

            async def until(ready: Callable[[int], Awaitable[None]]) -> None:
                await ready(self._pg.socket)
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, trio.lowlevel.wait_readable)
            nursery.start_soon(until, trio.lowlevel.wait_writable)

    def _look_at(self, item: _Sent, result: pq.abc.PGresult | None) -> Exception | None:
        """The error that a result is, if it is one."""
        if result is None:
            self._lost = True
            return errors.OperationalError(self._pg.get_error_message())
        if result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE):
            return self._error(result)
        if result.status == pq.ExecStatus.PIPELINE_ABORTED:
            return None
        if item.prepares is not None:
            self._prepared[item.prepares] = item.name
        if item.asked is not None:
            item.asked.result = result
        return item.missing if item.missing is not None and not result.command_tuples else None

    def _error(self, result: pq.abc.PGresult) -> Exception:
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        if state is None or state.startswith(LOST) or self._pg.status != pq.ConnStatus.OK:
            self._lost = True
        if state is None:
            # libpq says so, and not the server.
            return errors.OperationalError(result.get_error_message() or self._pg.get_error_message())
        return errors.error_from_result(result)


def _wire(params: Params) -> tuple[list[bytes | None], tuple[int, ...], list[int]]:
    """Values as libpq takes them, their types and their formats."""
    values: list[bytes | None] = []
    kinds: list[int] = []
    formats: list[int] = []
    for param in params:
        kind, format_, value = UNKNOWN, 0, None
        if isinstance(param, str):
            value = _encode(param)
        elif isinstance(param, int):
            kind, value = INT8, b"%d" % param
        elif isinstance(param, float):
            kind, value = FLOAT8, repr(param).encode()
        elif param is not None:
            kind, format_, value = BYTEA, 1, bytes(cast(bytes, param))
        values.append(value)
        kinds.append(kind)
        formats.append(format_)
    return values, tuple(kinds), formats


class Sessions:
    """The connections of one process, as ``connect`` makes them. Used from workers, and from the trio thread but for ``open`` and ``open_idle``."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.connect = connect
        self._idle: LifoQueue[Session] = LifoQueue()
        self._open: list[Session] = []
        self._ended = [0, 0]

    @contextmanager
    def use(self, session: Session | None = None) -> Iterator[Session]:
        """A session for one use, after which it is rolled back and is nobody's: this one, or whichever there is. Raises Unavailable when there is no server."""
        session = session or self.take_idle() or self.open()
        try:
            yield session
        finally:
            with suppress(psycopg.Error):
                session.rollback()
            self._give_back(session)

    def take_idle(self) -> Session | None:
        """A session that nobody uses, if there is one."""
        with suppress(Empty):
            return self._idle.get_nowait()
        return None

    def open(self) -> Session:
        """Another session: blocks. Raises Unavailable when there is no server."""
        try:
            session = Session(self.connect())
        except psycopg.OperationalError as error:
            raise Unavailable("The database does not answer.", retry_after_s=2, detail=str(error)) from error
        self._open.append(session)
        return session

    def open_idle(self) -> None:
        """Another session, for whoever takes it first: blocks. Raises Unavailable when there is no server."""
        self._idle.put(self.open())

    def _end(self, session: Session) -> None:
        session.close()
        self._open.remove(session)
        self._ended[0] += session.statements
        self._ended[1] += session.round_trips

    @property
    def statements(self) -> int:
        """Statements so far."""
        return self._ended[0] + sum(session.statements for session in list(self._open))

    @property
    def round_trips(self) -> int:
        """Times that somebody waited for the server's answer."""
        return self._ended[1] + sum(session.round_trips for session in list(self._open))

    def _give_back(self, session: Session) -> None:
        if session.is_well:
            self._idle.put(session)
            return
        lost = session.is_lost
        self._end(session)
        if lost:
            # One connection broke, so the server may have restarted: the others are most likely dead too.
            self.close()

    def close(self) -> None:
        """Close what is idle."""
        while (session := self.take_idle()) is not None:
            self._end(session)
