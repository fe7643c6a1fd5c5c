"""What hosts found: the latest report per object and host."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ostro.model.wishes import Noun, Phase, Report
from ostro.store.database import Tx
from ostro.store.wishes import map_generations

ROWS_MOST = 100
"""Reports in one statement."""
_DECODER = msgspec.json.Decoder(Report)


def put_reports(tx: Tx, host_id: str, reports: Sequence[Report], now_us: int) -> list[Report]:
    """Keep those of the reports of whose objects the host still has a wish, and that are not older than what is there; these, in order.

    Generations are compared, never times. Two statements for any number of objects.
    """
    kept: list[Report] = []
    rest = list(reports)
    while rest:
        # Of several reports of one object, one after the other.
        first = {(report.noun, report.id): report for report in reversed(rest[:ROWS_MOST])}
        kept += _put(tx, host_id, list(reversed(first.values())), now_us)
        rest = [report for report in rest if first.get((report.noun, report.id)) is not report]
    return kept


def _put(tx: Tx, host_id: str, reports: Sequence[Report], now_us: int) -> list[Report]:
    known = map_generations(tx, host_id, [(report.noun, report.id) for report in reports])
    rows = [
        (host_id, r.noun.value, r.id, r.generation, r.phase.value, msgspec.json.encode(r).decode(), now_us)
        for r in reports
        if r.generation <= known.get((r.noun, r.id), -1)
    ]
    if not rows:
        return []
    written = tx.all(
        "INSERT INTO reports (host_id, noun, id, generation, phase, body, at_us)"
        f" VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?)'] * len(rows))}"
        " ON CONFLICT (host_id, noun, id) DO UPDATE SET generation = excluded.generation,"
        " phase = excluded.phase, body = excluded.body, at_us = excluded.at_us"
        " WHERE reports.generation <= excluded.generation RETURNING noun, id",
        [value for row in rows for value in row],
    )
    keys = {(noun, id_) for noun, id_ in written}
    return [report for report in reports if (report.noun.value, report.id) in keys]


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
