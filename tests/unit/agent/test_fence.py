"""The fence: a host that loses the control plane pauses what others may be given, and learns what it lost before it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ostro.agent.agent import poll_wait_s
from ostro.model.registration import Registered
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import AttachmentWish, Noun, Phase, Power, VolumeWish
from ostro.testing.host import SERVER, VOLUME, SimulatedHost, open_host

FENCE_S = 60.0


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[SimulatedHost]:
    async with open_host(tmp_path, backends=(CEPH, LOCAL)) as simulated:
        simulated.control.tell(fence_s=FENCE_S)
        yield simulated


async def power(host: SimulatedHost) -> Power | None:
    domain = await host.hypervisor.find(SERVER)
    return None if domain is None else domain.power


async def test_servers_on_shared_disks_are_paused_and_go_on(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        await trio.sleep(FENCE_S - 20)
        assert await power(host) is Power.ON
        await trio.sleep(21)
        assert await power(host) is Power.PAUSED
        host.control.away = False
        await trio.sleep(20)
        assert await power(host) is Power.ON
        assert "paused fake guest web: goes on" in (await host.hypervisor.console_log(SERVER, -1)).replace("\n", " ")
        await trio.sleep(300)
        assert host.control.now(Noun.SERVER, SERVER).power is Power.ON


async def test_the_control_plane_is_told_what_the_host_goes_by(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        await trio.sleep(1)
    assert [said.fence_s for said in host.control.registrations] == [0.0, FENCE_S]
    async with host.agent() as agent:
        await trio.sleep(1)
        assert (agent.fence.epoch, agent.fence.fence_s) == (1, FENCE_S)
    assert [said.fence_s for said in host.control.registrations] == [0.0, FENCE_S, FENCE_S]


async def test_servers_on_local_disks_run_on(tmp_path: Path, clock: MockClock) -> None:
    async with open_host(tmp_path) as host, host.agent():
        host.control.tell(fence_s=FENCE_S)
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        await trio.sleep(FENCE_S * 3)
        assert await power(host) is Power.ON


async def test_one_shared_disk_is_enough(tmp_path: Path, clock: MockClock) -> None:
    async with open_host(tmp_path, backends=(LOCAL, CEPH)) as host, host.agent():
        host.control.tell(fence_s=FENCE_S)
        host.control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 1, backend=CEPH))
        host.wish_server(attachments=[AttachmentWish("attachment", VOLUME, "vdb")])
        await host.server_reported()
        host.control.lose_contact()
        await trio.sleep(FENCE_S + 1)
        assert await power(host) is Power.PAUSED


async def test_without_a_fence_nothing_is_paused(host: SimulatedHost, clock: MockClock) -> None:
    host.control.tell(fence_s=0.0)
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        await trio.sleep(FENCE_S * 10)
        assert await power(host) is Power.ON


async def test_what_was_lost_meanwhile_never_goes_on(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        await trio.sleep(FENCE_S + 1)
        gone = host.control.wish_absence(Noun.SERVER, SERVER)
        host.control.tell(epoch=2, fence_s=FENCE_S)
        host.control.away = False
        while await power(host) is Power.PAUSED:
            assert "goes on" not in await host.hypervisor.console_log(SERVER, -1)
            await trio.sleep(0.001)
        assert await power(host) in (Power.OFF, None)
        await host.server_reported(Phase.ABSENT, gone)
    assert host.control.registrations[-1].epoch == 2


async def test_a_restart_does_not_make_the_fence_later(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        await trio.sleep(60)
        host.control.lose_contact()
        await trio.sleep(25)
    async with host.agent():
        await trio.sleep(FENCE_S - 25 + 1)
        assert await power(host) is Power.PAUSED
    # And one that comes after the deadline pauses before anybody answers, and lets go on what another agent has paused.
    await host.hypervisor.start(SERVER)
    async with host.agent():
        await trio.sleep(0.1)
        assert await power(host) is Power.PAUSED
    host.control.away = False
    async with host.agent():
        await trio.sleep(20)
        assert await power(host) is Power.ON


async def test_a_damaged_record_is_taken_for_a_long_silence(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    (host.config.state_dir / "fence.json").write_bytes(b'{"epoch"')
    host.control.lose_contact()
    async with host.agent():
        await trio.sleep(0.1)
        assert await power(host) is Power.PAUSED
        host.control.away = False
        await trio.sleep(20)
        assert await power(host) is Power.ON


async def test_an_answer_to_an_old_question_is_no_contact(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent() as agent:
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        asked_s = trio.current_time()
        await trio.sleep(FENCE_S + 5)
        agent.fence.contact(asked_s)
        assert agent.fence.left_s() <= 0 and await power(host) is Power.PAUSED


async def test_a_server_is_lost_before_any_other_work_is_done(host: SimulatedHost, clock: MockClock) -> None:
    """The host was taken for dead and comes back: its lost server is off before a keeper has looked at anything."""
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    host.control.wish_absence(Noun.SERVER, SERVER)
    host.control.tell(epoch=2, fence_s=FENCE_S)
    host.control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 1))
    async with host.agent() as agent:
        while not agent.fence.settled:
            assert not (await host.block.contents()).volumes
            await trio.sleep(0.001)
        assert await power(host) in (Power.OFF, None)


async def test_a_hypervisor_that_is_away_is_waited_for(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent() as agent:
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        host.hypervisor.go_away()
        await trio.sleep(FENCE_S + 30)
        host.hypervisor.come_back()
        await trio.sleep(2)
        assert await power(host) is Power.PAUSED
        host.hypervisor.go_away()
        host.control.away = False
        await trio.sleep(30)
        assert not agent.fence.settled
        host.hypervisor.come_back()
        await trio.sleep(5)
        assert agent.fence.settled and await power(host) is Power.ON


async def test_a_server_that_was_wished_off_meanwhile_does_not_go_on(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.control.lose_contact()
        await trio.sleep(FENCE_S + 1)
        host.rewish_server(Power.OFF)
        host.control.away = False
        assert (await host.server_reported()).power is Power.OFF


async def test_a_server_taken_from_another_host_is_taken_over(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server(taken_from="host-a")
        await host.server_reported()
    assert host.block.taken_over == {SERVER}


@pytest.mark.parametrize(
    ("lease_s", "fence_s", "wait_s"), [(30, 0, 10), (30, 60, 10), (30, 20, 5), (30, 1, 1), (2, 0, 1)]
)
def test_polls_are_held_so_long_that_contact_is_kept(lease_s: float, fence_s: float, wait_s: int) -> None:
    assert poll_wait_s(Registered("h", "c", lease_s, 1, fence_s)) == wait_s
