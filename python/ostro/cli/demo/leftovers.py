"""What one cloud has on this machine now, so that it can be shown that it leaves nothing.

Only this cloud's own things are looked for, by the names that it gives them: a machine may run others beside it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostro.agent.drivers.hypervisor.domain_xml import domain_name
from ostro.agent.drivers.network.bridge import BridgeNames
from ostro.agent.parts.openvswitch import OpenVSwitchPartConfig
from ostro.cli.state import StateDir
from ostro.services.network.wishes import tap_name

DOMAIN_FOLDERS = (Path("/run/libvirt/qemu"), Path("/etc/libvirt/qemu"))


@dataclass(frozen=True)
class Owned:
    """What belongs to a cloud: its state directory, and the ids of servers and ports that it has or had."""

    state: Path
    servers: Sequence[str] = ()
    ports: Sequence[str] = ()


def find_traces(owned: Owned) -> list[str]:
    """Everything of it that exists now, in words: links, domains, mounts, processes, files, users of Open vSwitch."""
    kinds = {
        "link": _links(owned),
        "domain": _domains(owned),
        "mount": _mounts(owned),
        "process": find_processes([str(owned.state), *owned.servers]),
        "Open vSwitch": _switches(owned),
        "file": (str(path) for path in owned.state.rglob("*")),
    }
    return [f"{kind} {name}" for kind, names in kinds.items() for name in sorted(names)]


def _links(owned: Owned) -> Iterator[str]:
    prefix = BridgeNames.of(StateDir(owned.state).host).bridge
    taps = {tap_name(port) for port in owned.ports}
    # Of this process's network; /sys shows that of whoever has mounted it.
    return (name for _index, name in socket.if_nameindex() if name.startswith(prefix) or name in taps)


def _domains(owned: Owned) -> Iterator[str]:
    names = {domain_name(server) for server in owned.servers}
    for folder in DOMAIN_FOLDERS:
        if folder.is_dir():
            yield from (str(path) for path in folder.iterdir() if path.stem in names)


def _mounts(owned: Owned) -> Iterator[str]:
    points = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return (point for point in points if Path(point).is_relative_to(owned.state))


def _switches(owned: Owned) -> Iterator[str]:
    """Ostro's own Open vSwitch is shared: this cloud must not stand among its users, and it must not run without any."""
    own = OpenVSwitchPartConfig(StateDir(owned.state).host).own
    users = own.users()
    if str(owned.state.resolve() / "host") in users:
        yield f"in {own.root} has this cloud as a user"
    if not users:
        yield from (f"process {process}" for process in find_processes([str(own.root)]))


def find_processes(needles: Sequence[str]) -> Iterator[str]:
    """Processes other than this one and its parents whose command line holds one of the needles."""
    mine = set()
    pid = os.getpid()
    while pid > 1:
        mine.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in mine:
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended while we were looking.
        if any(needle in words for needle in needles):
            yield f"{entry}: {words[:120]}"
