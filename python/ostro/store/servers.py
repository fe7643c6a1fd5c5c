"""Servers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from ostro.model.servers import PowerState, TaskState, VmState
from ostro.model.wishes import KeyWish, Power
from ostro.store.changes import TOPIC
from ostro.store.database import Tx
from ostro.store.limits import Scope
from ostro.store.server_migrations import sum_resizes
from ostro.store.table import Table


class Fault(msgspec.Struct, frozen=True):
    """Why a server is in ERROR. ``code`` is 500, or the status of whoever's mistake it was."""

    code: int
    message: str
    details: str
    created_at_us: int


class Server(msgspec.Struct, frozen=True):
    """One server. ``flavor`` is what it was made from, as JSON in the API's form. ``ports`` are in the order of the guest's NICs.

    ``power``, ``reboots`` and ``reboot_hard`` are the wish. ``status`` and the three states are written by ``refresh_status`` alone.
    ``migration_id`` is the migration that is under way or, when the server is ``resized``, waits to be confirmed; ``moving`` is its task.
    ``taken_from`` is the host that may not know yet that it has lost the server.
    """

    id: str
    project_id: str
    user_id: str
    name: str
    description: str | None
    hostname: str
    flavor_id: str
    flavor: str
    vcpus: int
    ram_mb: int
    disk_gb: int
    image_id: str
    root_volume_id: str
    key_name: str | None
    metadata: dict[str, str]
    tags: list[str]
    ports: list[str]
    access_ipv4: str
    access_ipv6: str
    disk_config: str
    config_drive: bool
    zone_asked: str
    reservation_id: str
    launch_index: int
    group_id: str
    locked: bool
    locked_reason: str | None
    host_id: str
    host_name: str
    power: Power
    reboots: int
    reboot_hard: bool
    failed: bool
    fault: Fault | None
    deleting: bool
    status: str
    vm_state: VmState
    task_state: TaskState
    power_state: PowerState
    created_at_us: int
    updated_at_us: int
    launched_at_us: int
    deleted_at_us: int
    migration_id: str = ""
    moving: TaskState = TaskState.NONE
    resized: bool = False
    taken_from: str = ""


SERVERS = Table("servers", Server, noun="instance", rings=TOPIC)


class ServerStart(msgspec.Struct, frozen=True):
    """What a server is started with. ``user_data`` is base64."""

    server_id: str
    user_data: str
    keys: list[KeyWish]


SERVER_STARTS = Table("server_starts", ServerStart, key="server_id")


def ask_user_data(tx: Tx, server_ids: Sequence[str]) -> Callable[[], dict[str, str]]:
    """User data by server, of those that have some."""
    if not server_ids:
        return dict
    marks = ", ".join("?" * len(server_ids))
    rows = tx.ask(
        f"SELECT server_id, user_data FROM server_starts WHERE user_data <> '' AND server_id IN ({marks})",
        tuple(server_ids),
    )
    return lambda: {row[0]: row[1] for row in rows()}


def list_group_members(tx: Tx, group_ids: Collection[str]) -> list[tuple[str, str, str]]:
    """(group, server, host) of the living servers of these groups."""
    if not group_ids:
        return []
    marks = ", ".join("?" * len(group_ids))
    rows = tx.all(
        f"SELECT group_id, id, host_id FROM servers WHERE group_id IN ({marks}) AND deleted_at_us = 0"
        " ORDER BY created_at_us, id",
        tuple(group_ids),
    )
    return [(row[0], row[1], row[2]) for row in rows]


COUNTED_BY_NAME_MOST = 1000
"""For more hosts than this, all are counted."""


def count_by_host(tx: Tx, host_ids: Sequence[str]) -> dict[str, int]:
    """Living servers by host, at least of these hosts."""
    if not host_ids:
        return {}
    few = len(host_ids) <= COUNTED_BY_NAME_MOST
    where, params = (f"host_id IN ({', '.join('?' * len(host_ids))})", host_ids) if few else ("host_id <> ''", ())
    rows = tx.all(f"SELECT host_id, count(*) FROM servers WHERE deleted_at_us = 0 AND {where} GROUP BY host_id", params)
    return {row[0]: int(row[1]) for row in rows}


def count_on_hosts(tx: Tx) -> int:
    """Living servers that are on a host."""
    return SERVERS.count_where(tx, "deleted_at_us = 0 AND host_id <> ''")


def sum_servers(tx: Tx, scope: Scope) -> tuple[int, int, int, int]:
    """(servers, vCPUs, MB, GB of root disks) of a project, or of several: as the database has added them up (``server_use``).

    While a server is being resized, and until that is confirmed or taken back, the larger of its two shapes counts.
    """
    row = tx.one(*_summing(scope))
    assert row is not None
    more = sum_resizes(tx, scope) if row[4] else (0, 0, 0)
    return int(row[0]), int(row[1]) + more[0], int(row[2]) + more[1], int(row[3]) + more[2]


def foresee_servers_sum(tx: Tx, scope: Scope) -> None:
    """``sum_servers`` will be asked (``Tx.foresee``)."""
    tx.foresee(*_summing(scope))


def _summing(scope: Scope) -> tuple[str, tuple[str, ...]]:
    # Said twice, because only so SQLite takes the index of those that move; by any other it reads all of the project's.
    sql = (
        "SELECT coalesce(sum(servers), 0), coalesce(sum(vcpus), 0), coalesce(sum(ram_mb), 0), coalesce(sum(disk_gb), 0),"
        " (SELECT count(*) FROM servers moving WHERE moving.deleted_at_us = 0 AND moving.migration_id <> ''"
        " AND moving.migration_id > ''"
        f" AND {scope.on('moving.project_id')})"
        f" FROM server_use WHERE {scope.on('server_use.project_id')}"
    )
    return sql, (*scope.params, *scope.params)


def list_wrong_sums(tx: Tx) -> list[str]:
    """Projects whose servers don't add up to what is noted of them: never any."""
    rows = tx.all(
        "SELECT project_id FROM (SELECT project_id, servers, vcpus, ram_mb, disk_gb FROM server_use"
        " UNION ALL SELECT project_id, -1, -vcpus, -ram_mb, -disk_gb FROM servers WHERE deleted_at_us = 0) AS both_ways"
        " GROUP BY project_id HAVING sum(servers) <> 0 OR sum(vcpus) <> 0 OR sum(ram_mb) <> 0 OR sum(disk_gb) <> 0"
        " ORDER BY project_id"
    )
    return [row[0] for row in rows]


def count_group_members(tx: Tx, group_id: str) -> int:
    """Living servers of a group."""
    return SERVERS.count(tx, group_id=group_id, deleted_at_us=0)


def forget_tombstones(tx: Tx, before_us: int, limit: int) -> int:
    """Drop rows of servers deleted before then, with their actions; how many."""
    rows = tx.all(
        "SELECT id FROM servers WHERE deleted_at_us > 0 AND deleted_at_us < ? ORDER BY deleted_at_us LIMIT ?",
        (before_us, limit),
    )
    ids = tuple(row[0] for row in rows)
    if ids:
        marks = ", ".join("?" * len(ids))
        tx.execute(f"DELETE FROM instance_actions WHERE server_id IN ({marks})", ids)
        tx.execute(f"DELETE FROM server_migrations WHERE leaving_host_id = '' AND server_id IN ({marks})", ids)
        tx.execute(f"DELETE FROM servers WHERE id IN ({marks})", ids)
    return len(ids)
