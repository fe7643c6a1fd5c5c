"""The change feed of what users see: servers, ports, volumes, snapshots, images.

Triggers write it (migration 0122). A row is the last change of one object for one project that sees it; whoever has read up to a
revision finds with the next read everything that has changed since, however transactions overlapped. Transactions share a revision when they are
one, so a revision is read whole or not at all.
"""

from __future__ import annotations

from typing import NamedTuple

from ostro.store.database import Tx

TOPIC = "changes"
EVERYBODY = "*"
NOUNS = ("server", "port", "volume", "snapshot", "image")


class Change(NamedTuple):
    """An object changed at ``revision`` for those of ``project_id``; ``gone`` once they can't see it any more."""

    noun: str
    id: str
    project_id: str
    revision: int
    gone: bool


class News(NamedTuple):
    """Changes in the order of their revisions, all there are up to ``reached``. ``more`` are committed, or known to be beyond it."""

    changes: list[Change]
    reached: int
    more: bool


_SELECT = "SELECT noun, id, project_id, revision, gone FROM changes"


def find_reached(tx: Tx) -> int:
    """The revision up to which everything has been committed."""
    row = tx.one("SELECT revision FROM change_reached")
    assert row is not None, "the migration has made the row"
    return int(row[0])


def find_lost(tx: Tx) -> int:
    """Up to this revision, objects that are gone have been forgotten: who has read no further must start again."""
    row = tx.one("SELECT lost FROM change_base")
    assert row is not None, "the migration has made the row"
    return int(row[0])


def read_news(tx: Tx, since: int, limit: int, noun: str = "", until: int = 0) -> News:
    """What changed after ``since``, of one noun or all, up to ``until`` if that is given; about ``limit`` at once."""
    reached = find_reached(tx)
    top = min(reached, until) if until else reached
    where, params = ("noun = ? AND ", (noun,)) if noun else ("", ())
    span = f" WHERE {where}revision > ? AND revision <= ?"
    row = tx.one(
        f"SELECT max(revision), count(*) FROM (SELECT revision FROM changes{span} ORDER BY revision LIMIT ?) AS first",
        (*params, since, top, limit),
    )
    assert row is not None
    full = int(row[1]) == limit
    end = int(row[0]) if full else top
    rows = tx.all(f"{_SELECT}{span} ORDER BY revision, id", (*params, since, end))
    changes = [Change(noun_, id_, project_id, int(rev), bool(gone)) for noun_, id_, project_id, rev, gone in rows]
    beyond = full or (not until and tx.one("SELECT 1 FROM changes WHERE revision > ? LIMIT 1", (reached,)) is not None)
    return News(changes, end, beyond)


def mark_reached(tx: Tx, now_us: int) -> None:
    """Remember which revision has been reached by now."""
    tx.execute(
        "INSERT INTO change_marks (at_us, revision) SELECT ?, revision FROM change_reached WHERE true ON CONFLICT DO NOTHING",
        (now_us,),
    )


def forget_gone(tx: Tx, before_us: int) -> int:
    """Forget what was gone at a time that was marked before then; how many rows."""
    row = tx.one("SELECT max(revision) FROM change_marks WHERE at_us < ?", (before_us,))
    if row is None or row[0] is None:
        return 0
    revision = int(row[0])
    tx.execute("DELETE FROM change_marks WHERE at_us < ?", (before_us,))
    forgotten = tx.execute("DELETE FROM changes WHERE gone = 1 AND revision <= ?", (revision,))
    if forgotten:
        tx.execute("UPDATE change_base SET lost = ? WHERE lost < ?", (revision, revision))
    return forgotten


def catch_up(tx: Tx) -> None:
    """Have revisions go on above those that there are, though the rows may come from another server."""
    row = tx.one("SELECT (SELECT max(revision) FROM changes) - ceiling FROM change_reached")
    behind = int(row[0]) if row is not None and row[0] is not None else 0
    if behind > 0:
        tx.execute("UPDATE change_base SET base = base + ?", (behind,))
