"""Instance actions: what was asked of a server, by whom, and how it ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec

from ostro.model.wishes import Stage
from ostro.store.database import Tx
from ostro.store.table import Table

SUCCESS, ERROR = "Success", "Error"


class InstanceAction(msgspec.Struct, frozen=True):
    """One action with its one event. ``finished_at_us`` is 0 and ``result`` empty while it goes on; no ``event`` means there is none."""

    server_id: str
    request_id: str
    action: str
    user_id: str
    project_id: str
    event: str
    host_name: str
    message: str | None
    result: str
    started_at_us: int
    finished_at_us: int
    stages: list[Stage] = []

    @property
    def updated_at_us(self) -> int:
        """When it last changed."""
        return self.finished_at_us or self.started_at_us


INSTANCE_ACTIONS = Table("instance_actions", InstanceAction, key="request_id", noun="action", part="server_id")


def finish_actions(
    tx: Tx, server_id: str, actions: Collection[str], *, result: str, message: str | None, now_us: int
) -> None:
    """End every unfinished action of these kinds."""
    marks = ", ".join("?" * len(actions))
    tx.send(
        "UPDATE instance_actions SET result = ?, message = ?, finished_at_us = ?"
        f" WHERE server_id = ? AND finished_at_us = 0 AND action IN ({marks})",
        (result, message, now_us, server_id, *actions),
        part=server_id,
    )


_NEWEST: Final[dict[str, Any]] = {"finished_at_us": 0, "order": "started_at_us DESC, request_id DESC", "limit": 1}


def find_under_way(tx: Tx, server_id: str) -> InstanceAction | None:
    """The newest action that has not ended."""
    found = INSTANCE_ACTIONS.list(tx, server_id=server_id, **_NEWEST)
    return found[0] if found else None


def foresee_under_way(tx: Tx, server_id: str) -> None:
    """``find_under_way`` will be asked (``Tx.foresee``)."""
    INSTANCE_ACTIONS.foresee(tx, server_id=server_id, **_NEWEST)
