"""Puts a host's uplink onto a bridge of its Open vSwitch, which is started: ``python -m ostro.testing.underlay STATE ADDRESS/LENGTH DEVICE``.

STATE is the state directory of the host's agent, which then finds this Open vSwitch running and uses it.
"""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Interface
from pathlib import Path

import trio

from ostro.agent.parts import openvswitch as parts
from ostro.agent.parts.openvswitch import OpenVSwitchPartConfig
from ostro.runtime.world import World

UNDERLAY = "underlay"


def lay(db_socket: Path, address: IPv4Interface, device: str) -> None:
    """Put the underlay's device on a bridge that has the tunnel address."""
    database = f"--db=unix:{db_socket}"
    bridge = ["--may-exist", "add-br", UNDERLAY, "--", "set", "bridge", UNDERLAY, "datapath_type=netdev"]
    port = ["--", "--may-exist", "add-port", UNDERLAY, device]
    subprocess.run(["ovs-vsctl", database, *bridge, *port], check=True)
    subprocess.run(["ip", "address", "replace", str(address), "dev", UNDERLAY], check=True)
    for name in (UNDERLAY, device):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    subprocess.run(["ethtool", "-K", device, "tx", "off"], check=True, stdout=subprocess.DEVNULL)


async def _start(config: OpenVSwitchPartConfig) -> Path:
    async with parts.open_(World(), config) as switch:
        return switch.db_socket


def main() -> None:
    """See the module."""
    state, address, device = sys.argv[1:]
    db_socket = trio.run(_start, OpenVSwitchPartConfig(Path(state), allow_system=False))
    lay(db_socket, IPv4Interface(address), device)


if __name__ == "__main__":
    main()
