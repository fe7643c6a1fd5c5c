"""A real PostgreSQL for tests: private, unprivileged, on a unix socket in a temporary directory.

``PostgresServer`` makes a cluster with ``initdb`` and runs ``postgres`` as a child that dies with this process. Only ``fsync`` is switched
off, so a commit survives the server's death but not the machine's (unless it shall be ``durable``: for measurements); isolation, locking and errors
are the real ones. PostgreSQL
refuses to run as root, so as root it runs as the ``postgres`` user that Debian's package makes. Databases are cloned from a
template, which costs tens of milliseconds; making the template (by running the migrations) is the caller's business.
A `PostgresStandby` follows a `PostgresPrimary` by streaming replication.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

VERSION = 15
USER = "ostro"
START_DEADLINE_S = 30.0
POLL_S = 0.01
MAINTENANCE = "postgres"
MEMORY = Path("/dev/shm")
"""Where files cost no disk: copying a database of eight hundred of them takes a tenth of the time there."""
MEMORY_LEAST_BYTES = 4 << 30
SETTINGS = ("listen_addresses=", "max_connections=200", "shared_buffers=64MB", "logging_collector=off")
FLEETING = ("fsync=off", "full_page_writes=off", "autovacuum=off")
"""What a test needs not wait for."""

ALONE = ("wal_level=minimal", "max_wal_senders=0")
STANDBY = "standby"


def find_binaries() -> Path:
    """The directory with ``initdb`` and ``postgres``. Raises FileNotFoundError with the remedy."""
    places = [Path(f"/usr/lib/postgresql/{VERSION}/bin")]
    if found := shutil.which("initdb"):
        places.append(Path(found).parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise FileNotFoundError(f"PostgreSQL is not installed: apt-get install postgresql-{VERSION}")


def _as_user() -> list[str]:
    """What to put before a command so that it does not run as root and dies with us."""
    command = ["setpriv", "--pdeathsig", "SIGKILL"]
    if os.geteuid() == 0:
        command += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    return command


class PostgresServer:
    """One running server. Use it as a context manager: leaving it stops the server and removes its files."""

    settings: tuple[str, ...] = (*SETTINGS, *ALONE)

    def __init__(self, *, durable: bool = False) -> None:
        self._binaries = find_binaries()
        self._more = () if durable else FLEETING
        roomy = not durable and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_LEAST_BYTES
        self._root = Path(tempfile.mkdtemp(prefix="ostro-pg-", dir=MEMORY if roomy else None))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def __enter__(self) -> Self:
        try:
            self._make_cluster()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_cluster(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._root, "postgres", "postgres")
        options = ["--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8"]
        self._do("initdb", *options)

    def _do(self, program: str, *words: str) -> None:
        """Run a program of PostgreSQL's on the cluster's files. Raises RuntimeError."""
        command = [*_as_user(), str(self._binaries / program), "-D", str(self._root / "data"), *words]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def start(self) -> None:
        """Start the server and wait until it answers. Raises RuntimeError with its log when it does not."""
        command = [*_as_user(), str(self._binaries / "postgres"), "-D", str(self._root / "data"), "-k", str(self._root)]
        for setting in (*self.settings, *self._more):
            command += ["-c", setting]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until_s = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < until_s and self._process.poll() is None:
            try:
                psycopg.connect(self.dsn(MAINTENANCE), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(POLL_S)
        raise RuntimeError(f"PostgreSQL did not start: {(self._root / 'log').read_text()}")

    def pids(self) -> list[int]:
        """The server's processes: one for each connection, and its own."""
        assert self._process is not None, "it runs"
        root = self._process.pid
        return [root, *map(int, Path(f"/proc/{root}/task/{root}/children").read_text().split())]

    def kill(self) -> None:
        """End the server as a crash would, every connection with it. ``start`` brings it back."""
        if self._process is None:
            return
        # SIGQUIT is PostgreSQL's immediate shutdown: no checkpoint, recovery at the next start, but no orphaned children.
        self._process.send_signal(3)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop the server and remove its files. Idempotent."""
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def dsn(self, database: str) -> str:
        """The connection string of a database."""
        return f"host={self._root} user={USER} dbname={database}"

    def create_database(self, template: str = "template1") -> str:
        """Make a database as a copy of ``template``, which nobody may be connected to; its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.dsn(MAINTENANCE), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with psycopg.connect(self.dsn(MAINTENANCE), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


class PostgresPrimary(PostgresServer):
    """One that may have a standby."""

    settings = SETTINGS

    @property
    def address(self) -> str:
        """Where it is, as a host in a connection string."""
        return str(self._root)

    def kill_hard(self) -> None:
        """End it without a word (SIGKILL). Its children end when they notice."""
        assert self._process is not None, "it runs"
        self._process.kill()
        self._process.wait()
        self._process = None

    def await_standby(self) -> None:
        """From now on nothing counts as committed that the standby doesn't have, too; returns when that is so. Raises RuntimeError."""
        with psycopg.connect(self.dsn(MAINTENANCE), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(STANDBY))
            connection.execute("SELECT pg_reload_conf()")
            until_s = time.monotonic() + START_DEADLINE_S
            while time.monotonic() < until_s:
                if connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone():
                    return
                time.sleep(POLL_S)
        raise RuntimeError("the standby does not follow")


class PostgresStandby(PostgresPrimary):
    """A second server that follows a primary, until it is promoted to one."""

    def __init__(self, primary: PostgresPrimary) -> None:
        super().__init__()
        self._primary = primary

    def _make_cluster(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._root, "postgres", "postgres")
        source = f"host={self._primary.address} user={USER} application_name={STANDBY}"
        self._do("pg_basebackup", "-d", source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")

    def promote(self) -> None:
        """Have it take changes; returns when it does. Raises RuntimeError."""
        self._do("pg_ctl", "promote", "--wait")
