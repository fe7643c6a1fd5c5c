"""The change feed: what each host must do.

One row per object and host. Setting a wish that is there already, byte for byte, changes nothing and wakes nobody, so
services may set whatever they have computed, as often as they like. ``generation`` grows with every change of the row, also
through absence and back, and reports are compared by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from ostro.model.wishes import Feed, Noun, Wish
from ostro.store.database import Tx
from ostro.store.hosts import raise_revision, send_revision

_GENERATION = "SELECT generation FROM wishes WHERE host_id = ? AND noun = ? AND id = ?"
_WISH = "SELECT generation, body FROM wishes WHERE host_id = ? AND noun = ? AND id = ?"
_HOSTS = "SELECT host_id FROM wishes WHERE noun = ? AND id = ? AND body IS NOT NULL"
_IS_WISHED = "SELECT noun, id FROM wishes WHERE host_id = ? AND noun = ? AND id = ? AND body IS NOT NULL"
_REVISION = "(SELECT revision FROM hosts WHERE id = ?)"
KEYS_MOST = 50
"""Objects in one query."""


def set_wish(tx: Tx, host_id: str, noun: Noun, id_: str, body: msgspec.Struct) -> int:
    """Wish that the object is as ``body`` says on the host; the wish's generation."""
    return _put(tx, host_id, noun, id_, msgspec.json.encode(body).decode())


def add_wish(tx: Tx, host_id: str, noun: Noun, id_: str, body: msgspec.Struct) -> None:
    """Wish an object of the host that is new, so that no host can have heard of it. The caller has seen the host: without one the statement fails."""
    send_revision(tx, host_id)
    tx.send(
        "INSERT INTO wishes (host_id, noun, id, revision, generation, body, request_id)"
        f" VALUES (?, ?, ?, {_REVISION}, {_REVISION}, ?, ?)",
        (host_id, noun.value, id_, host_id, host_id, msgspec.json.encode(body).decode(), tx.request_id),
        part=id_,
    )


def wish_absence(tx: Tx, host_id: str, noun: Noun, id_: str) -> int:
    """Wish that the object is gone from the host; the wish's generation, 0 if the host never heard of it."""
    if find_generation(tx, host_id, noun, id_) is None:
        return 0
    return _put(tx, host_id, noun, id_, None)


def find_generation(tx: Tx, host_id: str, noun: Noun, id_: str) -> int | None:
    """The generation of the present wish, or None."""
    return ask_generation(tx, host_id, noun, id_)()


def ask_generation(tx: Tx, host_id: str, noun: Noun, id_: str) -> Callable[[], int | None]:
    """``find_generation`` for whoever has more to ask."""
    rows = tx.ask(_GENERATION, (host_id, noun.value, id_))
    return lambda: next((int(row[0]) for row in rows()), None)


def foresee_generation(tx: Tx, host_id: str, noun: Noun, id_: str) -> None:
    """``ask_generation`` will be called (``Tx.foresee``)."""
    tx.foresee(_GENERATION, (host_id, noun.value, id_), part=id_)


def map_generations(tx: Tx, host_id: str, keys: Collection[tuple[Noun, str]]) -> dict[tuple[Noun, str], int]:
    """The generations of the present wishes for these objects, and perhaps of others: one statement."""
    nouns, ids = sorted({noun.value for noun, _ in keys}), sorted({id_ for _, id_ in keys})
    rows = tx.all(
        f"SELECT noun, id, generation FROM wishes WHERE host_id = ? AND noun IN ({', '.join('?' * len(nouns))})"
        f" AND id IN ({', '.join('?' * len(ids))})",
        (host_id, *nouns, *ids),
    )
    return {(Noun(noun), id_): int(generation) for noun, id_, generation in rows}


def _put(tx: Tx, host_id: str, noun: Noun, id_: str, body: str | None) -> int:
    key = (host_id, noun.value, id_)
    row = tx.one(_WISH, key)
    if row is not None and row[1] == body:
        return int(row[0])
    revision = raise_revision(tx, host_id)
    if row is None:
        # A new wish starts at its host's revision, so that an object that comes back after its tombstone was
        # forgotten still has a larger generation than before.
        tx.send(
            "INSERT INTO wishes (host_id, noun, id, revision, generation, body, request_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, revision, revision, body, tx.request_id),
            part=id_,
        )
    else:
        tx.send(
            "UPDATE wishes SET revision = ?, generation = ?, body = ?, request_id = ?"
            " WHERE host_id = ? AND noun = ? AND id = ?",
            (revision, revision, body, tx.request_id, *key),
            part=id_,
        )
    return revision


def hosts_wishing(tx: Tx, noun: Noun, id_: str) -> list[str]:
    """Hosts that have a wish for the object's presence."""
    return [row[0] for row in tx.all(_HOSTS, (noun.value, id_))]


def foresee_hosts_wishing(tx: Tx, noun: Noun, id_: str) -> None:
    """``hosts_wishing`` will be called (``Tx.foresee``)."""
    tx.foresee(_HOSTS, (noun.value, id_), part=id_)


def foresee_wish(tx: Tx, host_id: str, noun: Noun, id_: str) -> None:
    """``set_wish`` or ``wish_absence`` will be called (``Tx.foresee``)."""
    tx.foresee(_WISH, (host_id, noun.value, id_), part=id_)


def list_wished(tx: Tx, host_id: str, nouns: Sequence[Noun]) -> list[Wish]:
    """The host's wishes of these nouns, those for absence included."""
    marks = ", ".join("?" * len(nouns))
    rows = tx.all(
        f"SELECT noun, id, generation, body, revision, request_id FROM wishes WHERE host_id = ? AND noun IN ({marks})",
        (host_id, *(noun.value for noun in nouns)),
    )
    return [_wish(r) for r in rows]


def find_wished(tx: Tx, host_id: str, keys: Sequence[tuple[Noun, str]]) -> set[tuple[Noun, str]]:
    """Those of the objects that the host is wished to have."""
    return {(Noun(noun), id_) for query in _wished_queries(host_id, keys) for noun, id_ in tx.all(*query)}


def foresee_wished(tx: Tx, host_id: str, keys: Sequence[tuple[Noun, str]]) -> None:
    """``find_wished`` will be called (``Tx.foresee``)."""
    for query in _wished_queries(host_id, keys):
        tx.foresee(*query)


def _wished_queries(host_id: str, keys: Sequence[tuple[Noun, str]]) -> Iterator[tuple[str, list[str]]]:
    """A look at the primary key for each object: of lists of nouns and ids, PostgreSQL without statistics reads all wishes of the host."""
    for start in range(0, len(keys), KEYS_MOST):
        part = keys[start : start + KEYS_MOST]
        sql = " UNION ALL ".join([_IS_WISHED] * len(part))
        yield sql, [value for noun, id_ in part for value in (host_id, noun.value, id_)]


def forget_wish(tx: Tx, host_id: str, noun: Noun, id_: str, generation: int) -> bool:
    """Drop a wish for absence that the host has fulfilled at ``generation``, and its report."""
    return (
        tx.execute(
            "DELETE FROM wishes WHERE host_id = ? AND noun = ? AND id = ? AND generation = ? AND body IS NULL",
            (host_id, noun.value, id_, generation),
        )
        > 0
    )


def read_feed(tx: Tx, host_id: str, since: int, limit: int, revision: int | None = None) -> Feed | None:
    """What changed after ``since``, None when nothing did. ``since=0`` is the full list, whatever its size.

    Otherwise at most ``limit`` wishes in the order of their revisions; ``revision`` then is that of the last of them. The host's own ``revision`` is
    read unless the transaction has done so.
    """
    if revision is None:
        row = tx.one("SELECT revision FROM hosts WHERE id = ?", (host_id,))
        assert row is not None, "the caller has looked the host up in this transaction"
        revision = int(row[0])
    if since == 0:
        rows = tx.all(
            "SELECT noun, id, generation, body, revision, request_id FROM wishes WHERE host_id = ?", (host_id,)
        )
        return Feed(revision, True, [_wish(r) for r in rows])
    if revision <= since:
        return None
    rows = tx.all(
        "SELECT noun, id, generation, body, revision, request_id FROM wishes WHERE host_id = ? AND revision > ?"
        " ORDER BY revision LIMIT ?",
        (host_id, since, limit),
    )
    reached = int(rows[-1][4]) if len(rows) == limit else revision
    return Feed(reached, False, [_wish(r) for r in rows])


def _wish(row: tuple[str, str, int, str | None, int, str]) -> Wish:
    noun, id_, generation, body, _revision, request_id = row
    return Wish(Noun(noun), id_, int(generation), None if body is None else msgspec.Raw(body.encode()), request_id)
