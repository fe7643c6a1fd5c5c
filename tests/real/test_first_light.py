"""The whole program on real libvirt and real Open vSwitch: what must survive when parts of it die.

One cloud serves all tests of this module; each test boots what it needs and deletes it. The guests tell what they see on their consoles.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from ostro.testing.up import Up

BOOT_S = 120.0
PING_EVERY_S = 0.02

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="libvirt and Open vSwitch need root")


def eventually(check: Callable[[], Any], what: Callable[[], str] | str, timeout_s: float = BOOT_S) -> Any:
    """Poll ``check`` until it returns something true."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = check()
        if found:
            return found
        time.sleep(0.3)
    pytest.fail(f"not in {timeout_s:g} s: {what if isinstance(what, str) else what()}")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running cloud on the real parts."""
    with Up(tmp_path_factory.mktemp("ostro") / "state", hypervisor="libvirt") as running:
        running.start()
        yield running


class Lab:
    """An image, a flavor and a network, and servers that are deleted at the end."""

    def __init__(self, up: Up, image: Path) -> None:
        self.up = up
        self.conn = up.connect()
        self.image = self.conn.image.find_image("tiny") or self.conn.create_image(
            "tiny", filename=str(image), disk_format="qcow2", container_format="bare", visibility="public", wait=True
        )
        self.flavor = self.conn.compute.find_flavor("nano") or self.conn.compute.create_flavor(
            name="nano", vcpus=1, ram=96, disk=1
        )
        self.network = self.conn.network.find_network("lab")
        if self.network is None:
            self.network = self.conn.network.create_network(name="lab")
            self.conn.network.create_subnet(network_id=self.network.id, ip_version=4, cidr="10.5.0.0/24", name="lab")

    def boot(self, name: str, script: str = "") -> Any:
        data = base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode() if script else None
        return self.conn.compute.create_server(
            name=name,
            image_id=self.image.id,
            flavor_id=self.flavor.id,
            networks=[{"uuid": self.network.id}],
            **({"user_data": data} if data else {}),
        )

    def status(self, server: Any) -> str:
        return str(self.conn.compute.get_server(server.id).status)

    def address(self, server: Any) -> str:
        return str(self.conn.compute.get_server(server.id).addresses["lab"][0]["addr"])

    def console(self, server: Any) -> str:
        """What the guest has said; nothing while it is not on its host yet."""
        try:
            return str(self.conn.compute.get_server_console_output(server.id)["output"])
        except openstack.exceptions.ConflictException:
            return ""

    def await_console(self, server: Any, pattern: str, timeout_s: float = BOOT_S) -> re.Match[str]:
        found: re.Match[str] = eventually(
            lambda: re.search(pattern, self.console(server)),
            lambda: f"{pattern!r} on the console, which ends with:\n{self.console(server)[-1500:]}",
            timeout_s,
        )
        return found

    def delete(self, *servers: Any) -> None:
        for server in servers:
            self.conn.compute.delete_server(server.id, ignore_missing=True)
        for server in servers:
            eventually(lambda s=server: self.conn.compute.find_server(s.id) is None, f"{server.name} gone", 60)  # type: ignore[misc]


@pytest.fixture
def lab(up: Up, tiny_image: Path) -> Iterator[Lab]:
    """A fresh connection, and no server left behind."""
    made = Lab(up, tiny_image)
    yield made
    made.delete(*list(made.conn.compute.servers()))


def part_pid(up: Up, program: str) -> int:
    """The process id of a part that this cloud uses in this network namespace, by the pid files below its directories."""
    here = os.readlink("/proc/self/ns/net")
    for file in (*up.state.rglob("*.pid"), *Path("/run/ostro").rglob("*.pid")):
        pid = int(file.read_text().split()[0])
        process = Path(f"/proc/{pid}")
        runs = (process / "comm").exists() and (process / "comm").read_text().strip() == program[:15]
        if runs and os.readlink(process / "ns/net") == here:
            return pid
    pytest.fail(f"{program} of this cloud does not run")


def pinger(address: str, count: int) -> str:
    """A guest's script: ping without a pause, then the summary between markers."""
    return f"echo PING-BEGIN > /dev/console; ping -q -i {PING_EVERY_S} -c {count} {address} > /dev/console 2>&1; echo PING-END > /dev/console"


def test_two_restarts_lose_no_packet(lab: Lab) -> None:
    count = int(40 / PING_EVERY_S)
    target = lab.boot("target")
    lab.await_console(target, "guest: ready")
    source = lab.boot("source", pinger(lab.address(target), count))
    lab.await_console(source, "PING-BEGIN")
    for stop in (lab.up.interrupt, lab.up.kill):
        stop()
        time.sleep(2)
        lab.up.start()
    lab.conn = lab.up.connect()
    summary = lab.await_console(source, r"(\d+) packets transmitted, (\d+) packets received", 120)
    assert summary.groups() == (str(count), str(count))
    for server in (target, source):
        assert lab.status(server) == "ACTIVE"
        assert lab.console(server).count("guest: userspace") == 1, "a guest was restarted"


def test_switch_killed_is_refilled(lab: Lab) -> None:
    target = lab.boot("target")
    lab.await_console(target, "guest: ready")
    script = f"while :; do ping -c 1 -W 1 {lab.address(target)} > /dev/null 2>&1 && echo PING-OK > /dev/console; sleep 0.2; done"
    source = lab.boot("source", script)
    lab.await_console(source, "PING-OK")
    os.kill(part_pid(lab.up, "ovs-vswitchd"), signal.SIGKILL)
    time.sleep(3)
    before = lab.console(source).count("PING-OK")
    eventually(lambda: lab.console(source).count("PING-OK") > before + 3, "pings after the switch came back", 60)


def test_libvirtd_killed_is_found_again(lab: Lab) -> None:
    server = lab.boot("one")
    lab.await_console(server, "guest: ready")
    os.kill(part_pid(lab.up, "libvirtd"), signal.SIGKILL)
    lab.conn.compute.stop_server(server.id)
    eventually(lambda: lab.status(server) == "SHUTOFF", "SHUTOFF after libvirtd came back", 90)
    lab.conn.compute.start_server(server.id)
    eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE again")
    eventually(lambda: lab.console(server).count("guest: ready") == 2, "the second boot")


def test_guest_that_powers_off_is_shutoff(lab: Lab) -> None:
    server = lab.boot("one", "poweroff -f")
    eventually(lambda: lab.status(server) == "SHUTOFF", "SHUTOFF")


def test_too_large_for_every_host_is_an_error_with_its_reason(lab: Lab) -> None:
    flavor = lab.conn.compute.create_flavor(name="whale", vcpus=1, ram=1 << 24, disk=1)
    lab.conn.set_compute_quotas("admin", ram=-1)
    try:
        server = lab.conn.compute.create_server(
            name="whale", image_id=lab.image.id, flavor_id=flavor.id, networks=[{"uuid": lab.network.id}]
        )
        shown = eventually(
            lambda: (s := lab.conn.compute.get_server(server.id)).status == "ERROR" and s, "ERROR", timeout_s=20
        )
        assert "No valid host" in shown.fault["message"]
        assert "MEMORY_MB" in shown.fault["message"]
    finally:
        lab.conn.delete_compute_quotas("admin")
        lab.conn.compute.delete_flavor(flavor.id)
