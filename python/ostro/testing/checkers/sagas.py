"""Sagas: whatever is under way is being looked after, and nobody has forgotten it."""

from __future__ import annotations

from ostro.store.database import Tx
from ostro.store.sagas import SAGAS

FORGOTTEN_US = 120_000_000
"""Runners look every few seconds, and a process that dies is soon replaced."""
UNFINISHED_SERVERS = (
    "SELECT id FROM servers WHERE deleted_at_us = 0 AND (deleting = 1 OR (launched_at_us = 0 AND failed = 0))"
    " AND id NOT IN (SELECT object_id FROM sagas) ORDER BY id"
)
UNFINISHED_VOLUMES = (
    "SELECT id FROM volumes WHERE (deleting = 1 OR status IN ('creating', 'extending', 'deleting', 'retyping'))"
    " AND id NOT IN (SELECT object_id FROM sagas) ORDER BY id"
)


def check_sagas(tx: Tx, now_us: int) -> list[str]:
    """See `ostro.testing.checkers`."""
    complaints = [f"server {row[0]} is under way and no saga looks after it" for row in tx.all(UNFINISHED_SERVERS)]
    complaints += [f"volume {row[0]} is under way and no saga looks after it" for row in tx.all(UNFINISHED_VOLUMES)]
    for saga in SAGAS.list(tx, order="id"):
        due_us = max(saga.due_us, saga.updated_at_us)
        if saga.due_us and due_us < now_us - FORGOTTEN_US:
            late_s = (now_us - due_us) // 1_000_000
            complaints.append(f"saga {saga.kind} of {saga.object_id} is {late_s} s late at step {saga.step}")
    return complaints
