"""A connection to PostgreSQL as transactions use it: libpq's own calls, with prepared statements.

A request that changes something runs some fifty small statements, one after the other, so what each costs here is what counts. psycopg's cursors spend
several times as long on one as the server does; what they are needed for, turning values into Python's, is done by the same code of psycopg's, in C.

A statement that is run a second time on a connection is prepared there: the server then parses and plans it no more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Loader, Transformer

from ostro.store.database import Params, Row

PREPARED_MOST = 500
"""Statements with lists of any length are many; each that is prepared takes the server some tens of KiB."""
SEEN_MOST = 5000
UNKNOWN, INT8, FLOAT8, BYTEA = 0, 20, 701, 17
LOST = (b"08", b"57P", b"25006")
"""Errors by which the server says that it ends the connection, or takes no changes any more: it has become a standby."""
OPTIONS = "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off"
"""A plan is made once and not for each set of values. Tables are never read from end to end where there is an index: what a transaction has read there
would collide with everybody's writes, though it needed one row."""
Connection = psycopg.Connection[Row]


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


class Session:
    """One connection, for one transaction after another. Methods raise psycopg's errors."""

    def __init__(self, connection: Connection) -> None:
        connection.adapters.register_loader("numeric", _WholeNumber)
        self.connection = connection
        self._pg = connection.pgconn
        self._transformer = Transformer(connection)
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._seen: set[tuple[bytes, tuple[int, ...]]] = set()
        self._lost = False

    @property
    def is_idle(self) -> bool:
        """Whether the connection is well and in no transaction."""
        return not self._lost and self._pg.transaction_status == pq.TransactionStatus.IDLE

    def begin(self, *, serializable: bool) -> None:
        """Begin a transaction; its snapshot is taken by its first statement."""
        level = b"SERIALIZABLE" if serializable else b"REPEATABLE READ"
        self._check(self._pg.exec_(b"BEGIN ISOLATION LEVEL " + level))

    def commit(self) -> None:
        """Commit. Raises when the transaction had failed and was rolled back instead."""
        if self._check(self._pg.exec_(b"COMMIT")).command_status == b"ROLLBACK":
            raise errors.InFailedSqlTransaction("a statement had failed, and the transaction was not ended")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        if not self.is_idle and not self._lost:
            self._check(self._pg.exec_(b"ROLLBACK"))

    def run(self, sql: str, params: Params) -> pq.abc.PGresult:
        """One statement."""
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
        return self._check(self._send((to_postgres(sql), tuple(kinds)), values, formats))

    def _send(
        self, key: tuple[bytes, tuple[int, ...]], values: list[bytes | None], formats: list[int]
    ) -> pq.abc.PGresult:
        name = self._prepared.get(key)
        if name is None:
            if key not in self._seen or len(self._prepared) >= PREPARED_MOST:
                if len(self._seen) >= SEEN_MOST:
                    self._seen.clear()
                self._seen.add(key)
                return self._pg.exec_params(key[0], values, key[1], formats)
            name = b"s%d" % len(self._prepared)
            self._check(self._pg.prepare(name, key[0], key[1]))
            self._prepared[key] = name
        return self._pg.exec_prepared(name, cast(list[bytes], values), formats)

    def rows(self, result: pq.abc.PGresult, most: int | None = None) -> list[Row]:
        """The rows of a result, or the first of them."""
        self._transformer.set_pgresult(result)
        count = result.ntuples if most is None else min(most, result.ntuples)
        return self._transformer.load_rows(0, count, tuple)

    def _check(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status not in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE):
            return result
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        self._lost = state is None or state.startswith(LOST) or self._pg.status != pq.ConnStatus.OK
        if state is None:
            # libpq says so, and not the server.
            raise errors.OperationalError(result.get_error_message() or self._pg.get_error_message())
        raise errors.error_from_result(result)

    def close(self) -> None:
        """Give back the connection."""
        self.connection.close()
