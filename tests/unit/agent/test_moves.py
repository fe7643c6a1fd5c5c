"""Two agents and a server that goes from one to the other, whoever of them dies meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ostro.model.wishes import (
    AttachmentWish,
    ComingWish,
    EncryptionWish,
    GoingWish,
    MigrationState,
    Noun,
    Phase,
    Power,
    Report,
    VolumeWish,
)
from ostro.runtime.faults import CrashAt, Faults
from ostro.testing.crashes import has_crash
from ostro.testing.host import SERVER, WAIT_S, SimulatedHost, open_host

MOVE = "0f000000-0000-4000-8000-000000000001"
COMING = ComingWish(MOVE, copy=True)
Pair = tuple[SimulatedHost, SimulatedHost]


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Pair]:
    async with open_host(tmp_path / "a", seed=1) as a, open_host(tmp_path / "b", seed=2) as b:
        yield a, b


async def until(host: SimulatedHost, wanted: Callable[[Report], bool]) -> Report:
    """Wait for such a report of the server as it is wished now."""
    with trio.fail_after(WAIT_S):
        while True:
            report = host.control.reports.get((Noun.SERVER, SERVER))
            wish = host.control.wished(Noun.SERVER, SERVER)
            if report is not None and wish is not None and report.generation == wish.generation and wanted(report):
                return report
            await host.control.next_report()


def says(*states: MigrationState) -> Callable[[Report], bool]:
    return lambda report: report.migration is not None and report.migration.state in states


def has_begun(report: Report) -> bool:
    return report.migration is not None and report.migration.memory_processed > 0


async def live(host: SimulatedHost, faults: Faults | None = None) -> None:
    """An agent that dies by the fault is followed by another."""
    try:
        async with host.agent(faults):
            await trio.sleep_forever()
    except BaseException as error:
        if not has_crash(error):
            raise
    async with host.agent():
        await trio.sleep_forever()


@asynccontextmanager
async def agents(*hosts: SimulatedHost) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(live, host)
        yield
        nursery.cancel_scope.cancel()


async def running(*hosts: SimulatedHost) -> list[str]:
    """The hosts whose hypervisors run the server."""
    found = [(host.config.state_dir.name, await host.hypervisor.find(SERVER)) for host in hosts]
    return [name for name, domain in found if domain is not None and domain.power is Power.ON]


async def expect(b: SimulatedHost) -> str:
    """Have the server come to b; the landing."""
    b.wish_server(coming=COMING)
    return (await until(b, lambda report: bool(report.landing))).landing


async def send(a: SimulatedHost, landing: str, **more: Any) -> None:
    a.rewish_server(going=GoingWish(MOVE, landing=landing, copy=True, **more))


async def let_go(left: SimulatedHost, heir: str) -> None:
    """The host gives up all it has of the server."""
    left.rewish_server(Power.OFF, going=GoingWish(MOVE, left=True, heir=heir))
    await until(left, says(MigrationState.MIGRATED))
    assert await left.hypervisor.find(SERVER) is None
    generations = left.wish_absence()
    await left.server_reported(Phase.ABSENT, generations[Noun.SERVER])
    assert SERVER not in (await left.block.contents()).roots


async def check_gone(a: SimulatedHost, b: SimulatedHost) -> None:
    """b has the server as its own, it wasn't started anew, and a has nothing of it any more."""
    b.rewish_server()
    await b.server_reported()
    assert await running(a, b) == ["b"]
    console = await b.hypervisor.console_log(SERVER, -1)
    assert console.count(": on\n") == 1 and "arrived" in console
    await let_go(a, "b")
    assert SERVER in (await b.block.contents()).roots


async def check_stayed(a: SimulatedHost, b: SimulatedHost) -> None:
    """b closes, and the server is a's as before."""
    b.rewish_server(coming=msgspec.structs.replace(COMING, closed=True))
    await until(b, says(MigrationState.FAILED))
    a.rewish_server()
    await a.server_reported()
    assert await running(a, b) == ["a"]
    await let_go(b, "a")
    assert (await a.hypervisor.console_log(SERVER, -1)).count(": on\n") == 1


async def test_a_server_goes_from_one_agent_to_another(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    async with agents(a, b):
        await a.server_reported()
        landing = await expect(b)
        assert await running(a, b) == ["a"]
        await send(a, landing)
        await until(a, says(MigrationState.MIGRATED))
        arrived = await until(b, says(MigrationState.MIGRATED))
        assert arrived.power is Power.ON
        await check_gone(a, b)


@pytest.mark.parametrize("point", ["expected", "going", "sent"])
@pytest.mark.parametrize("who", ["a", "b"])
async def test_an_agent_dies_on_the_way(hosts: Pair, who: str, point: str, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    async with trio.open_nursery() as nursery:
        for name, host in (("a", a), ("b", b)):
            nursery.start_soon(live, host, CrashAt(f"agent.server.{point}") if name == who else None)
        await a.server_reported()
        await send(a, await expect(b))
        told = await until(a, says(MigrationState.MIGRATED, MigrationState.FAILED, MigrationState.UNKNOWN))
        assert told.migration is not None
        if told.migration.state is MigrationState.MIGRATED:
            await until(b, says(MigrationState.MIGRATED))
            await check_gone(a, b)
        else:
            assert (who, point) == ("a", "going"), "it had not begun, and is not begun a second time"
            await check_stayed(a, b)
        nursery.cancel_scope.cancel()


async def test_a_slow_migration_is_told_aborted_and_tried_once(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    a.hypervisor.slow_down(1000.0)
    async with agents(a, b):
        await a.server_reported()
        landing = await expect(b)
        await send(a, landing)
        progress = await until(a, has_begun)
        assert progress.migration is not None and progress.migration.memory_remaining > 0
        await send(a, landing, abort=True)
        await until(a, says(MigrationState.CANCELLED))
        await send(a, landing)
        await until(a, says(MigrationState.FAILED))
        await check_stayed(a, b)


async def test_a_slow_migration_is_forced(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    a.hypervisor.slow_down(1000.0)
    async with agents(a, b):
        await a.server_reported()
        landing = await expect(b)
        await send(a, landing)
        await until(a, has_begun)
        await send(a, landing, force=True)
        await until(b, says(MigrationState.MIGRATED))
        await check_gone(a, b)


async def test_a_migration_that_takes_too_long_is_broken_off(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    a.hypervisor.slow_down(10_000.0)
    async with agents(a, b):
        await a.server_reported()
        await send(a, await expect(b), timeout_s=100)
        await until(a, says(MigrationState.FAILED))
        await check_stayed(a, b)


async def test_an_agent_that_died_in_the_midst_lets_the_migration_go_on(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    a.hypervisor.slow_down(100.0)
    async with agents(b):
        async with a.agent():
            await a.server_reported()
            await send(a, await expect(b))
            await until(a, has_begun)
        async with a.agent():
            await until(a, says(MigrationState.MIGRATED))
            await until(b, says(MigrationState.MIGRATED))
            await check_gone(a, b)


async def test_a_guest_that_is_being_sent_is_not_destroyed_however_it_is_told_to_be_left(
    hosts: Pair, clock: MockClock
) -> None:
    a, b = hosts
    a.wish_server()
    a.hypervisor.slow_down(100.0)
    async with agents(a, b):
        await a.server_reported()
        await send(a, await expect(b))
        await until(a, has_begun)
        a.rewish_server(Power.OFF, going=GoingWish(MOVE, left=True, heir="b"))
        await trio.sleep(50)
        assert await running(a, b) == ["a"]
        arrived = await until(b, says(MigrationState.MIGRATED))
        assert arrived.power is Power.ON
        await until(a, says(MigrationState.MIGRATED))
        assert await a.hypervisor.find(SERVER) is None
        assert await running(a, b) == ["b"]


async def test_a_wish_without_the_migration_ends_it(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    a.hypervisor.slow_down(1000.0)
    async with agents(a, b):
        await a.server_reported()
        await send(a, await expect(b))
        await until(a, has_begun)
        a.rewish_server()
        await a.server_reported()
        assert await running(a, b) == ["a"]
        found = await a.hypervisor.find(SERVER)
        assert found is not None and not found.moving


# ---- cold ----------------------------------------------------------------------------------------------------------


async def test_a_server_goes_cold_and_comes_back(hosts: Pair, clock: MockClock) -> None:
    a, b = hosts
    a.wish_server()
    async with agents(a, b):
        await a.server_reported()
        kept = GoingWish(MOVE, cold=True)
        a.rewish_server(Power.OFF, going=kept)
        left = await until(a, says(MigrationState.RUNNING))
        assert left.power is Power.OFF and await running(a, b) == []
        b.wish_server(Power.OFF, coming=ComingWish(MOVE, cold=True, offer=left.offer))
        await until(b, says(MigrationState.RUNNING))
        assert await running(a, b) == []
        b.rewish_server(disk_gb=3)
        await b.server_reported()
        assert await running(a, b) == ["b"]
        found = await b.block.find_root(SERVER)
        assert found is not None and found.size_bytes == 3 << 30
        # It is taken back.
        await let_go(b, "a")
        a.rewish_server()
        await a.server_reported()
        assert await running(a, b) == ["a"]


async def test_the_keys_of_encrypted_volumes_are_at_hand_before_the_guest_comes(hosts: Pair, clock: MockClock) -> None:
    _, b = hosts
    volume = VolumeWish("volume", 1, encryption=EncryptionWish("luks", "aes-xts-plain64", 256))
    async with agents(b):
        b.control.wish(Noun.VOLUME, volume.id, volume)
        b.wish_server(coming=COMING, attachments=[AttachmentWish("attachment", volume.id, "vdb")])
        await until(b, lambda report: bool(report.landing))
        assert b.hypervisor.keys == {volume.id}
        # It never came.
        b.rewish_server(going=GoingWish(MOVE, left=True, heir="a"))
        generation = b.control.wish_absence(Noun.VOLUME, volume.id)
        with trio.fail_after(WAIT_S):
            await b.control.reported(Noun.VOLUME, volume.id, Phase.ABSENT, generation)
        assert b.hypervisor.keys == set()
