"""Checking the audit log against itself and against what the state directory has signed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ostro.model.errors import Conflict
from ostro.services.audit.anchors import BASE, Anchor, Anchors
from ostro.store.audit import AuditRecord, Chain, chained, find_chain, last_before, list_records, remove_records
from ostro.store.database import Database

PAGE = 1000
FINDINGS_MOST = 20


@dataclass
class Verdict:
    """What a check has found. ``anchored`` is the last number that the state directory vouches for."""

    records: int = 0
    first: int = 0
    last: int = 0
    anchored: int = 0
    findings: list[str] = field(default_factory=list)

    def find(self, text: str) -> None:
        """Add a finding; beyond a bound only the first are kept."""
        if len(self.findings) < FINDINGS_MOST:
            self.findings.append(text)


async def verify(db: Database, anchors: Anchors) -> Verdict:
    """Go through the whole log. Memory is bounded; records that are added meanwhile are checked too."""
    verdict = Verdict()
    head, marks = anchors.head(), anchors.checkpoints()
    chain: Chain = await db.read(find_chain)
    _check_base(verdict, chain, marks)
    wanted = {mark.seq: mark for mark in ([head] if head else []) + [m for m in marks if m.seq > chain.base_seq]}
    verdict.anchored = max(wanted, default=0)
    seq, digest = chain.base_seq, chain.base_digest
    while page := await db.read(list_records, seq, PAGE):
        for record in page:
            if record.seq != seq + 1:
                verdict.find(f"Records {seq + 1} to {record.seq - 1} are missing.")
            _check_record(verdict, record, digest)
            mark = wanted.pop(record.seq, None)
            if mark is not None and mark.digest != record.digest:
                verdict.find(f"Record {record.seq} is not the one that was signed in the state directory.")
            seq, digest = record.seq, record.digest
            verdict.records += 1
            verdict.first = verdict.first or record.seq
        verdict.last = seq
    if chain.seq > seq:
        verdict.find(f"The log ends at record {seq}, but {chain.seq} were sealed.")
    for missing in sorted(mark for mark in wanted if mark > seq):
        verdict.find(f"The log ends at record {seq}, but record {missing} was signed in the state directory.")
    return verdict


def _check_base(verdict: Verdict, chain: Chain, marks: list[Anchor]) -> None:
    if chain.base_seq and not any(
        m.kind == BASE and (m.seq, m.digest) == (chain.base_seq, chain.base_digest) for m in marks
    ):
        verdict.find(f"The log begins after record {chain.base_seq}, and no command to remove older ones was signed.")


def _check_record(verdict: Verdict, record: AuditRecord, before: str) -> None:
    try:
        right = chained(before, record.seq, record.id, record.at_us, record.body)
    except (ValueError, KeyError, TypeError):
        right = None
    if record != right:
        verdict.find(f"Record {record.seq} was changed, or the one before it was.")


async def prune(db: Database, anchors: Anchors, before_us: int, now_us: int) -> int:
    """Remove the records older than a time, from the beginning of the log on; how many.

    The new beginning is signed first: a crash in between leaves the log whole. Raises Conflict when the log is not sound.
    """
    verdict = await verify(db, anchors)
    if verdict.findings:
        raise Conflict(f"The log is not sound, so nothing is removed. {verdict.findings[0]}")
    last = await db.read(last_before, before_us)
    if last is None:
        return 0
    anchors.rebase(last.seq, last.digest, now_us)
    return await db.run(remove_records, last)
