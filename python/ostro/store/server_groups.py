"""Server groups: which servers must be together, or apart."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.limits import Scope
from ostro.store.table import Table


class ServerGroup(msgspec.Struct, frozen=True):
    """A group. ``policy`` is affinity, anti-affinity, or their soft forms."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    rules: dict[str, Any]
    created_at_us: int


SERVER_GROUPS = Table("server_groups", ServerGroup, noun="instance group")


def count_server_groups(tx: Tx, scope: Scope) -> int:
    """How many a project, or several, have."""
    row = tx.one(f"SELECT count(*) FROM server_groups WHERE {scope.on('project_id')}", scope.params)
    assert row is not None
    return int(row[0])
