"""The libvirt driver against the contract, with a real guest, and with a libvirtd that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import libvirt
import pytest
import trio

from ostro.agent.drivers.hypervisor import Domain, DomainSpec, Hypervisor, Nic, calls
from ostro.agent.drivers.hypervisor.libvirt import LibvirtHypervisor, open_
from ostro.agent.parts import libvirtd as parts
from ostro.model.errors import Unavailable
from ostro.model.wishes import Power
from ostro.runtime.world import World
from ostro.testing.contracts.hypervisor import (
    CLOUD,
    ID,
    MAC,
    MEMO,
    OTHER,
    VOLUME,
    Changes,
    HypervisorContract,
    MakeDisk,
    MakeNic,
)
from ostro.testing.libvirt import TestLibvirtd, blank_disk, console_says, root_disk
from ostro.testing.processes import freeze

ALL_CLOUDS = (CLOUD, "another-cloud")


@pytest.fixture
async def hypervisor(libvirtd: TestLibvirtd, tmp_path: Path) -> AsyncIterator[LibvirtHypervisor]:
    async with open_(World(), libvirtd.driver(tmp_path)) as driver:
        yield driver
        for cloud in ALL_CLOUDS:
            driver.watch(cloud, Changes())
            for domain in await driver.domains():
                await driver.delete(domain.server_id)


@pytest.fixture
def make_disk(tmp_path: Path) -> MakeDisk:
    return partial(blank_disk, tmp_path)


@pytest.fixture
def make_nic() -> Iterator[MakeNic]:
    """Taps of this test, told apart by the last digits of the address."""
    made: list[str] = []

    def make(mac: str) -> Nic:
        tap = f"ostnic{mac[-5:].replace(':', '')}"
        if tap not in made:
            subprocess.run(["ip", "tuntap", "add", tap, "mode", "tap", "vnet_hdr"], check=True)
            made.append(tap)
        return Nic(mac, tap, 1450, offload=False)

    yield make
    for tap in made:
        subprocess.run(["ip", "link", "delete", tap], check=True)


class TestLibvirtHypervisor(HypervisorContract):
    @pytest.fixture(autouse=True)
    def _remember(self, libvirtd: TestLibvirtd) -> None:
        self.libvirtd = libvirtd

    async def kill_domain(self, hypervisor: Hypervisor, server_id: str) -> None:
        os.kill(self.libvirtd.guest_pid(server_id), signal.SIGKILL)


async def test_a_guest_boots_and_obeys(
    hypervisor: LibvirtHypervisor, tiny_image: Path, tmp_path: Path, make_disk: MakeDisk, make_nic: MakeNic
) -> None:
    hypervisor.watch(CLOUD, Changes())
    spec = DomainSpec(ID, "tiny", "project-1", 1, 96, [root_disk(tmp_path, tiny_image, ID)], [])
    await hypervisor.define(spec, MEMO)
    await hypervisor.start(ID)
    said = await console_says(hypervisor, ID, "guest: ready")
    assert "guest: disk vda size_bytes=1073741824" in said
    assert (await hypervisor.console_log(ID, 1)).count("\n") <= 1

    await hypervisor.attach(ID, make_disk("vdb", VOLUME))
    await console_says(hypervisor, ID, f"guest: disk vdb size_bytes=1048576 serial={VOLUME[:20]}")
    await hypervisor.resize(ID, VOLUME, 3 << 20)
    await console_says(hypervisor, ID, "guest: disk vdb resized size_bytes=3145728")
    await hypervisor.detach(ID, VOLUME)
    await console_says(hypervisor, ID, "guest: disk vdb removed")

    await hypervisor.plug(ID, make_nic(MAC))
    found = await hypervisor.find(ID)
    assert found is not None and found.nics == [MAC]
    await hypervisor.unplug(ID, MAC)
    found = await hypervisor.find(ID)
    assert found is not None and found.nics == []

    before_s = trio.current_time()
    await hypervisor.stop(ID, 60)
    assert trio.current_time() - before_s < 60
    assert "guest: power button" in await hypervisor.console_log(ID, -1)
    found = await hypervisor.find(ID)
    assert found is not None and found.power is Power.OFF


NO_CALLS = {"virDomainGetName", "virDomainGetUUIDString", "virDomainFree"}
"""What of libvirt's is answered here, without its daemon."""


async def test_a_list_costs_a_call_and_one_or_two_for_each_domain(
    libvirtd: TestLibvirtd, hypervisor: LibvirtHypervisor, make_disk: MakeDisk
) -> None:
    hypervisor.watch(CLOUD, Changes())
    ids = [f"0c000000-0000-4000-8000-{number:012d}" for number in range(100)]
    disk = make_disk("vda", VOLUME)
    for server_id in ids:
        await hypervisor.define(DomainSpec(server_id, "n", "p", 1, 64, [disk], []), MEMO)
    await hypervisor.start(ids[7])
    asked: Counter[str] = Counter()

    def count(_frame: object, event: str, function: object) -> None:
        if event == "c_call" and getattr(function, "__module__", "") == "libvirtmod":
            asked[function.__name__] += 1  # type: ignore[attr-defined]

    def listed(connection: libvirt.virConnect) -> list[Domain]:
        sys.setprofile(count)
        try:
            return calls.list_ours(connection, CLOUD)
        finally:
            sys.setprofile(None)

    found = await hypervisor.connection.look(listed)
    assert [domain.server_id for domain in found] == ids
    assert [domain.server_id for domain in found if domain.power is Power.ON] == [ids[7]]
    remote = {name: times for name, times in asked.items() if name not in NO_CALLS}
    assert remote == {"virConnectGetAllDomainStats": 1, "virDomainGetXMLDesc": 101}


async def test_a_killed_libvirtd_is_started_again_and_no_guest_notices(
    libvirtd: TestLibvirtd, hypervisor: LibvirtHypervisor, make_disk: MakeDisk
) -> None:
    changes = Changes()
    hypervisor.watch(CLOUD, changes)
    for server_id in (ID, OTHER):
        disk = make_disk("vda", server_id)
        await hypervisor.define(DomainSpec(server_id, "n", "p", 1, 64, [disk], []), MEMO)
        await hypervisor.start(server_id)
    guest = libvirtd.guest_pid(ID)
    changes.seen.clear()

    async with parts.open_(World(), libvirtd.config):
        os.kill(libvirtd.pid, signal.SIGKILL)
        os.kill(libvirtd.guest_pid(OTHER), signal.SIGKILL)
        await changes.wait_for("")
        found = {domain.server_id: domain.power for domain in await hypervisor.domains()}

    assert found[ID] is Power.ON
    assert found[OTHER] in (Power.OFF, Power.CRASHED)
    assert libvirtd.guest_pid(ID) == guest
    os.kill(guest, 0)


async def test_calls_end_by_their_deadline_while_libvirtd_hangs(libvirtd: TestLibvirtd, tmp_path: Path) -> None:
    config = replace(libvirtd.driver(tmp_path), look_deadline_s=0.5)
    async with open_(World(), config) as driver:
        driver.watch(CLOUD, Changes())
        freeze(libvirtd.pid)
        try:
            for _more_often_than_there_are_workers in range(6):
                with pytest.raises(Unavailable):
                    await driver.domains()
        finally:
            os.kill(libvirtd.pid, signal.SIGCONT)
        with trio.fail_after(20):
            while True:
                try:
                    assert await driver.domains() == []
                    return
                except Unavailable:
                    continue


async def test_calls_fail_at_once_while_libvirtd_is_away(libvirtd: TestLibvirtd, hypervisor: LibvirtHypervisor) -> None:
    changes = Changes()
    hypervisor.watch(CLOUD, changes)
    os.kill(libvirtd.pid, signal.SIGKILL)
    with trio.fail_after(20):
        while True:
            try:
                await hypervisor.domains()
            except Unavailable:
                break
    async with parts.open_(World(), libvirtd.config):
        await changes.wait_for("")
        assert await hypervisor.domains() == []
