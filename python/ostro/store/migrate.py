"""Numbered SQL migrations, the same files for both engines.

What only one engine can say (triggers) stands behind a line ``-- only: sqlite`` or ``-- only: postgres``, until the next such line or
``-- both:``.

``migrations/NNNN_name.sql`` holds statements separated by ``;`` at line ends. Each file is applied in one transaction and remembered with
its BLAKE2 digest in ``schema_migrations``; a file that changed after it was applied is refused. A fresh database
is made by applying all of them, so fresh and migrated are the same by construction.

Processes that migrate at once take turns by touching one row of the ledger: whoever comes second waits for the first, fails to
serialize, and finds the work done when it runs again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from ostro.model.errors import Bug
from ostro.store.database import Database, Duplicate, Tx

LEDGER_ATTEMPTS = 8
_LEDGER = "CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY, digest TEXT NOT NULL)"
_ONLY, _BOTH = "-- only:", "-- both:"
_TURN = ""
"""The name of the row that is touched before anything is applied."""


def migrations() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in the order of their numbers."""
    folder = resources.files("ostro.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name.removesuffix(".sql"), f.read_text()) for f in files]


def statements(sql: str, dialect: str = "sqlite") -> list[str]:
    """The statements of one file for one engine, without comment lines and closing semicolons."""
    lines, wanted = [], True
    for line in sql.splitlines():
        if line.startswith(_ONLY):
            wanted = line.removeprefix(_ONLY).strip() == dialect
        elif line.startswith(_BOTH):
            wanted = True
        elif wanted and not line.lstrip().startswith("--"):
            lines.append(line)
    text = "\n".join(lines)
    parts = (part.strip().removesuffix(";") for part in text.split(";\n"))
    return [part for part in parts if part]


def make_ledger(tx: Tx) -> None:
    """Make the table of what was applied."""
    tx.execute(_LEDGER)
    tx.execute("INSERT INTO schema_migrations (name, digest) VALUES (?, ?) ON CONFLICT DO NOTHING", (_TURN, ""))


def apply_migration(tx: Tx, name: str, sql: str) -> bool:
    """Apply one file unless it was applied before. Raises Bug when it was, in another form."""
    tx.execute("UPDATE schema_migrations SET digest = digest WHERE name = ?", (_TURN,))
    digest = hashlib.blake2b(sql.encode(), digest_size=16).hexdigest()
    row = tx.one("SELECT digest FROM schema_migrations WHERE name = ?", (name,))
    if row is not None:
        if row[0] != digest:
            raise Bug(f"Migration {name} was changed after it had been applied to this database.")
        return False
    for statement in statements(sql, tx.dialect):
        tx.execute(statement)
    tx.execute("INSERT INTO schema_migrations (name, digest) VALUES (?, ?)", (name, digest))
    return True


def list_missing(tx: Tx) -> list[str]:
    """Names of this program's migrations that were not applied."""
    applied = {row[0] for row in tx.all("SELECT name FROM schema_migrations")}
    return [name for name in _names() if name not in applied]


@cache
def _names() -> tuple[str, ...]:
    return tuple(name for name, _sql in migrations())


async def migrate(db: Database) -> list[str]:
    """Bring the schema up to date; the names of what was applied. Idempotent, and safe when several processes start at once."""
    for attempt in range(LEDGER_ATTEMPTS):
        try:
            await db.run(make_ledger)
            break
        except Duplicate:
            # PostgreSQL's CREATE TABLE IF NOT EXISTS trips over each process that makes the table at the same moment.
            if attempt == LEDGER_ATTEMPTS - 1:
                raise
    return [name for name, sql in migrations() if await db.run(apply_migration, name, sql)]
