"""A private libvirtd for tests, with helpers to run real guests on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ostro.agent.drivers.block.qcow2 import overlay
from ostro.agent.drivers.hypervisor import Disk, Hypervisor
from ostro.agent.drivers.hypervisor.kvm import Choice, choose_acceleration
from ostro.agent.drivers.hypervisor.libvirt import LibvirtConfig, Listen, Secret
from ostro.agent.parts import libvirtd
from ostro.agent.parts.libvirtd import LibvirtdConfig, Listening
from ostro.runtime.world import World

GUEST_WAIT_S = 120.0
"""For a guest's line: it boots in 5 s on an idle machine under TCG, but test machines are busy."""

LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class TestLibvirtd:
    """A running private libvirtd."""

    __test__ = False

    config: LibvirtdConfig
    choice: Choice
    uri: str

    def driver(self, state_dir: Path, secret: Secret | None = None) -> LibvirtConfig:
        """A configuration of the driver that uses this daemon."""
        listening = self.config.listening
        listen = None
        if listening:
            names = self.config.names
            listen = Listen(listening.address, listening.port, listening.pki, listening.host_name, names)
        return LibvirtConfig(self.uri, self.choice, state_dir, secret=secret, listen=listen)

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return int((self.config.root / "run" / "libvirtd.pid").read_text())

    def guest_pid(self, server_id: str) -> int:
        """The process of a domain."""
        return int((self.config.root / "run" / "qemu" / f"ostro-{server_id}.pid").read_text())


@contextmanager
def serve_libvirtd(listening: Listening | None = None) -> Iterator[TestLibvirtd]:
    """A daemon of its own, in a short path; at the end it and all that it runs are gone. Not from within trio."""

    async def start(state_dir: Path) -> TestLibvirtd:
        choice = await choose_acceleration(state_dir)
        use_kvm = choice.acceleration == "kvm"
        config = LibvirtdConfig(state_dir, use_kvm, allow_system=False, listening=listening)
        async with libvirtd.open_(World(), config) as daemon:
            return TestLibvirtd(config, choice, daemon.uri)

    with tempfile.TemporaryDirectory(prefix="ostro-test-", ignore_cleanup_errors=True) as directory:
        running = trio.run(start, Path(directory))
        try:
            yield running
        finally:
            trio.run(libvirtd.stop, running.config)


def blank_disk(directory: Path, device: str, volume_id: str = "", size_bytes: int = 1 << 20) -> Disk:
    """A sparse raw disk."""
    path = directory / f"{device}-{volume_id}.raw"
    with path.open("ab") as file:
        file.truncate(size_bytes)
    return Disk(device, str(path), "raw", volume_id)


def root_disk(directory: Path, image: Path, server_id: str) -> Disk:
    """A root disk on the image (qcow2)."""
    path = directory / f"{server_id}.qcow2"
    content = overlay(str(image), "qcow2", 1 << 30)
    with path.open("wb") as file:
        for offset, piece in content.pieces.items():
            file.seek(offset)
            file.write(piece)
        file.truncate(content.size_bytes)
    return Disk("vda", str(path), "qcow2")


async def console_says(hypervisor: Hypervisor, server_id: str, text: str, times: int = 1) -> str:
    """Wait until the guest has printed ``text`` so often; its whole console log."""
    with trio.move_on_after(GUEST_WAIT_S):
        while True:
            said = await hypervisor.console_log(server_id, -1)
            if said.count(text) >= times:
                return said
            await trio.sleep(LOOK_EVERY_S)
    raise AssertionError(f"the guest did not say {text!r} in {GUEST_WAIT_S:g} s, but:\n{said[-2000:]}")
