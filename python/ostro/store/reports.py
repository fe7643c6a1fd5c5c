"""What hosts found: the latest report per object and host."""

from __future__ import annotations

import msgspec

from ostro.model.wishes import Noun, Phase, Report
from ostro.store.database import Tx

_DECODER = msgspec.json.Decoder(Report)


def put_report(tx: Tx, host_id: str, report: Report, now_us: int) -> bool:
    """Keep ``report`` if the host still has a wish for the object and it is not older than the report that is there.

    Returns whether it was kept. Generations are compared, never times.
    """
    known = tx.one(
        "SELECT generation FROM wishes WHERE host_id = ? AND noun = ? AND id = ?",
        (host_id, report.noun.value, report.id),
    )
    if known is None or report.generation > int(known[0]):
        return False
    body = msgspec.json.encode(report).decode()
    return (
        tx.execute(
            "INSERT INTO reports (host_id, noun, id, generation, phase, body, at_us) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (host_id, noun, id) DO UPDATE SET generation = excluded.generation,"
            " phase = excluded.phase, body = excluded.body, at_us = excluded.at_us"
            " WHERE reports.generation <= excluded.generation",
            (host_id, report.noun.value, report.id, report.generation, report.phase.value, body, now_us),
        )
        > 0
    )


def find_report(tx: Tx, host_id: str, noun: Noun, id_: str) -> Report | None:
    """The host's latest report on the object, of whatever generation."""
    row = tx.one("SELECT body FROM reports WHERE noun = ? AND id = ? AND host_id = ?", (noun.value, id_, host_id))
    return None if row is None else _DECODER.decode(row[0])


def find_current_report(tx: Tx, host_id: str, noun: Noun, id_: str) -> Report | None:
    """The host's report on the wish as it stands now; None while the host has not come to it."""
    row = tx.one(
        "SELECT r.body FROM reports r JOIN wishes w ON w.host_id = r.host_id AND w.noun = r.noun AND w.id = r.id"
        " WHERE r.noun = ? AND r.id = ? AND r.host_id = ? AND r.generation = w.generation",
        (noun.value, id_, host_id),
    )
    return None if row is None else _DECODER.decode(row[0])


def is_absent(tx: Tx, host_id: str, noun: Noun, id_: str) -> bool:
    """Whether the host is known not to have the object: it never heard of it, or has reported its absence as wished."""
    row = tx.one(
        "SELECT w.body, w.generation, r.generation, r.phase FROM wishes w LEFT JOIN reports r"
        " ON r.host_id = w.host_id AND r.noun = w.noun AND r.id = w.id"
        " WHERE w.host_id = ? AND w.noun = ? AND w.id = ?",
        (host_id, noun.value, id_),
    )
    if row is None:
        return True
    body, wished, reported, phase = row
    return body is None and reported == wished and phase == Phase.ABSENT.value
