"""What dies in the demonstration with several hosts: a part of the control plane, and a host."""

from __future__ import annotations

import re

from ostro.cli.demo.hosts_steps import (
    FLAVOR,
    HOST_WAIT_S,
    MOVES,
    HostsDemo,
    answers_again,
    await_place,
    guests_of,
    losing_at_most,
    serve,
    steady,
)
from ostro.cli.demo.runner import Runner, StepFailed
from ostro.testing.machines import CONTROL_IP

MANY = 4
DEAD_WAIT_S = 120.0
AFTER = "after"


async def kill_the_control_plane(demo: HostsDemo, others: list[str]) -> None:
    """An API process and a controller die while servers are booted and deleted, and nobody but their clients notices."""
    run = demo.run
    with run.step("an API process and a controller killed with -9 amid it all: everything converges") as row:
        common = ["--image", "tiny", "--flavor", FLAVOR, "--network", "blue"]
        names = [f"many{number}" for number in range(MANY)]
        async with losing_at_most(run, 0.0):
            await run.together(*(["server", "create", name, *common] for name in names[: MANY // 2]))
            demo.apis[0].kill()
            demo.controllers[0].kill()
            _use_api(run, 8775)
            await run.together(*(["server", "create", name, *common] for name in names[MANY // 2 :]))
            await run.await_servers([*others, *names])
        demo.apis[0].start()
        demo.controllers[0].start()
        await run.openstack("server", "delete", "--wait", *names)
        row.result = f"{MANY} servers booted and deleted; a1 lost no ping to a2"


def _use_api(run: Runner, port: int) -> None:
    """Have the client speak to another API process."""
    text = run.clouds_yaml.read_text()
    run.clouds_yaml.write_text(re.sub(rf"{re.escape(CONTROL_IP)}:\d+", f"{CONTROL_IP}:{port}", text))


async def lose_a_host(demo: HostsDemo, name: str, lost: dict[str, str], others: list[str]) -> None:
    """A host loses its power: it is noticed, its servers are evacuated, and it comes back without them.

    ``lost`` are all its servers and where they shall go, empty for wherever there is room. One of them is the one that a1 pings.
    """
    run, machine = demo.run, demo.lab.machine(name)
    up = {one.name: "up" for one in demo.lab.machines}
    with run.step(f"{name} loses its power: noticed, and nothing is placed there any more") as row:
        machine.kill()
        demo.agents.pop(name).wait()
        await demo.await_states({**up, name: "down"}, DEAD_WAIT_S)
        await run.openstack("server", "create", AFTER, "--image", "tiny", "--flavor", FLAVOR, "--network", "blue")
        await run.await_servers([*others, *lost, AFTER])
        row.result = f"{AFTER} is on {await await_place(run, AFTER, '', left=name)}"
        await run.openstack("server", "delete", "--wait", AFTER)
    with run.step("its servers evacuated once it surely doesn't run them") as row:
        await run.openstack(*MOVES, "compute", "service", "set", "--down", name, "nova-compute")
        last = max(steady(await run.console("a1")))
        for server, place in lost.items():
            await run.openstack(*MOVES, "server", "evacuate", *(["--host", place] if place else []), server)
        places = {server: await await_place(run, server, place, left=name) for server, place in lost.items()}
        await answers_again(run, last)
        row.result = ", ".join(f"{server} on {place}" for server, place in places.items())
    with run.step("it comes back, without them") as row:
        machine.start()
        serve(demo, machine)
        await run.openstack(*MOVES, "compute", "service", "set", "--up", name, "nova-compute")
        await demo.await_states(up, HOST_WAIT_S)
        if guests := guests_of(machine):
            raise StepFailed(f"{name} runs {guests} guests")
        row.result = f"{name} is up and runs nothing"
