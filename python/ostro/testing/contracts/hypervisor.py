"""The contract of `ostro.agent.drivers.hypervisor.Hypervisor`.

A subclass gives the fixtures ``hypervisor`` (opened, watching nothing yet) and ``make_disk`` (device, volume id -> Disk, its file
made) and ``make_nic`` (address -> Nic, its tap made). The domains have nothing to boot from, so nothing here depends on a guest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec
import pytest
import trio

from ostro.agent.drivers.hypervisor import Disk, Domain, DomainSpec, Hypervisor, Memo, Nic
from ostro.model.errors import Conflict, NotFound, Unavailable
from ostro.model.volumes import LOCAL
from ostro.model.wishes import Power

CLOUD = "contract-cloud"
ID = "0c000000-0000-4000-8000-000000000001"
OTHER = "0c000000-0000-4000-8000-000000000002"
VOLUME = "0c000000-0000-4000-8000-00000000000a"
MEMO = Memo(generation=3, reboots=1, boot_id="boot-1")
WAIT_S = 20.0

MakeDisk = Callable[[str, str], Disk]
MakeNic = Callable[[str], Nic]
LocalDomain = partial(Domain, root_backend=LOCAL)
"""One whose first disk is a file of its host's."""
MAC, OTHER_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


@dataclass
class Changes:
    """Collects what the driver says has changed."""

    seen: set[str] = field(default_factory=set)
    _news: trio.Event = field(default_factory=trio.Event)

    def __call__(self, server_id: str) -> None:
        self.seen.add(server_id)
        self._news.set()
        self._news = trio.Event()

    async def wait_for(self, server_id: str) -> None:
        """Return when a change of ``server_id``, or of everything, has been told."""
        with trio.fail_after(WAIT_S):
            while not self.seen & {server_id, ""}:
                await self._news.wait()

    @property
    def next(self) -> trio.Event:
        """Set when something more has been told, of whomever."""
        return self._news


class HypervisorContract:
    """What every hypervisor driver must do."""

    def spec(self, make_disk: MakeDisk, server_id: str = ID, name: str = "web <1> & ü") -> DomainSpec:
        """A small domain with one blank disk."""
        return DomainSpec(server_id, name, "project-1", 1, 64, [make_disk("vda", "")], [])

    async def test_facts(self, hypervisor: Hypervisor) -> None:
        facts = hypervisor.facts
        assert facts.vcpus > 0 and facts.ram_mb > 0 and facts.boot_id and facts.why
        assert facts.acceleration in ("kvm", "tcg", "none")

    async def test_a_domain_is_defined_started_stopped_and_deleted(
        self, hypervisor: Hypervisor, make_disk: MakeDisk
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        assert await hypervisor.find(ID) is None
        await hypervisor.define(self.spec(make_disk), MEMO)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [])
        for _twice in range(2):
            await hypervisor.start(ID)
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.ON, MEMO, [])
        for _twice in range(2):
            await hypervisor.stop(ID, 0.1)
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [])
        await hypervisor.start(ID)
        for _twice in range(2):
            await hypervisor.delete(ID)
            assert await hypervisor.find(ID) is None

    async def test_a_domain_is_paused_and_goes_on(self, hypervisor: Hypervisor, make_disk: MakeDisk) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.pause(ID)
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.pause(ID)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [])
        await hypervisor.start(ID)
        for _twice in range(2):
            await hypervisor.pause(ID)
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.PAUSED, MEMO, [])
        await hypervisor.start(ID)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.ON, MEMO, [])

    async def test_defining_anew_replaces_what_a_domain_is_made_from(
        self, hypervisor: Hypervisor, make_disk: MakeDisk
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        spec = self.spec(make_disk, name="renamed")
        disks = [*spec.disks, make_disk("vdb", VOLUME)]
        later = Memo(9, 2, "boot-2")
        await hypervisor.define(DomainSpec(ID, "renamed", "project-1", 2, 65, disks, []), later)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, later, [VOLUME])

    async def test_only_domains_of_this_cloud_exist(self, hypervisor: Hypervisor, make_disk: MakeDisk) -> None:
        hypervisor.watch("another-cloud", Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        hypervisor.watch(CLOUD, Changes())
        assert await hypervisor.find(ID) is None
        assert await hypervisor.domains() == []
        await hypervisor.stop(ID, 0)
        await hypervisor.delete(ID)
        with pytest.raises(NotFound):
            await hypervisor.start(ID)
        with pytest.raises(Conflict):
            await hypervisor.define(self.spec(make_disk), MEMO)
        hypervisor.watch("another-cloud", Changes())
        assert await hypervisor.find(ID) is not None
        await hypervisor.delete(ID)

    async def test_domains_are_listed_by_id(self, hypervisor: Hypervisor, make_disk: MakeDisk) -> None:
        hypervisor.watch(CLOUD, Changes())
        for server_id in (OTHER, ID):
            await hypervisor.define(self.spec(make_disk, server_id), MEMO)
        assert [domain.server_id for domain in await hypervisor.domains()] == [ID, OTHER]

    async def test_a_memo_is_replaced_whether_the_domain_runs_or_not(
        self, hypervisor: Hypervisor, make_disk: MakeDisk
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.note(ID, Memo(4, 1, "boot-1"))
        await hypervisor.start(ID)
        await hypervisor.note(ID, Memo(5, 1, "boot-1"))
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.ON, Memo(5, 1, "boot-1"), [])
        await hypervisor.stop(ID, 0)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, Memo(5, 1, "boot-1"), [])

    async def test_a_volume_is_attached_to_a_domain_that_runs(
        self, hypervisor: Hypervisor, make_disk: MakeDisk
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.start(ID)
        for _twice in range(2):
            await hypervisor.attach(ID, make_disk("vdb", VOLUME))
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.ON, MEMO, [VOLUME])
        with pytest.raises(Conflict):
            await hypervisor.attach(ID, make_disk("vdb", OTHER))
        await hypervisor.resize(ID, VOLUME, 2 << 20)
        with pytest.raises(NotFound):
            await hypervisor.resize(ID, OTHER, 2 << 20)
        await hypervisor.stop(ID, 0)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [VOLUME])

    async def test_a_volume_is_attached_to_and_detached_from_a_domain_that_is_off(
        self, hypervisor: Hypervisor, make_disk: MakeDisk
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.attach(ID, make_disk("vdb", VOLUME))
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [VOLUME])
        for _twice in range(2):
            await hypervisor.detach(ID, VOLUME)
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [])

    async def test_a_network_card_is_plugged_into_a_domain_that_runs(
        self, hypervisor: Hypervisor, make_disk: MakeDisk, make_nic: MakeNic
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.start(ID)
        for _twice in range(2):
            await hypervisor.plug(ID, make_nic(MAC))
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.ON, MEMO, [], [MAC])
        await hypervisor.stop(ID, 0)
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [], [MAC])

    async def test_network_cards_of_a_domain_that_is_off(
        self, hypervisor: Hypervisor, make_disk: MakeDisk, make_nic: MakeNic
    ) -> None:
        hypervisor.watch(CLOUD, Changes())
        spec = msgspec.structs.replace(self.spec(make_disk), nics=[make_nic(MAC)])
        await hypervisor.define(spec, MEMO)
        await hypervisor.plug(ID, make_nic(OTHER_MAC))
        assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [], [MAC, OTHER_MAC])
        for _twice in range(2):
            await hypervisor.unplug(ID, MAC)
            assert await hypervisor.find(ID) == LocalDomain(ID, Power.OFF, MEMO, [], [OTHER_MAC])
        with pytest.raises(NotFound):
            await hypervisor.plug(OTHER, make_nic(MAC))
        await hypervisor.unplug(OTHER, MAC)

    async def test_what_is_gone(self, hypervisor: Hypervisor, make_disk: MakeDisk) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.stop(ID, 10)
        await hypervisor.delete(ID)
        await hypervisor.detach(ID, VOLUME)
        assert await hypervisor.console_log(ID, -1) == ""
        with pytest.raises(NotFound):
            await hypervisor.start(ID)
        with pytest.raises(NotFound):
            await hypervisor.note(ID, MEMO)
        with pytest.raises(NotFound):
            await hypervisor.attach(ID, make_disk("vdb", VOLUME))
        with pytest.raises(NotFound):
            await hypervisor.resize(ID, VOLUME, 2 << 20)

    async def test_the_end_of_a_domain_is_told(self, hypervisor: Hypervisor, make_disk: MakeDisk) -> None:
        hypervisor.watch(CLOUD, Changes())
        await hypervisor.define(self.spec(make_disk), MEMO)
        await hypervisor.start(ID)
        changes = Changes()
        hypervisor.watch(CLOUD, changes)
        await self.kill_domain(hypervisor, ID)
        # What is told first may be its start, late.
        with trio.fail_after(WAIT_S):
            await changes.wait_for(ID)
            while True:
                more = changes.next
                found = await hypervisor.find(ID)
                assert found is not None
                if found.power in (Power.OFF, Power.CRASHED):
                    break
                await more.wait()

    async def kill_domain(self, hypervisor: Hypervisor, server_id: str) -> None:
        """Make the domain die by itself; for the subclass to do its way."""
        raise NotImplementedError


@dataclass
class Pair:
    """Two hypervisors that can send each other domains. ``landed`` is a spec of the first's with the second's files."""

    here: Hypervisor
    there: Hypervisor
    landed: Callable[[DomainSpec], DomainSpec]
    copy: bool = True


async def _watch_arrival(pair: Pair, server_id: str) -> None:
    """Look without pause until the guest has come; it must not run here then."""
    while True:
        there = await pair.there.find(server_id)
        if there is not None and not there.moving:
            here = await pair.here.find(server_id)
            assert here is None or here.power is not Power.ON, "it runs where it was"
            assert there.power is Power.ON
            return
        await trio.lowlevel.checkpoint()


class MigrationContract:
    """What every two hypervisor drivers of one kind must do. A subclass gives the fixtures ``pair`` and ``spec``, of a domain that can run."""

    async def test_a_domain_goes_to_the_other_and_is_that_ones(self, pair: Pair, spec: DomainSpec) -> None:
        for one in (pair.here, pair.there):
            one.watch(CLOUD, Changes())
        here = msgspec.structs.replace(MEMO, move="m-1")
        there = Memo(0, MEMO.reboots, "boot-there", "m-1")
        await pair.here.define(spec, here)
        await pair.here.start(spec.server_id)
        landing = await pair.there.prepare_arrival(pair.landed(spec), there)
        assert await pair.there.find(spec.server_id) is None
        assert await pair.here.migration(spec.server_id) is None
        await pair.here.migrate(spec.server_id, landing, copy=pair.copy)
        found = await pair.there.find(spec.server_id)
        assert found is not None and (found.power, found.memo, found.moving) == (Power.ON, there, False)
        assert found.nics == [nic.mac for nic in spec.nics]
        left = await pair.here.find(spec.server_id)
        assert left is not None and (left.power, left.memo, left.sent, left.moving) == (Power.OFF, here, True, False)
        await pair.here.delete(spec.server_id)
        assert await pair.here.find(spec.server_id) is None
        # It is an ordinary domain there, also after it was off.
        await pair.there.note(spec.server_id, MEMO)
        await pair.there.stop(spec.server_id, 0)
        assert (await pair.there.find(spec.server_id)) == msgspec.structs.replace(found, power=Power.OFF, memo=MEMO)
        await pair.there.start(spec.server_id)
        await pair.there.delete(spec.server_id)

    async def test_a_guest_on_its_way_is_not_taken_for_one_that_has_come(self, pair: Pair, spec: DomainSpec) -> None:
        """Whoever looks at the host that it goes to, at any time, doesn't see it there before the other has lost it."""
        for one in (pair.here, pair.there):
            one.watch(CLOUD, Changes())
        await pair.here.define(spec, MEMO)
        await pair.here.start(spec.server_id)
        landing = await pair.there.prepare_arrival(pair.landed(spec), Memo(0, 0, "", "m-3"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_arrival, pair, spec.server_id)
            await pair.here.migrate(spec.server_id, landing, copy=pair.copy)
        found = await pair.there.find(spec.server_id)
        assert found is not None and found.power is Power.ON and not found.moving
        await pair.here.delete(spec.server_id)
        await pair.there.delete(spec.server_id)

    async def test_what_is_over_can_be_aborted_and_forced(self, pair: Pair, spec: DomainSpec) -> None:
        for one in (pair.here, pair.there):
            one.watch(CLOUD, Changes())
        for _twice in range(2):
            await pair.here.abort_migration(spec.server_id)
            await pair.here.force_migration(spec.server_id)
            assert await pair.here.migration(spec.server_id) is None
        landing = await pair.there.prepare_arrival(pair.landed(spec), MEMO)
        with pytest.raises(NotFound):
            await pair.here.migrate(spec.server_id, landing, copy=pair.copy)
        await pair.there.delete(spec.server_id)

    async def test_a_domain_that_is_off_is_not_sent(self, pair: Pair, spec: DomainSpec) -> None:
        for one in (pair.here, pair.there):
            one.watch(CLOUD, Changes())
        await pair.here.define(spec, MEMO)
        landing = await pair.there.prepare_arrival(pair.landed(spec), Memo(0, 0, "", "m-2"))
        with pytest.raises(Unavailable):
            await pair.here.migrate(spec.server_id, landing, copy=pair.copy)
        found = await pair.here.find(spec.server_id)
        assert found is not None and not found.sent and not found.moving
        assert await pair.there.find(spec.server_id) is None
        await pair.there.delete(spec.server_id)
        await pair.here.delete(spec.server_id)
