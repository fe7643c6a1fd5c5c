"""What the demonstration with several hosts does, and what must be seen at each step. `hosts_bad_days` has what dies, `hosts_shared` disks in a Ceph.

The first tenant (``admin``) has servers ``a1`` and ``a2`` on different hosts of a VXLAN network; the second one (``red``) has ``b1`` with addresses of the same
subnet. ``a1`` pings all the time and says of each target whether it answers.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from ostro.cli.demo.runner import Runner, StepFailed
from ostro.cli.demo.steps import last_with, rounds
from ostro.testing.machines import CONTROL_IP, Lab, Machine
from ostro.testing.roles import Part, Roles

FLAVOR = "m1.nano"
CIDR = "10.66.0.0/24"
PINGER_IP, PEER_IP, SHUT_IP, FOREIGN_IP = "10.66.0.10", "10.66.0.20", "10.66.0.30", "10.66.0.40"
GRE_CIDR = "10.77.0.0/24"
GRE_IPS = ("10.77.0.10", "10.77.0.20")
RED = ["--os-project-name", "red"]
COUNT_GUESTS = "ls -l /proc/*/exe 2>/dev/null | grep -c qemu-system || true"
STEADY_S = 0.2
LOST_MOST_S = 1.0
MOVES = ["--os-compute-api-version", "2.79"]
"""What the client must be told to move servers to hosts by their names."""
MOVE_WAIT_S = 180.0
HOST_WAIT_S = 90.0

PINGER = """#!/bin/sh
{first}
n=0
while :; do
  n=$((n+1))
  for target in {targets}; do
    if ping -c 1 -W 1 ${{target#*:}} > /dev/null 2>&1; then word=answers; else word=silent; fi
    echo "DEMO $n ${{target%%:*}} $word" > /dev/console
  done
  sleep 0.3
done &
"""


@dataclass
class HostsDemo:
    """What the steps work with."""

    run: Runner
    lab: Lab
    roles: Roles
    image: Path
    agent_options: list[str] = field(default_factory=list)
    """What every host's agent is started with."""
    apis: list[Part] = field(default_factory=list)
    controllers: list[Part] = field(default_factory=list)
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    async def states(self) -> dict[str, str]:
        """Every host and whether it is up."""
        listed = await self.run.show("compute", "service", "list", "--service", "nova-compute")
        return {row["Host"]: row["State"] for row in listed}

    async def await_states(self, wanted: dict[str, str], timeout_s: float) -> None:
        """Wait until the hosts are as wanted. Raises StepFailed."""
        seen: dict[str, str] = {}
        with trio.move_on_after(timeout_s):
            while True:
                seen = await self.states()
                if seen == wanted:
                    return
                await trio.sleep(0.5)
        raise StepFailed(f"the hosts are {seen}")


def serve(demo: HostsDemo, machine: Machine, *more: str) -> None:
    """Start a host's agent."""
    words = ["agent", "--state", str(machine.state), "--migrate-on", machine.address, *demo.agent_options, *more]
    demo.agents[machine.name] = machine.spawn(sys.executable, "-m", "ostro", *words)


def guests_of(machine: Machine) -> int:
    """How many guests it runs."""
    return int(machine.do("sh", "-c", COUNT_GUESTS))


def virsh(machine: Machine, *words: str) -> str:
    """Ask the host's own libvirt; what it prints, nothing where it fails."""
    socket = machine.state / "host" / "libvirt" / "run" / "libvirt-sock"
    command = ["virsh", "--connect", f"qemu+unix:///system?socket={socket}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


async def let_hosts_join(demo: HostsDemo) -> None:
    """Every host joins by one token, and serves."""
    run = demo.run
    with run.step("hosts joined by a token, agents serve by mutual TLS") as row:
        token = demo.roles.token("--uses", str(len(demo.lab.machines)))
        for machine in demo.lab.machines:
            words = ["--state", str(machine.state), "--name", machine.name, "--private-parts"]
            machine.do(sys.executable, "-m", "ostro", "join", f"https://{CONTROL_IP}:8774", token, *words)
            serve(demo, machine)
        await demo.await_states(dict.fromkeys((m.name for m in demo.lab.machines), "up"), HOST_WAIT_S)
        row.result = ", ".join(f"{m.name} at {m.address}" for m in demo.lab.machines)


async def make_networks(demo: HostsDemo) -> None:
    """Image, flavor, two tenants with equal addresses, a closed group, a GRE network."""
    run = demo.run
    with run.step("image, flavor, two tenants whose networks have the same addresses") as row:
        created = ["image", "create", "tiny", "--disk-format", "qcow2", "--container-format", "bare", "--public"]
        await run.openstack(*created, "--file", str(demo.image))
        await run.together(
            ["flavor", "create", FLAVOR, "--vcpus", "1", "--ram", "96", "--disk", "1"],
            ["network", "create", "blue"],
            ["network", "create", "gre", "--provider-network-type", "gre", "--provider-segment", "77"],
            ["security", "group", "create", "shut", "--description", "no ingress"],
            ["security", "group", "create", "friends"],
            ["project", "create", "red"],
        )
        await run.openstack("role", "add", "--user", "admin", "--project", "red", "admin")
        await run.openstack(*RED, "network", "create", "red")
        await run.together(
            ["subnet", "create", "blue", "--network", "blue", "--subnet-range", CIDR],
            ["subnet", "create", "gre", "--network", "gre", "--subnet-range", GRE_CIDR, "--gateway", "none"],
            [*RED, "subnet", "create", "red", "--network", "red", "--subnet-range", CIDR],
        )
        networks = {name: await run.show("network", "show", name) for name in ("blue", "gre")}
        row.result = ", ".join(
            f"{name}: {shown['provider:network_type']} {shown['provider:segmentation_id']}"
            for name, shown in networks.items()
        )
    with run.step("ports with known addresses"):
        groups = await run.show("security", "group", "list", "--project", "admin")
        [default] = [group["ID"] for group in groups if group["Name"] == "default"]
        ports = {
            "a1": ["blue", PINGER_IP, "--security-group", default, "--security-group", "friends"],
            "a2": ["blue", PEER_IP],
            "shut": ["blue", SHUT_IP, "--security-group", "shut"],
            "g1": ["gre", GRE_IPS[0]],
            "g2": ["gre", GRE_IPS[1]],
        }
        await run.together(
            *(
                ["port", "create", name, "--network", network, "--fixed-ip", f"ip-address={ip}", *more]
                for name, (network, ip, *more) in ports.items()
            ),
            [*RED, "port", "create", "b1", "--network", "red", "--fixed-ip", f"ip-address={FOREIGN_IP}"],
        )


async def boot_across(demo: HostsDemo, scratch: Path) -> None:
    """Servers on chosen hosts, and what they reach of one another."""
    run = demo.run
    targets = {"peer": PEER_IP, "shut": SHUT_IP, "foreign": FOREIGN_IP, "gre": GRE_IPS[1]}
    words = " ".join(f"{name}:{ip}" for name, ip in targets.items())
    steady = f"ping -i {STEADY_S} {PEER_IP} > /dev/console &"
    (scratch / "pinger").write_text(PINGER.format(first=steady, targets=words))
    (scratch / "lonely").write_text(PINGER.format(first="", targets=f"pinger:{PINGER_IP}"))
    common = ["--image", "tiny", "--flavor", FLAVOR]

    def on(host: str, name: str, *ports: str) -> list[str]:
        plugs = [word for port in ports for word in ("--port", port)]
        return ["server", "create", name, *common, *plugs, "--availability-zone", f"nova:{host}"]

    with run.step("servers on different hosts ACTIVE") as row:
        await run.together(
            [*on("h1", "a1", "a1", "g1"), "--user-data", str(scratch / "pinger")],
            on("h2", "a2", "a2", "g2"),
            on("h3", "closed", "shut"),
            [*RED, *on("h2", "b1", "b1"), "--user-data", str(scratch / "lonely")],
        )
        await run.await_servers(["a1", "a2", "closed"])
        places = {
            name: (await run.show("server", "show", name))["OS-EXT-SRV-ATTR:host"] for name in ("a1", "a2", "closed")
        }
        if sorted(places.values()) != ["h1", "h2", "h3"]:
            raise StepFailed(f"they are at {places}")
        row.result = ", ".join(f"{name} on {host}" for name, host in places.items())
    for target, kind in (("peer", "VXLAN"), ("gre", "GRE")):
        with run.step(f"a1 reaches a2 on the other host over {kind}") as row:
            pattern = f"DEMO .* {target} answers"
            row.result = await run.await_console("a1", partial(last_with, pattern=pattern), "an answer")
    with run.step("tenants with the same addresses don't see each other") as row:
        await run.await_console("a1", partial(_silent, target="foreign"), "silence")
        [b1] = [s["ID"] for s in await run.show("server", "list", "--all-projects", "--name", "^b1$")]
        row.result = await run.await_console(b1, partial(_silent, target="pinger"), "silence")
    with run.step("closed group: silent; a rule for a remote group across hosts: answers; removed: silent") as row:
        await run.await_console("a1", partial(_silent, target="shut"), "silence")
        adding = ["security", "group", "rule", "create", "shut", "--protocol", "icmp", "--ingress"]
        rule = await run.show(*adding, "--remote-group", "friends")
        await run.await_console("a1", partial(last_with, pattern="DEMO .* shut answers"), "an answer")
        await run.openstack("security", "group", "rule", "delete", rule["id"])
        row.result = await run.await_console("a1", _closed_again, "silence again")


def _silent(lines: list[str], target: str) -> str | None:
    """At least three rounds of silence and none with an answer. Raises StepFailed for an answer."""
    if rounds(lines, target, "answers"):
        raise StepFailed(f"{target} answered")
    count = len(rounds(lines, target, "silent"))
    return f"silent {count} times" if count >= 3 else None


def _closed_again(lines: list[str]) -> str | None:
    last = max(rounds(lines, "shut", "answers"))
    quiet = [n for n in rounds(lines, "shut", "silent") if n > last]
    return f"last answer in round {last}, silent since" if len(quiet) >= 3 else None


def steady(lines: list[str]) -> list[int]:
    """The numbers of the steady ping's answers."""
    return [
        int(found[1]) for line in lines if (found := re.search(rf"bytes from {re.escape(PEER_IP)}: seq=(\d+)", line))
    ]


async def await_place(run: Runner, server: str, host: str, left: str = "") -> str:
    """Wait until the server is ACTIVE, on this host or (empty) on any other than ``left``; where it is."""
    seen: dict[str, str] = {}
    with trio.move_on_after(MOVE_WAIT_S):
        while True:
            seen = await run.show("server", "show", server)
            place = seen["OS-EXT-SRV-ATTR:host"]
            if seen["status"] == "ACTIVE" and (place == host if host else place and place != left):
                return place
            await trio.sleep(0.5)
    raise StepFailed(f"{server} is {seen['status']} on {seen['OS-EXT-SRV-ATTR:host']}")


async def answers_again(run: Runner, since: int) -> list[int]:
    """Wait until the steady ping has had answers after this one; the numbers of all."""

    def enough(lines: list[str]) -> str | None:
        return "" if len([number for number in steady(lines) if number > since]) >= 5 else None

    await run.await_console("a1", enough, f"answers after number {since}")
    return steady(await run.console("a1"))


@asynccontextmanager
async def losing_at_most(run: Runner, most_s: float) -> AsyncIterator[list[str]]:
    """Count what the steady ping loses in the block, and the words for it. Raises StepFailed for more."""
    before = steady(await run.console("a1"))
    if len(before) < 3:
        raise StepFailed("the steady ping has no answers")
    words: list[str] = []
    yield words
    there = steady(await run.console("a1"))
    numbers = [number for number in await answers_again(run, there[-1]) if number >= before[-1]]
    lost_s = (numbers[-1] - numbers[0] + 1 - len(set(numbers))) * STEADY_S
    if lost_s > most_s:
        raise StepFailed(f"{lost_s:.1f} s of pings lost")
    words.append(f"{lost_s:.1f} s of {len(numbers) * STEADY_S:.0f} s of pings lost")


async def migrate_live(demo: HostsDemo, name: str, host: str, disk: str) -> None:
    """A server moves while another one pings it."""
    run = demo.run
    with run.step(f"server migrated live with its disk {disk}, under a ping five times a second") as row:
        source = (await run.show("server", "show", name))["OS-EXT-SRV-ATTR:host"]
        async with losing_at_most(run, LOST_MOST_S) as words:
            await run.openstack(*MOVES, "server", "migrate", "--live-migration", "--host", host, name)
            await await_place(run, name, host)
        row.result = f"{name} went from {source} to {host}; {words[0]}"


async def delete_everything(demo: HostsDemo, servers: list[str]) -> None:
    """Delete what was made, and see that neither lists nor hosts have anything of it."""
    run = demo.run
    with run.step("everything deleted; no domain and no tap on any host") as row:
        await run.openstack("server", "delete", "--wait", "--all-projects", *servers)
        await run.together(
            ["port", "delete", "a1", "a2", "shut", "g1", "g2"],
            [*RED, "port", "delete", "b1"],
            ["image", "delete", "tiny"],
            ["flavor", "delete", FLAVOR],
        )
        await run.together(["network", "delete", "blue", "gre"], [*RED, "network", "delete", "red"])
        await run.await_empty(["server", "port", "network", "image"])
        for machine in demo.lab.machines:
            guests = guests_of(machine)
            taps = machine.do("sh", "-c", "ip -o link | grep -c ': tap' || true").strip()
            if guests or taps != "0":
                raise StepFailed(f"{machine.name} has {guests} guests and {taps} taps")
        row.result = f"{len(demo.lab.machines)} hosts are empty"
