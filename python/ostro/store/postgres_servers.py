"""Which PostgreSQL server is asked, where the address names several of which one at a time takes changes.

The others are its standbys. One that is promoted begins a **timeline**, a number that only grows; so a server that comes back from the dead and believes that it is
still the first is told apart by its smaller number, and is not asked: whoever did would change what nobody else sees. A process that starts looks at
all of them, and from then on never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict

from ostro.store.postgres_session import OPTIONS, Connection

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 10
LINE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A server whose machine is gone says nothing: its connections, and who waits on them, are given up after some ten seconds (the last is in milliseconds)."""
TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
BY_SERVER = ("host", "hostaddr", "port")


class Servers:
    """The servers of a libpq connection string or URL. Safe from several threads."""

    def __init__(self, dsn: str) -> None:
        own = conninfo_to_dict(dsn)
        # What the address has itself comes last, and so wins.
        options = f"{OPTIONS} {own.get('options') or ''}"
        how = {**LINE, "connect_timeout": CONNECT_TIMEOUT_S, **own, "options": options}
        self._each = list(_split(how))
        self._timeline = 0
        self._last: int | None = None
        """The one that took changes when it was asked last."""

    def connect(self) -> Connection:
        """A connection in autocommit mode. Raises psycopg's errors."""
        if len(self._each) == 1:
            return psycopg.connect("", autocommit=True, **self._each[0])
        knows_one, found = self._last is not None, None
        error: psycopg.OperationalError | None = None
        for number in self._in_turn():
            try:
                connection, timeline = self._try(number)
            except psycopg.OperationalError as failed:
                error = failed
                continue
            if found is not None:
                found.close()
            found, self._timeline, self._last = connection, timeline, number
            if knows_one:
                break
        if found is None:
            raise error or psycopg.OperationalError("no server takes changes")
        return found

    def _in_turn(self) -> list[int]:
        """The servers, the one that was good last first."""
        return sorted(range(len(self._each)), key=lambda number: number != self._last)

    def _try(self, number: int) -> tuple[Connection, int]:
        """A connection to one that takes changes, and its timeline. Raises OperationalError."""
        connection = psycopg.connect("", autocommit=True, **self._each[number])
        try:
            row = connection.execute(TIMELINE).fetchone()
            assert row is not None, "a query without a table"
            timeline = int(row[0], 16)
            if timeline < self._timeline:
                log.error("a database server was passed over, and doesn't know it", host=self._each[number].get("host"))
                raise psycopg.OperationalError("Another server has taken its place.")
        except psycopg.Error as error:
            connection.close()
            raise psycopg.OperationalError(str(error)) from error
        return connection, timeline


def _split(how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of each server."""
    lists = {name: str(how[name]).split(",") for name in BY_SERVER if how.get(name)}
    for number in range(max(map(len, lists.values()), default=1)):
        yield {**how, **{name: values[number if len(values) > 1 else 0] for name, values in lists.items()}}
