"""Checkers: what must hold at every moment, whatever has happened.

A checker of rows is a function ``check_noun(tx, now_us)`` that returns its complaints, none when all is well; it reads only. It may be run
on any database at any time between two transactions. What rows can't say is checked where it happens: `incarnations` listens to the hosts'
hypervisors, and `flows` asks a network driver. ``tests/sim/test_checkers.py`` plants a fault for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostro.store.database import Tx
from ostro.testing.checkers.addresses import check_addresses
from ostro.testing.checkers.claims import check_claims
from ostro.testing.checkers.quotas import check_quotas
from ostro.testing.checkers.sagas import check_sagas
from ostro.testing.checkers.wishes import check_server_wishes, check_wishes

RowChecker = Callable[[Tx, int], list[str]]

ROW_CHECKERS: Mapping[str, RowChecker] = {
    "claims": check_claims,
    "addresses": check_addresses,
    "wishes": check_wishes,
    "server wishes": check_server_wishes,
    "sagas": check_sagas,
    "quotas": check_quotas,
}
