"""Several hosts on one machine: each has namespaces of its own for network, mounts, processes and its name.

A ``Lab`` puts this process into a network namespace of its own, with a bridge that is the hosts' underlay; whatever is started afterwards (a
control plane, a Ceph) is reached from the hosts at `CONTROL_IP`. A ``Machine`` is one host. It dies as a machine does that loses its power: with
its first process every other ends, guests and switch included, and its links and mounts go with its namespaces. Needs root.

The underlay of each host is a bridge of its own Open vSwitch, because the userspace datapath finds tunnels' ways only there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ostro.testing.namespaces import OwnNetwork

CONTROL_IP = "10.255.0.254"
LENGTH = 24
UPLINK = "uplink"
BRIDGE = "under"
START_S = 60.0
COMMAND_S = 120.0
# A first process that ignores its children's end has the kernel reap whatever is orphaned. No shell lets itself be told to.
WAIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
FIRST = """\
set -e
hostname "$1"
mount -t sysfs sysfs /sys
mkdir -p /run/ostro
mount -t tmpfs tmpfs /run/ostro
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$1" > /run/ostro/hosts
mount --bind /run/ostro/hosts /etc/hosts
ip link set lo up
exec "$2" -c "$3"
"""


def _call(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Machine:
    """One host. ``address`` is its address in the underlay."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name = name
        self.address = address
        self.folder = folder
        self.state = folder / name
        self.log = folder / f"{name}.log"
        self._shell: subprocess.Popen[str] | None = None
        self._pid = 0

    def start(self) -> None:
        """Switch it on, with an Open vSwitch that has the underlay. Raises RuntimeError."""
        self.state.mkdir(parents=True, exist_ok=True)
        kinds = [
            "--net",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation",
            "private",
        ]
        self._shell = subprocess.Popen(
            ["unshare", *kinds, "sh", "-c", FIRST, "sh", self.name, sys.executable, WAIT],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._shell.stdout is not None, "a pipe"
        if self._shell.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{self.name} could not be made")
        [child] = Path(f"/proc/{self._shell.pid}/task/{self._shell.pid}/children").read_text().split()
        self._pid = int(child)
        outer = f"to-{self.name}"
        # Of the life before, if the kernel has yet to clear it away.
        subprocess.run(["ip", "link", "del", outer], capture_output=True, timeout=COMMAND_S, check=False)
        _call("ip", "link", "add", outer, "type", "veth", "peer", "name", UPLINK, "netns", child)
        _call("ip", "link", "set", outer, "master", BRIDGE, "up")
        # What leaves a kernel towards a userspace switch must have its checksums.
        _call("ethtool", "-K", outer, "tx", "off")
        self.do(
            sys.executable, "-m", "ostro.testing.underlay", str(self.state / "host"), f"{self.address}/{LENGTH}", UPLINK
        )
        self.do("ip", "route", "add", "default", "via", CONTROL_IP)

    def _inside(self, words: Sequence[str]) -> list[str]:
        return ["nsenter", "--target", str(self._pid), "--net", "--mount", "--uts", "--pid", "--", *words]

    def do(self, *words: str) -> str:
        """Run a command on it; what it prints. Raises RuntimeError when it fails."""
        return _call(*self._inside(words))

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command on it that goes on; what it says goes into the host's log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._inside(words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def unplug(self) -> None:
        """Cut its only line. What runs on it goes on."""
        _call("ip", "link", "set", f"to-{self.name}", "down")

    def plug(self) -> None:
        """Mend its line."""
        _call("ip", "link", "set", f"to-{self.name}", "up")

    def kill(self) -> None:
        """Cut its power. Idempotent."""
        if self._shell is None:
            return
        if self._shell.poll() is None:
            os.kill(self._pid, signal.SIGKILL)
        self._shell.wait(START_S)
        assert self._shell.stdout is not None, "a pipe"
        self._shell.stdout.close()
        self._shell = None


class Lab:
    """The underlay and the machines on it. Leaving the block switches all of them off."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.machines = [Machine(name, f"10.255.0.{number}", folder) for number, name in enumerate(names, 1)]
        self._network: OwnNetwork | None = None

    def __enter__(self) -> Lab:
        self._network = OwnNetwork()
        _call("ip", "link", "add", BRIDGE, "type", "bridge")
        _call("ip", "address", "add", f"{CONTROL_IP}/{LENGTH}", "dev", BRIDGE)
        _call("ip", "link", "set", BRIDGE, "up")
        _call("ethtool", "-K", BRIDGE, "tx", "off")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for machine in self.machines:
            machine.kill()
        _call("ip", "link", "del", BRIDGE)

    def machine(self, name: str) -> Machine:
        """The machine of that name."""
        return next(machine for machine in self.machines if machine.name == name)
