"""Disks that hosts share: a Ceph beside the control plane, which two of the hosts get while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import trio

from ostro.cli.demo.ceph import start_ceph
from ostro.cli.demo.hosts_bad_days import DEAD_WAIT_S
from ostro.cli.demo.hosts_steps import (
    FLAVOR,
    HOST_WAIT_S,
    LOST_MOST_S,
    MOVES,
    HostsDemo,
    answers_again,
    await_place,
    guests_of,
    losing_at_most,
    migrate_live,
    serve,
    steady,
    virsh,
)
from ostro.cli.demo.runner import StepFailed
from ostro.runtime.ceph.config import CephConfig
from ostro.testing.ceph import CephCluster, CephOptions
from ostro.testing.machines import CONTROL_IP, Machine

SHARING = ("h2", "h3")
TWICE = " and ".join(SHARING)
REGISTERED = '"event": "registered"'
REGISTER_WAIT_S = 120.0


@asynccontextmanager
async def ceph(demo: HostsDemo) -> AsyncIterator[None]:
    """Start a Ceph and give it to two of the hosts."""
    run = demo.run
    with run.step("Ceph started (monitor, OSD in memory, cephx)"):
        cluster = CephCluster(CephOptions(address=CONTROL_IP))
        cluster.__enter__()
    try:
        config = start_ceph(run, cluster)
        options = _options(config)
        with run.step("two of the hosts get it: their agents end and start again") as row:
            for name in SHARING:
                await _restart(demo, demo.lab.machine(name), options)
            row.result = f"disks of new servers on {' and '.join(SHARING)} are in it"
        yield
    finally:
        cluster.close()


def _options(config: CephConfig) -> list[str]:
    return ["--ceph", str(config.conf), "--ceph-user", config.user, "--ceph-pools", str(config.pools)]


async def _restart(demo: HostsDemo, machine: Machine, options: list[str]) -> None:
    """End a host's agent and start it with these options; returns when it has registered."""
    before = _registrations(machine)
    pid = orjson.loads((machine.state / "agent.lock").read_bytes())["pid"]
    machine.do("kill", str(pid))
    await trio.to_thread.run_sync(demo.agents.pop(machine.name).wait)
    serve(demo, machine, *options)
    with trio.move_on_after(REGISTER_WAIT_S):
        while _registrations(machine) == before:  # noqa: ASYNC110 - another process's log
            await trio.sleep(0.2)
        return
    raise StepFailed(f"the agent of {machine.name} has not registered again")


def _registrations(machine: Machine) -> int:
    return machine.log.read_text(errors="replace").count(REGISTERED)


async def boot_in_ceph(demo: HostsDemo) -> None:
    """A server with a2's address, so that a1 goes on pinging it."""
    run = demo.run
    with run.step("a server with its disk in Ceph takes a2's place") as row:
        await run.openstack("server", "delete", "--wait", "--all-projects", "a2", "b1")
        last = max(steady(await run.console("a1")))
        ports = ["--port", "a2", "--port", "g2"]
        common = ["--image", "tiny", "--flavor", FLAVOR, "--availability-zone", "nova:h2"]
        await run.openstack("server", "create", "shared", *common, *ports)
        await await_place(run, "shared", "h2")
        await answers_again(run, last)
        row.result = "shared on h2, and answers"


async def drain(demo: HostsDemo) -> None:
    """`ostro host drain` empties a host, under the same ping."""
    run = demo.run
    with run.step("a host drained by `ostro host drain`: its server moves live") as row:
        words = ["host", "drain", "h3", "--json", "--state", str(demo.roles.state)]
        async with losing_at_most(run, LOST_MOST_S) as lost:
            done = await trio.to_thread.run_sync(lambda: demo.roles.ostro(*words, check=False))
            moved = orjson.loads(done.stdout or "[]")
            if done.returncode or [(one["server"], one["host"], one["why not"]) for one in moved] != [
                ("shared", "h2", "")
            ]:
                raise StepFailed(f"{moved}; {done.stderr}")
        demo.roles.ostro("host", "enable", "h3", "--state", str(demo.roles.state))
        row.result = f"shared went to h2; {lost[0]}"


def _running(machine: Machine, server_id: str) -> bool:
    """Whether the server's guest runs there, as libvirt has it; one that stands still doesn't."""
    return virsh(machine, "domstate", server_id) == "running"


async def _watch(demo: HostsDemo, server_id: str, seen: dict[str, int]) -> None:
    """Look again and again where a server runs, and count, for ever."""
    while True:
        on = []
        for name in SHARING:
            if await trio.to_thread.run_sync(_running, demo.lab.machine(name), server_id):
                on.append(name)
        key = " and ".join(on) or "nowhere"
        seen[key] = seen.get(key, 0) + 1
        await trio.sleep(0.2)


async def cut_off(demo: HostsDemo) -> None:
    """A host loses its line while its guest runs on. The guest is stopped before another host has it, and never goes on."""
    run, machine = demo.run, demo.lab.machine("h2")
    up = {one.name: "up" for one in demo.lab.machines}
    server_id = (await run.show("server", "show", "shared"))["id"]
    seen: dict[str, int] = {}
    with run.step("h2 cut off with its guest running: never two of one server on one disk") as row:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, demo, server_id, seen)
            machine.unplug()
            await demo.await_states({**up, "h2": "down"}, DEAD_WAIT_S)
            await run.openstack(*MOVES, "compute", "service", "set", "--down", "h2", "nova-compute")
            last = max(steady(await run.console("a1")))
            await run.openstack(*MOVES, "server", "evacuate", "shared")
            await await_place(run, "shared", "h3")
            await answers_again(run, last)
            machine.plug()
            await run.openstack(*MOVES, "compute", "service", "set", "--up", "h2", "nova-compute")
            await demo.await_states(up, HOST_WAIT_S)
            with trio.move_on_after(HOST_WAIT_S):
                while guests_of(machine):  # noqa: ASYNC110 - processes of another machine
                    await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        if TWICE in seen:
            raise StepFailed(f"it ran on {TWICE}")
        if guests_of(machine):
            raise StepFailed("h2 still has it")
        row.result = (
            "looked at " + ", ".join(f"{count} times on {name}" for name, count in seen.items()) + ", never on two"
        )


async def share_disks(demo: HostsDemo) -> None:
    """All of it. No other server may be on h2 or h3."""
    async with ceph(demo):
        await boot_in_ceph(demo)
        await migrate_live(demo, "shared", "h3", "shared")
        await drain(demo)
        await cut_off(demo)
        await demo.run.openstack("server", "delete", "--wait", "shared")
