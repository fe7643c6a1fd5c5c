"""Server rows for tests that need a server and not the Compute API."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.model.servers import PowerState, TaskState, VmState
from ostro.model.wishes import Power
from ostro.store.database import Tx
from ostro.store.server_migrations import SERVER_MIGRATIONS, Kind, ServerMigration, Stage, new_migration
from ostro.store.servers import SERVERS, Server

SERVER = Server(
    id="s",
    project_id="p",
    user_id="u",
    name="web",
    description=None,
    hostname="web",
    flavor_id="f",
    flavor="{}",
    vcpus=2,
    ram_mb=64,
    disk_gb=1,
    image_id="",
    root_volume_id="",
    key_name=None,
    metadata={},
    tags=[],
    ports=[],
    access_ipv4="",
    access_ipv6="",
    disk_config="MANUAL",
    config_drive=False,
    zone_asked="",
    reservation_id="r-1",
    launch_index=0,
    group_id="",
    locked=False,
    locked_reason=None,
    host_id="h",
    host_name="host",
    power=Power.ON,
    reboots=0,
    reboot_hard=False,
    failed=False,
    fault=None,
    deleting=False,
    status="ACTIVE",
    vm_state=VmState.ACTIVE,
    task_state=TaskState.NONE,
    power_state=PowerState.RUNNING,
    created_at_us=1,
    updated_at_us=1,
    launched_at_us=1,
    deleted_at_us=0,
)


def put_server(tx: Tx, /, **changes: Any) -> Server:
    """Add a running server of 2 vCPUs and 64 MB, with ``changes``."""
    return SERVERS.insert(tx, msgspec.structs.replace(SERVER, **changes))


def put_migration(tx: Tx, uuid: str, server_id: str, project_id: str) -> ServerMigration:
    """Add a cold migration from host ``a`` to host ``b`` that is over."""
    row = new_migration(
        uuid,
        int(uuid.removeprefix("m")),
        server_id,
        project_id,
        "u",
        Kind.COLD,
        "confirmed",
        source=("ha", "a"),
        target=("hb", "b"),
        request_id="req-1",
        now_us=1,
    )
    return SERVER_MIGRATIONS.insert(tx, msgspec.structs.replace(row, stage=Stage.OVER))
