"""Live migrations that take long: one is aborted, one is forced to its end."""

from __future__ import annotations

from typing import Any

import trio

from ostro.cli.demo.hosts_steps import (
    MOVE_WAIT_S,
    MOVES,
    HostsDemo,
    await_place,
    guests_of,
    losing_at_most,
    virsh,
)
from ostro.cli.demo.runner import StepFailed

SLOW_MIB_S = "1"
STANDS_STILL_MOST_S = 10.0
"""A guest that is forced to its new host stands still until all of its memory is there."""
FORCING = ["--os-compute-api-version", "2.80"]


async def abort_and_force(demo: HostsDemo, name: str, host: str) -> None:
    """The server stays where it is when its migration is aborted, and goes when it is forced. Another one pings it."""
    run = demo.run
    server = await run.show("server", "show", name)
    source, compute = server["OS-EXT-SRV-ATTR:host"], demo.roles.connect().compute
    virsh(demo.lab.machine(source), "migrate-setspeed", server["id"], SLOW_MIB_S)
    with run.step(
        "a slow live migration aborted on its way: the server stays, and nothing of it is left elsewhere"
    ) as row:
        before = guests_of(demo.lab.machine(host)), await _used(demo, host)
        async with losing_at_most(run, 0.0):
            migration = await _begin(demo, name, host, compute, server["id"])
            # By the library: the command gives the server and the migration the wrong way round.
            await trio.to_thread.run_sync(compute.abort_server_migration, migration.id, server["id"])
            await _await_end(demo, migration.id, "cancelled", name, source)
        if (guests_of(demo.lab.machine(host)), await _used(demo, host)) != before:
            raise StepFailed(f"something of it is left on {host}")
        row.result = f"{name} is still on {source}, migration cancelled; no ping lost"
    with run.step("another one forced to its end") as row:
        async with losing_at_most(run, STANDS_STILL_MOST_S) as words:
            migration = await _begin(demo, name, host, compute, server["id"])
            await run.openstack(*FORCING, "server", "migration", "force", "complete", name, str(migration.id))
            await _await_end(demo, migration.id, "completed", name, host)
        row.result = f"{name} went to {host}; {words[0]}"


async def _begin(demo: HostsDemo, name: str, host: str, compute: Any, server_id: str) -> Any:
    """Begin a live migration; returns it when its guest is on the way and the API shows how far."""
    await demo.run.openstack(*MOVES, "server", "migrate", "--live-migration", "--host", host, name)
    with trio.move_on_after(MOVE_WAIT_S):
        while True:
            found = await trio.to_thread.run_sync(lambda: list(compute.server_migrations(server_id)))
            if not found:
                raise StepFailed("the migration is over already")
            if found[0].status == "running" and found[0].memory_total_bytes:
                return found[0]
            await trio.sleep(0.2)
    raise StepFailed("the migration did not begin to send")


async def _await_end(demo: HostsDemo, number: int, status: str, name: str, host: str) -> None:
    """Wait until the server is on the host, and the migration has ended so."""
    await await_place(demo.run, name, host)
    with trio.move_on_after(MOVE_WAIT_S):
        while True:
            listed = await demo.run.show(*FORCING, "server", "migration", "list", "--server", name)
            [seen] = [row["Status"] for row in listed if row["Id"] == number]
            if seen == status:
                return
            await trio.sleep(0.5)
    raise StepFailed(f"the migration is {seen}")


async def _used(demo: HostsDemo, host: str) -> int:
    """The virtual processors that are claimed on a host."""
    shown = await demo.run.show("hypervisor", "show", "--os-compute-api-version", "2.87", host)
    return int(shown["vcpus_used"])
