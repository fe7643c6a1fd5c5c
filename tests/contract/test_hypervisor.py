"""The fake hypervisor against the contract, and what only it promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Hypervisor, Memo, Nic, Progress
from ostro.agent.drivers.hypervisor.fake import FakeConfig, FakeHypervisor, open_
from ostro.model.errors import Unavailable
from ostro.model.wishes import Power
from ostro.runtime.world import World
from ostro.testing.contracts.hypervisor import (
    CLOUD,
    ID,
    MAC,
    MEMO,
    Changes,
    HypervisorContract,
    LocalDomain,
    MakeDisk,
    MakeNic,
    MigrationContract,
    Pair,
)


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
            assert await driver.domains() == [LocalDomain(ID, Power.ON, MEMO, [])]
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
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [])
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


class TestFakeMigration(MigrationContract):
    @pytest.fixture
    async def pair(self, tmp_path: Path) -> AsyncIterator[Pair]:
        async with (
            open_(World(), FakeConfig(tmp_path / "here")) as here,
            open_(World(), FakeConfig(tmp_path / "there")) as there,
        ):
            yield Pair(here, there, lambda spec: spec)

    @pytest.fixture
    def spec(self, make_disk: MakeDisk, make_nic: MakeNic) -> DomainSpec:
        return DomainSpec(ID, "web", "project-1", 1, 64, [make_disk("vda", "")], [make_nic(MAC)])


async def test_a_migration_takes_its_time_and_can_be_broken_off_or_hurried(
    tmp_path: Path, make_disk: MakeDisk, autojump_clock: trio.testing.MockClock
) -> None:
    spec = DomainSpec(ID, "web", "project-1", 1, 64, [make_disk("vda", "")], [])

    async def send() -> None:
        await here.migrate(ID, landing, copy=True)

    async def fail() -> None:
        with pytest.raises(Unavailable, match="aborted"):
            await send()

    async with (
        open_(World(), FakeConfig(tmp_path / "here", migrate_s=100)) as here,
        open_(World(), FakeConfig(tmp_path / "there")) as there,
    ):
        for driver in (here, there):
            driver.watch(CLOUD, Changes())
        await here.define(spec, MEMO)
        await here.start(ID)
        landing = await there.prepare_arrival(spec, Memo(0, 0, "", "m-1"))
        for attempt, act in ((fail, here.abort_migration), (send, here.force_migration)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attempt)
                await trio.sleep(25)
                assert await here.migration(ID) == Progress(1 << 30, 1 << 28, 3 << 28)
                assert await here.find(ID) == LocalDomain(ID, Power.ON, MEMO, [], moving=True)
                assert await there.find(ID) is None
                await act(ID)
        assert await here.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [], sent=True)
        assert await there.find(ID) == LocalDomain(ID, Power.ON, Memo(0, 0, "", "m-1"), [])
