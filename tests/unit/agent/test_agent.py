"""The whole agent on fake drivers: servers come, live and go; the bad days of a host and of its control plane."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from ostro.agent.agent import INSPECT_EVERY_S
from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Memo
from ostro.agent.main import switch_off
from ostro.agent.opening import SERVERS_AT_ONCE
from ostro.model.errors import Bug, Unavailable
from ostro.model.wishes import (
    AskWish,
    AttachmentWish,
    EncryptionWish,
    Noun,
    Phase,
    PortWish,
    Power,
    RevertWish,
    SnapshotWish,
    VolumeWish,
)
from ostro.runtime.faults import Crash, CrashAt, RecordFaults
from ostro.testing.host import IMAGE, NETWORK, PORT, SERVER, VOLUME, SimulatedHost, open_host

SNAPSHOT = "50000000-0000-4000-8000-000000000001"
ATTACHED = [AttachmentWish("attachment", VOLUME, "vdb")]


async def test_a_server_is_made_and_removed(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        generation = host.wish_server()
        report = await host.server_reported()
        assert (report.generation, report.power, report.reason) == (generation, Power.ON, "")
        assert host.network.taps == {PORT}
        gone = host.wish_absence()
        for noun, id_ in ((Noun.SERVER, SERVER), (Noun.PORT, PORT), (Noun.NETWORK, NETWORK), (Noun.IMAGE, IMAGE)):
            await host.control.reported(noun, id_, Phase.ABSENT, gone[noun])
    assert await host.hypervisor.domains() == []
    contents = await host.block.contents()
    assert not contents.roots and not contents.images
    assert not host.network.taps and not host.network.held


async def test_a_server_waits_for_what_it_is_made_from(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.rewish_server()
        report = await host.server_reported(Phase.WORKING)
        assert report.reason == f"Waiting for port {PORT}."
        assert await host.hypervisor.domains() == []
        host.wish_server()
        await host.server_reported()


async def test_a_report_tells_what_has_been_passed(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.rewish_server()
        waiting = await host.server_reported(Phase.WORKING)
        assert [stage.name for stage in waiting.stages] == ["taken"]
        host.wish_server()
        done = await host.server_reported()
        names = [stage.name for stage in done.stages]
        assert names[-2:] == ["defined", "started"]
        assert "port ready" in names
        assert [stage.at_us for stage in done.stages] == sorted(stage.at_us for stage in done.stages)
        host.wish_server(power=Power.OFF)
        stopped = await host.server_reported()
        while stopped.power is not Power.OFF:
            stopped = await host.server_reported()
        assert [stage.name for stage in stopped.stages] == ["taken", "stopped"]


async def test_power_is_switched_off_and_on(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        assert (await host.server_reported()).power is Power.ON
        host.rewish_server(Power.OFF)
        assert (await host.server_reported()).power is Power.OFF
        host.rewish_server()
        assert (await host.server_reported()).power is Power.ON


async def test_a_reboot_is_carried_out_and_counted(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        for count, hard in ((1, False), (2, True)):
            host.rewish_server(reboots=count, reboot_hard=hard)
            report = await host.server_reported()
            assert (report.power, report.reboots) == (Power.ON, count)
    console = await host.hypervisor.console_log(SERVER, -1)
    assert console.split() == ("fake guest web: on " * 1 + "fake guest web: off fake guest web: on " * 2).split()


async def test_a_guest_that_powers_off_is_reported_and_left_off(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.hypervisor.power_off_inside(SERVER)
        await trio.sleep(INSPECT_EVERY_S * 3)
        assert host.control.now(Noun.SERVER, SERVER).power is Power.OFF
    async with host.agent():
        await trio.sleep(INSPECT_EVERY_S * 3)
        domain = await host.hypervisor.find(SERVER)
        assert domain is not None and domain.power is Power.OFF
        host.rewish_server()
        assert (await host.server_reported()).power is Power.ON


async def test_a_crashed_guest_is_reported(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.hypervisor.crash(SERVER)
        await trio.sleep(1)
        assert host.control.now(Noun.SERVER, SERVER).power is Power.CRASHED


async def test_a_host_that_starts_anew_starts_its_servers(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    host.hypervisor.lose_host_power()
    host.network.taps.clear()
    async with host.agent():
        await trio.sleep(5)
        domain = await host.hypervisor.find(SERVER)
        assert domain is not None and domain.power is Power.ON
        assert host.network.taps == {PORT}


async def test_an_agent_that_starts_again_disturbs_nothing(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    before = await host.hypervisor.console_log(SERVER, -1), await host.hypervisor.domains()
    async with host.agent():
        await trio.sleep(INSPECT_EVERY_S * 2)
    assert (await host.hypervisor.console_log(SERVER, -1), await host.hypervisor.domains()) == before
    assert host.network.taps == {PORT}


async def test_volumes_are_made_attached_grown_detached_and_deleted(host: SimulatedHost, clock: MockClock) -> None:
    control = host.control
    async with host.agent():
        host.wish_server(attachments=ATTACHED)
        assert VOLUME in (await host.server_reported(Phase.WORKING)).reason
        control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 1))
        assert (await control.reported(Noun.VOLUME, VOLUME, Phase.READY)).size_gb == 1
        assert (await host.server_reported()).attached == [VOLUME]
        control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 3))
        await control.reported(Noun.VOLUME, VOLUME, Phase.READY)
        gone = control.wish_absence(Noun.VOLUME, VOLUME)
        report = await control.reported(Noun.VOLUME, VOLUME, Phase.WORKING)
        assert "still plugged into" in report.reason
        host.rewish_server()
        assert (await host.server_reported()).attached == []
        await control.reported(Noun.VOLUME, VOLUME, Phase.ABSENT, gone)
    assert not (await host.block.contents()).volumes


async def test_an_encrypted_volume_has_its_key_at_hand_while_it_is_plugged_in(
    host: SimulatedHost, clock: MockClock
) -> None:
    async with host.agent():
        wish = VolumeWish(
            VOLUME, 1, encryption=EncryptionWish("luks", "aes-xts-plain64", 256), limits={"total_iops_sec": 9}
        )
        host.control.wish(Noun.VOLUME, VOLUME, wish)
        host.wish_server(attachments=[AttachmentWish("attachment", VOLUME, "vdb", {"read_iops_sec": 5})])
        assert (await host.server_reported()).attached == [VOLUME]
        made = await host.block.find_volume(VOLUME)
        assert made is not None and (made.format, made.limits) == ("luks", {"total_iops_sec": 9})
        assert host.hypervisor.keys == {VOLUME}
        host.hypervisor.lose_host_power()
        host.rewish_server(attachments=ATTACHED)
        await host.server_reported()
        assert host.hypervisor.keys == {VOLUME}
        host.control.wish(Noun.VOLUME, VOLUME, msgspec.structs.replace(wish, limits={}))
        await host.control.reported(Noun.VOLUME, VOLUME, Phase.READY)
        made = await host.block.find_volume(VOLUME)
        assert made is not None and made.limits == {}
        generation = host.rewish_server(attachments=[])
        await host.server_reported(generation=generation)
        assert host.hypervisor.keys == set()


async def test_a_volume_is_reverted_when_nobody_has_it(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        control, wish = host.control, VolumeWish(VOLUME, 1, revert=RevertWish("one", SNAPSHOT))
        control.wish(Noun.VOLUME, VOLUME, msgspec.structs.replace(wish, revert=None))
        await control.reported(Noun.VOLUME, VOLUME, Phase.READY)
        generation = control.wish(Noun.VOLUME, VOLUME, wish)
        report = await control.reported(Noun.VOLUME, VOLUME, Phase.FAILED, generation)
        assert "snapshot" in report.reason
        control.wish(Noun.SNAPSHOT, SNAPSHOT, SnapshotWish(SNAPSHOT, VOLUME))
        await control.reported(Noun.SNAPSHOT, SNAPSHOT, Phase.READY)
        generation = control.wish(
            Noun.VOLUME, VOLUME, msgspec.structs.replace(wish, revert=RevertWish("two", SNAPSHOT))
        )
        await control.reported(Noun.VOLUME, VOLUME, Phase.READY, generation)
        found = await host.block.find_volume(VOLUME)
        assert found is not None and found.reverted == "two"
        host.wish_server(attachments=ATTACHED)
        assert (await host.server_reported()).attached == [VOLUME]
        generation = control.wish(Noun.VOLUME, VOLUME, wish)
        report = await control.reported(Noun.VOLUME, VOLUME, Phase.WORKING, generation)
        assert SERVER in report.reason, "it is plugged in"


async def test_a_full_disk_fails_the_volume_and_what_waits_for_it(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 5000))
        report = await host.control.reported(Noun.VOLUME, VOLUME, Phase.FAILED)
        assert "full" in report.reason
        host.wish_server(attachments=ATTACHED)
        report = await host.server_reported(Phase.FAILED)
        assert VOLUME in report.reason and "full" in report.reason


async def test_what_nobody_wishes_for_is_removed(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    for noun, id_ in ((Noun.SERVER, SERVER), (Noun.PORT, PORT), (Noun.IMAGE, IMAGE)):
        host.control.forget(noun, id_)
    async with host.agent():
        await trio.sleep(5)
    assert await host.hypervisor.domains() == []
    assert not host.network.taps
    contents = await host.block.contents()
    assert not contents.roots and not contents.images


async def test_nothing_is_removed_for_a_control_plane_that_knows_the_host_by_another_id(
    tmp_path: Path, host: SimulatedHost, clock: MockClock
) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    for noun, id_ in ((Noun.SERVER, SERVER), (Noun.PORT, PORT), (Noun.IMAGE, IMAGE)):
        host.control.forget(noun, id_)
    host.control.registered = type(host.control.registered)("host-2", "cloud-1", 30.0)
    async with host.agent():
        await trio.sleep(INSPECT_EVERY_S * 2)
    assert [domain.power for domain in await host.hypervisor.domains()] == [Power.ON]
    assert host.network.taps == {PORT}


async def test_another_clouds_domains_are_not_touched(host: SimulatedHost, clock: MockClock) -> None:
    host.hypervisor.watch("another-cloud", lambda _id: None)
    await host.hypervisor.define(DomainSpec("other", "o", "p", 1, 64, [Disk("vda", "/x", "raw")], []), Memo(1, 0, "b"))
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        await trio.sleep(INSPECT_EVERY_S * 2)
    host.hypervisor.watch("another-cloud", lambda _id: None)
    assert await host.hypervisor.find("other") is not None


async def test_reports_are_told_again_after_the_control_plane_was_away(host: SimulatedHost, clock: MockClock) -> None:
    control = host.control
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        control.away = True
        control.ring()
        host.hypervisor.power_off_inside(SERVER)
        await trio.sleep(120)
        assert control.now(Noun.SERVER, SERVER).power is Power.ON
        control.away = False
        await trio.sleep(60)
        assert control.now(Noun.SERVER, SERVER).power is Power.OFF


async def test_a_host_that_is_forgotten_registers_again_and_tells_all(host: SimulatedHost, clock: MockClock) -> None:
    control = host.control
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        control.reports.clear()
        control.knows_host = False
        control.ring()
        assert (await host.server_reported()).power is Power.ON
    assert len(control.registrations) == 2


async def test_the_hypervisor_goes_away_and_comes_back(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.hypervisor.go_away()
        host.rewish_server(Power.OFF)
        report = await host.server_reported(Phase.WORKING)
        assert report.reason == "The fake hypervisor is away." and report.power is Power.ON
        host.hypervisor.come_back()
        assert (await host.server_reported()).power is Power.OFF


async def test_the_switch_goes_away_and_comes_back(host: SimulatedHost, clock: MockClock) -> None:
    host.network.away = True
    async with host.agent():
        host.wish_server()
        report = await host.control.reported(Noun.PORT, PORT, Phase.WORKING)
        assert report.reason == "The switch is away."
        host.network.away = False
        await host.server_reported()


async def test_an_ask_is_answered(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
        host.control.wish(Noun.ASK, "ask", AskWish("ask", "console_log", SERVER, 10))
        report = await host.control.reported(Noun.ASK, "ask", Phase.READY)
        assert report.answer == "fake guest web: on\n"
        gone = host.control.wish_absence(Noun.ASK, "ask")
        await host.control.reported(Noun.ASK, "ask", Phase.ABSENT, gone)
        host.control.wish(Noun.ASK, "odd", AskWish("odd", "meaning_of_life", SERVER))
        assert (await host.control.reported(Noun.ASK, "odd", Phase.FAILED)).reason


async def live(host: SimulatedHost) -> None:
    """A server with a volume comes, is rebooted, stopped and goes."""
    control = host.control
    control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 1))
    host.wish_server(attachments=ATTACHED)
    await host.server_reported()
    host.rewish_server(reboots=1)
    await host.server_reported()
    control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 2))
    await control.reported(Noun.VOLUME, VOLUME, Phase.READY)
    host.rewish_server(Power.OFF, reboots=1, attachments=ATTACHED)
    await host.server_reported()
    gone = host.wish_absence()
    volume = control.wish_absence(Noun.VOLUME, VOLUME)
    await host.server_reported(Phase.ABSENT, gone[Noun.SERVER])
    await control.reported(Noun.PORT, PORT, Phase.ABSENT, gone[Noun.PORT])
    await control.reported(Noun.VOLUME, VOLUME, Phase.ABSENT, volume)


async def fault_points(state_dir: Path) -> list[str]:
    """The fault points that a life passes, in order, each once."""
    recorder = RecordFaults()
    async with open_host(state_dir) as host, host.agent(recorder):
        await live(host)
    return list(dict.fromkeys(recorder.seen))


async def test_a_crash_at_any_fault_point_is_made_good(tmp_path: Path, clock: MockClock) -> None:
    points = await fault_points(tmp_path / "record")
    assert {"agent.server.define", "agent.server.start", "agent.server.deleted", "agent.volume.make"} <= set(points)
    for number, point in enumerate(points):
        async with open_host(tmp_path / str(number)) as host, trio.open_nursery() as nursery:
            nursery.start_soon(agents_until_crash, host, point)
            await live(host)
            nursery.cancel_scope.cancel()
            assert await host.hypervisor.domains() == []
            contents = await host.block.contents()
            assert not contents.roots and not contents.volumes
            assert not host.network.taps


async def agents_until_crash(host: SimulatedHost, point: str) -> None:
    """An agent that dies at the point, and then another that lives."""
    try:
        async with host.agent(CrashAt(point)):
            await trio.sleep_forever()
    except* Crash:
        pass
    async with host.agent():
        await trio.sleep_forever()


@pytest.mark.parametrize("error", [Bug("Open vSwitch refused a change."), OSError("too many open files")], ids=repr)
async def test_a_port_that_fails_somehow_holds_up_nothing_else(
    host: SimulatedHost, clock: MockClock, error: Exception
) -> None:
    other = "90000000-0000-4000-8000-000000000002"
    async with host.agent():
        host.network.failing[other] = error
        port = PortWish(other, NETWORK, "project", "fa:16:3e:00:00:03", "tap90000001")
        host.control.wish(Noun.PORT, other, port)
        host.wish_server()
        await host.server_reported()
        await host.control.reported(Noun.PORT, other, Phase.WORKING)
        del host.network.failing[other]
        await host.control.reported(Noun.PORT, other, Phase.READY)


async def test_an_agent_that_is_turned_away_again_and_again_does_not_hammer(
    host: SimulatedHost, clock: MockClock
) -> None:
    async with host.agent():
        for _ in range(600):
            await trio.sleep(0.1)
            host.control.knows_host = False
            host.control.ring()
    assert 2 < len(host.control.registrations) < 20


async def test_an_identity_is_written_whole_and_a_damaged_one_is_told(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.wish_server()
        await host.server_reported()
    path = host.config.state_dir / "host.json"
    assert not path.with_suffix(".new").exists()
    path.write_bytes(b"")
    damaged = pytest.RaisesExc(Unavailable, match="host.json is damaged")
    with pytest.RaisesGroup(damaged, flatten_subgroups=True):
        async with host.agent():
            await trio.sleep_forever()


class SlowHypervisor:
    """Notes how many servers are being stopped at once; one of them doesn't end."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.stopped: set[str] = set()

    async def stop(self, server_id: str, grace_s: float) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await trio.sleep(2)
        self.now -= 1
        if server_id == "s7":
            raise Unavailable("It hangs.")
        self.stopped.add(server_id)


async def test_many_servers_are_switched_off_a_few_at_a_time(clock: MockClock) -> None:
    hypervisor = SlowHypervisor()
    ids = [f"s{n}" for n in range(500)]
    with pytest.raises(Unavailable, match="1 servers could not be switched off: It hangs"):
        await switch_off(hypervisor, ids)  # type: ignore[arg-type]
    assert hypervisor.most == SERVERS_AT_ONCE
    assert hypervisor.stopped == {*ids} - {"s7"}
