"""The audit log: an inbox that transactions write to, and the chain that records are sealed into.

A record in the inbox has no number, so writers never wait for one another. ``seal_records`` takes records out and chains them in one
transaction: each has the digest of itself and of the one before it. Two that seal at once are told apart by the inbox's rows, and
one of them starts over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class AuditRecord(msgspec.Struct, frozen=True):
    """A sealed record. ``body`` is the event in CADF's form; the columns before it repeat what is looked for."""

    seq: int
    id: str
    at_us: int
    project_id: str
    user_id: str
    action: str
    outcome: str
    target_id: str
    path: str
    body: str
    digest: str


class Chain(msgspec.Struct, frozen=True):
    """``seq`` and ``digest`` of the last record; the same of the last one that was removed by command."""

    id: int
    seq: int
    digest: str
    base_seq: int
    base_digest: str


AUDIT_RECORDS = Table("audit_records", AuditRecord, key="seq", noun="audit record")
CHAINS = Table("audit_chain", Chain, noun="audit chain")


def digest_of(before: str, seq: int, id_: str, at_us: int, body: str) -> str:
    """The digest of a record whose predecessor has the digest ``before``."""
    return hashlib.sha256(f"{before}\n{seq}\n{id_}\n{at_us}\n{body}".encode()).hexdigest()


def chained(before: str, seq: int, id_: str, at_us: int, body: str) -> AuditRecord:
    """The sealed form of a record."""
    event: dict[str, Any] = msgspec.json.decode(body)
    initiator, target = event["initiator"], event["target"]
    return AuditRecord(
        seq=seq,
        id=id_,
        at_us=at_us,
        project_id=initiator.get("project_id", ""),
        user_id=initiator["id"],
        action=event["action"],
        outcome=event["outcome"],
        target_id=target["id"],
        path=event["requestPath"],
        body=body,
        digest=digest_of(before, seq, id_, at_us, body),
    )


def put_record(tx: Tx, id_: str, at_us: int, body: str) -> None:
    """Put a record into the inbox."""
    tx.send("INSERT INTO audit_inbox (id, at_us, body) VALUES (?, ?, ?)", (id_, at_us, body))


def list_inbox(tx: Tx, limit: int) -> list[str]:
    """Ids of records that wait to be sealed."""
    return [row[0] for row in tx.all("SELECT id FROM audit_inbox LIMIT ?", (limit,))]


def find_chain(tx: Tx) -> Chain:
    """The chain's ends."""
    chain = CHAINS.find(tx, id=1)
    assert chain is not None, "the migration has made the row"
    return chain


def seal_records(tx: Tx, ids: Sequence[str]) -> Chain:
    """Move those of the records that are still in the inbox to the end of the chain, in the order of their times; the chain then."""
    # Whoever else seals now waits here and is told to try again, rather than find its number taken: for that there is no second try.
    tx.execute("UPDATE audit_chain SET seq = seq WHERE id = 1")
    chain = find_chain(tx)
    marks = ", ".join("?" * len(ids))
    rows = tx.all(f"DELETE FROM audit_inbox WHERE id IN ({marks}) RETURNING at_us, id, body", ids) if ids else []
    seq, digest = chain.seq, chain.digest
    records = []
    for at_us, id_, body in sorted(rows):
        seq += 1
        records.append(chained(digest, seq, id_, at_us, body))
        digest = records[-1].digest
    # Each statement gives the interpreter away, and under load gets it back milliseconds later: so there are few.
    AUDIT_RECORDS.insert_all(tx, records)
    if rows:
        tx.execute("UPDATE audit_chain SET seq = ?, digest = ? WHERE id = 1", (seq, digest))
    return msgspec.structs.replace(chain, seq=seq, digest=digest)


def list_records(tx: Tx, after: int, limit: int) -> list[AuditRecord]:
    """Records after a number, in order."""
    return AUDIT_RECORDS.select(tx, "WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))


class Search(msgspec.Struct, frozen=True):
    """What to look for; empty fields mean anything. ``action`` matches what begins with it, ``target`` an id or a part of the path."""

    project: str = ""
    user: str = ""
    action: str = ""
    outcome: str = ""
    target: str = ""
    since_us: int = 0


def search_records(tx: Tx, search: Search, before: int, limit: int) -> list[AuditRecord]:
    """Records with smaller numbers than ``before`` that match, the newest first."""
    parts, params = ["seq < ?"], list[object]([before])
    for column, value in (("project_id", search.project), ("user_id", search.user), ("outcome", search.outcome)):
        if value:
            parts.append(f"{column} = ?")
            params.append(value)
    if search.action:
        parts.append("(action = ? OR action LIKE ?)")
        params += [search.action, f"{search.action}/%"]
    if search.target:
        parts.append("(target_id = ? OR path LIKE ?)")
        params += [search.target, f"%{search.target}%"]
    if search.since_us:
        parts.append("at_us >= ?")
        params.append(search.since_us)
    return AUDIT_RECORDS.select(tx, f"WHERE {' AND '.join(parts)} ORDER BY seq DESC LIMIT ?", (*params, limit))


def last_before(tx: Tx, before_us: int) -> AuditRecord | None:
    """The last record of those that are older than a time without a younger one before them."""
    row = tx.one("SELECT min(seq) FROM audit_records WHERE at_us >= ?", (before_us,))
    end = row[0] if row is not None else None
    tail = "ORDER BY seq DESC LIMIT 1" if end is None else "WHERE seq < ? ORDER BY seq DESC LIMIT 1"
    found = AUDIT_RECORDS.select(tx, tail, () if end is None else (end,))
    return found[0] if found else None


def remove_records(tx: Tx, last: AuditRecord) -> int:
    """Remove every record up to this one and remember that the chain begins after it; how many."""
    tx.execute("UPDATE audit_chain SET base_seq = ?, base_digest = ? WHERE id = 1", (last.seq, last.digest))
    return tx.execute("DELETE FROM audit_records WHERE seq <= ?", (last.seq,))
