"""An Open vSwitch for tests: in a directory of its own, with the userspace datapath, and gone afterwards.

To be used in a network namespace of the test's own (`ostro.testing.namespaces.OwnNetwork`): there is room for one in each.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ostro.agent.drivers.network import openvswitch as driver
from ostro.agent.drivers.network.openvswitch import OpenVSwitchConfig, OpenVSwitchNetwork
from ostro.agent.parts import openvswitch as parts
from ostro.agent.parts.openvswitch import OpenVSwitchPartConfig, OwnOpenVSwitch
from ostro.runtime.world import World
from ostro.testing.processes import freeze


@dataclass(frozen=True)
class TestOpenVSwitch:
    """A running one. ``state_dir`` is short enough for sockets."""

    __test__ = False

    state_dir: Path
    physical: Mapping[str, str] = field(default_factory=dict)
    tunnel_ip: str = "127.0.0.1"

    @property
    def part(self) -> OpenVSwitchPartConfig:
        """What opens it as the agent does."""
        return OpenVSwitchPartConfig(self.state_dir, allow_system=False, base=self.state_dir)

    @property
    def own(self) -> OwnOpenVSwitch:
        """Its daemons."""
        return self.part.own

    @property
    def config(self) -> OpenVSwitchConfig:
        """What the driver is opened with."""
        run_dir = self.own.run_dir
        return OpenVSwitchConfig(
            state_dir=self.state_dir,
            db_socket=run_dir / "db.sock",
            run_dir=run_dir,
            datapath_type="netdev",
            datapath_why="tests use the userspace datapath",
            tunnel_ip=self.tunnel_ip,
            physical=self.physical,
        )

    def open(self) -> AbstractAsyncContextManager[OpenVSwitchNetwork]:
        """Open the driver on it."""
        return driver.open_(World(), self.config)

    @contextmanager
    def hanging_database(self) -> Iterator[None]:
        """Have ovsdb-server answer nobody until the block ends."""
        pid = self.own.pid(self.own.daemons[0])
        assert pid is not None, "ovsdb-server runs"
        freeze(pid)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill_switch(self) -> None:
        """Kill ovs-vswitchd, as a crash would."""
        pid = self.own.pid(self.own.daemons[1])
        assert pid is not None, "vswitchd runs"
        os.kill(pid, signal.SIGKILL)


@contextmanager
def serve_openvswitch(
    physical: Mapping[str, str] | None = None, tunnel_ip: str = "127.0.0.1"
) -> Iterator[TestOpenVSwitch]:
    """Start one, and end it and remove all of it afterwards. Not from within trio.

    ``physical`` and ``tunnel_ip`` are as in `OpenVSwitchConfig`.
    """

    async def start() -> None:
        async with parts.open_(World(), switch.part):
            pass

    switch = TestOpenVSwitch(Path(tempfile.mkdtemp(prefix="ostro-net-")), physical or {}, tunnel_ip)
    try:
        trio.run(start)
        yield switch
        trio.run(driver.remove, World(), switch.config)
    finally:
        trio.run(parts.stop, switch.part)
        shutil.rmtree(switch.state_dir)
