"""The fake hypervisor against the contract, and what only it promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ostro.agent.drivers.hypervisor import Disk, Domain, Hypervisor, Nic
from ostro.agent.drivers.hypervisor.fake import FakeConfig, FakeHypervisor, open_
from ostro.model.errors import Unavailable
from ostro.model.wishes import Power
from ostro.runtime.world import World
from ostro.testing.contracts.hypervisor import CLOUD, ID, MEMO, Changes, HypervisorContract, MakeDisk, MakeNic


@pytest.fixture
async def hypervisor(tmp_path: Path) -> AsyncIterator[FakeHypervisor]:
    async with open_(World(), FakeConfig(tmp_path)) as driver:
        yield driver


@pytest.fixture
def make_disk() -> MakeDisk:
    return lambda device, volume_id: Disk(device, f"/fake/{device}", "raw", volume_id)


@pytest.fixture
def make_nic() -> MakeNic:
    return lambda mac: Nic(mac, "tap-fake", 1450, offload=False)


class TestFakeHypervisor(HypervisorContract):
    async def kill_domain(self, hypervisor: Hypervisor, server_id: str) -> None:
        assert isinstance(hypervisor, FakeHypervisor)
        hypervisor.crash(server_id)

    async def test_domains_outlive_the_driver(self, tmp_path: Path, make_disk: MakeDisk) -> None:
        async with open_(World(), FakeConfig(tmp_path)) as driver:
            driver.watch(CLOUD, Changes())
            await driver.define(self.spec(make_disk), MEMO)
            await driver.start(ID)
            before = driver.facts.boot_id
        with (tmp_path / "fake-hypervisor.jsonl").open("ab") as journal:
            journal.write(b'{"server_id":"cut o')
        async with open_(World(), FakeConfig(tmp_path)) as driver:
            driver.watch(CLOUD, Changes())
            assert await driver.domains() == [Domain(ID, Power.ON, MEMO, [])]
            assert driver.facts.boot_id == before
            await driver.delete(ID)
        async with open_(World(), FakeConfig(tmp_path)) as driver:
            driver.watch(CLOUD, Changes())
            assert await driver.domains() == []

    async def test_a_host_that_lost_its_power_has_domains_that_are_off_and_another_boot(
        self, hypervisor: FakeHypervisor, make_disk: MakeDisk
    ) -> None:
        changes = Changes()
        hypervisor.watch(CLOUD, changes)
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.start(ID)
        before = hypervisor.facts.boot_id
        hypervisor.lose_host_power()
        assert await hypervisor.find(ID) == Domain(ID, Power.OFF, MEMO, [])
        assert hypervisor.facts.boot_id != before
        assert changes.seen == {""}

    async def test_calls_fail_while_it_is_away(self, hypervisor: FakeHypervisor) -> None:
        changes = Changes()
        hypervisor.watch(CLOUD, changes)
        hypervisor.go_away()
        with pytest.raises(Unavailable):
            await hypervisor.domains()
        hypervisor.come_back()
        assert await hypervisor.domains() == []
        assert changes.seen == {""}

    async def test_the_console_log_is_bounded_and_its_tail_can_be_read(
        self, hypervisor: FakeHypervisor, make_disk: MakeDisk
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk, name="n"), MEMO)
        for _ in range(60):
            await hypervisor.start(ID)
            await hypervisor.stop(ID, 0)
        assert len((await hypervisor.console_log(ID, -1)).splitlines()) == 100
        assert await hypervisor.console_log(ID, 2) == "fake guest n: on\nfake guest n: off\n"
        assert await hypervisor.console_log(ID, 0) == ""
