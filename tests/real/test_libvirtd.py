"""The private libvirtd: started, adopted, stopped, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ostro.agent.drivers.hypervisor import DomainSpec, Hypervisor
from ostro.agent.drivers.hypervisor.kvm import choose_acceleration
from ostro.agent.drivers.hypervisor.libvirt import LibvirtConfig
from ostro.agent.drivers.hypervisor.libvirt import open_ as open_hypervisor
from ostro.agent.parts import libvirtd
from ostro.agent.parts.libvirtd import LibvirtdConfig
from ostro.agent.parts.processes import wait_for_end
from ostro.model.errors import Invalid, Unavailable
from ostro.model.wishes import Power
from ostro.runtime.world import World
from ostro.testing.contracts.hypervisor import CLOUD, ID, MEMO
from ostro.testing.libvirt import LOOK_EVERY_S, blank_disk
from ostro.testing.processes import freeze

HUNG_S = 8.0
"""Longer than a daemon takes to look at QEMU when it starts."""


@pytest.fixture
def config() -> Iterator[LibvirtdConfig]:
    """A state directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ostro-test-") as directory:
        yield LibvirtdConfig(Path(directory), use_kvm=False, allow_system=False)


def pid_of(config: LibvirtdConfig) -> int:
    return int((config.root / "run" / "libvirtd.pid").read_text())


def is_running(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent doesn't."""
    return Path(f"/proc/{pid}/exe").exists()


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


async def test_a_daemon_outlives_its_opener_and_is_adopted_by_the_next(config: LibvirtdConfig) -> None:
    before = mounts()
    async with libvirtd.open_(World(), config) as first:
        pid = pid_of(config)
        assert first.private and "started" in first.why
    async with libvirtd.open_(World(), config) as second:
        assert pid_of(config) == pid
        assert second.uri == first.uri and "running already" in second.why
    os.kill(pid, 0)
    assert mounts() == before
    for _twice in range(2):
        await libvirtd.stop(config)
    assert not is_running(pid)


async def test_another_process_with_the_same_id_is_not_taken_for_it(config: LibvirtdConfig) -> None:
    pid_file = config.root / "run" / "libvirtd.pid"
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text(str(os.getpid()))
    await libvirtd.stop(config)
    os.kill(os.getpid(), 0)


async def test_a_path_that_is_too_long_is_refused(config: LibvirtdConfig) -> None:
    long = LibvirtdConfig(config.state_dir / ("x" * 100), use_kvm=False, allow_system=False)
    with pytest.raises(Invalid, match="shorter"):
        async with libvirtd.open_(World(), long):
            pass


async def test_a_daemon_that_does_not_start_is_told_with_its_words(config: LibvirtdConfig) -> None:
    (config.root / "cache").mkdir(parents=True)
    (config.root / "run" / "libvirtd.pid").mkdir(parents=True)
    with pytest.raises(Unavailable, match=r"libvirtd did not start: .+"):
        async with libvirtd.open_(World(), config):
            pass


async def test_a_daemon_that_hangs_is_replaced_and_its_guest_does_not_notice(
    config: LibvirtdConfig, tmp_path: Path
) -> None:
    hasty = dataclasses.replace(config, hung_s=HUNG_S)
    choice = await choose_acceleration(tmp_path)
    async with libvirtd.open_(World(), hasty) as daemon:
        driver = LibvirtConfig(daemon.uri, choice, tmp_path)
        async with open_hypervisor(World(), driver) as hypervisor:
            hypervisor.watch(CLOUD, lambda _id: None)
            spec = DomainSpec(ID, "guest", "project", 1, 64, [blank_disk(tmp_path, "vda")], [])
            await hypervisor.define(spec, MEMO)
            await hypervisor.start(ID)
            guest = int((config.root / "run" / "qemu" / f"ostro-{ID}.pid").read_text())
            stopped = pid_of(config)
            freeze(stopped)
            with trio.fail_after(60):
                await wait_for_end(stopped)
            assert await eventually_found(hypervisor) == Power.ON
            assert is_running(guest)
            assert pid_of(config) != stopped
            await hypervisor.delete(ID)
    await libvirtd.stop(config)


async def eventually_found(hypervisor: Hypervisor) -> Power:
    """What the guest does, as soon as the daemon is back."""
    with trio.fail_after(60):
        while True:
            try:
                domain = await hypervisor.find(ID)
            except Unavailable:
                await trio.sleep(LOOK_EVERY_S)
                continue
            assert domain is not None
            return domain.power
