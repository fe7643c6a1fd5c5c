"""Server groups: which servers must be together, or apart."""

from __future__ import annotations

from typing import Any

import msgspec

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
