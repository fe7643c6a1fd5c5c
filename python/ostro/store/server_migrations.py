"""Migrations of servers between hosts, under way and past."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.limits import Scope
from ostro.store.table import Table


class Kind(StrEnum):
    """Why a server moves, as the API calls it."""

    LIVE = "live-migration"
    COLD = "migration"
    RESIZE = "resize"
    EVACUATION = "evacuation"


class Stage(StrEnum):
    """How far the wishes of its hosts have come: see ``services/compute/moving_wishes.py``."""

    PREPARING = "preparing"
    SENDING = "sending"
    CLOSING = "closing"
    REVERTING = "reverting"
    OVER = "over"


class ServerMigration(msgspec.Struct, frozen=True):
    """One migration. ``status`` is the API's. ``old_shape`` and ``new_shape`` are what a resize changes, by column of the server.

    ``leaving_host_id`` is the host that still has something of the server that it has to give up, empty when there is none; what is used
    there is the migration's own, as a consumer of Placement. Amounts are in bytes.
    """

    uuid: str
    id: int
    server_id: str
    project_id: str
    user_id: str
    kind: Kind
    status: str
    source_host_id: str
    source_host: str
    target_host_id: str
    target_host: str
    leaving_host_id: str
    disk_copied: bool
    stage: Stage
    landing: str
    reason: str
    request_id: str
    abort_asked: bool
    force_asked: bool
    old_shape: dict[str, Any]
    new_shape: dict[str, Any]
    memory_total: int
    memory_processed: int
    memory_remaining: int
    disk_total: int
    disk_processed: int
    disk_remaining: int
    created_at_us: int
    updated_at_us: int


SERVER_MIGRATIONS = Table("server_migrations", ServerMigration, key="uuid", noun="migration")


def new_migration(
    uuid: str,
    number: int,
    server_id: str,
    project_id: str,
    user_id: str,
    kind: Kind,
    status: str,
    *,
    source: tuple[str, str],
    target: tuple[str, str],
    request_id: str,
    now_us: int,
) -> ServerMigration:
    """A migration that has just begun. ``source`` and ``target`` are ids and names of hosts."""
    return ServerMigration(
        uuid=uuid,
        id=number,
        server_id=server_id,
        project_id=project_id,
        user_id=user_id,
        kind=kind,
        status=status,
        source_host_id=source[0],
        source_host=source[1],
        target_host_id=target[0],
        target_host=target[1],
        leaving_host_id="",
        disk_copied=False,
        stage=Stage.PREPARING,
        landing="",
        reason="",
        request_id=request_id,
        abort_asked=False,
        force_asked=False,
        old_shape={},
        new_shape={},
        memory_total=0,
        memory_processed=0,
        memory_remaining=0,
        disk_total=0,
        disk_processed=0,
        disk_remaining=0,
        created_at_us=now_us,
        updated_at_us=now_us,
    )


def next_number(tx: Tx) -> int:
    """A number for a new migration."""
    row = tx.one("SELECT coalesce(max(id), 0) + 1 FROM server_migrations")
    assert row is not None
    return int(row[0])


def sum_resizes(tx: Tx, scope: Scope) -> tuple[int, int, int]:
    """(vCPUs, MB, GB) by which the larger shapes of servers that are being resized are above what their rows have."""
    rows = tx.all(
        "SELECT s.vcpus, s.ram_mb, s.disk_gb, m.old_shape, m.new_shape FROM servers s"
        " JOIN server_migrations m ON m.uuid = s.migration_id"
        f" WHERE s.deleted_at_us = 0 AND s.migration_id <> '' AND m.kind = ? AND {scope.on('s.project_id')}",
        (Kind.RESIZE.value, *scope.params),
    )
    totals = [0, 0, 0]
    for *now, old, new in rows:
        shapes = [msgspec.json.decode(shape, type=dict[str, Any]) for shape in (old, new)]
        for at, name in enumerate(("vcpus", "ram_mb", "disk_gb")):
            totals[at] += max(0, *(int(shape.get(name, 0)) - int(now[at]) for shape in shapes))
    return totals[0], totals[1], totals[2]


def list_leaving(tx: Tx, server_id: str) -> list[ServerMigration]:
    """The migrations of a server after which a host has yet to give up what it has of it."""
    return SERVER_MIGRATIONS.select(
        tx, "WHERE server_id = ? AND leaving_host_id <> '' ORDER BY created_at_us, uuid", (server_id,)
    )


def list_unconfirmed(tx: Tx, before_us: int, limit: int) -> list[ServerMigration]:
    """Resizes and cold migrations that have waited to be confirmed since before then."""
    return SERVER_MIGRATIONS.select(
        tx, "WHERE status = 'finished' AND updated_at_us < ? ORDER BY updated_at_us LIMIT ?", (before_us, limit)
    )
