"""Servers: one domain each, made, run and removed as wished.

What must be done follows from the domain as it was found, its memo, and the wish (`plan`). The memo says up to which generation of
the wish the domain has been brought, and in which boot of the host. From it follows what an "off" domain means:

- at an older generation, or in an earlier boot of the host, it has yet to be started;
- at this generation and in this boot it had been started, so its guest has powered off or died by itself. It is reported so
  and left alone, until the wish changes.

A memo is written after what it tells of, so a crash in between repeats the work, which is harmless.

A server that moves is brought by `ostro.agent.moves` until it has come, or for good.

A server waits for its image, its volumes and its ports, and is woken when they are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

import msgspec
import structlog
import trio

from ostro.agent.drivers.block import GIB, Stored
from ostro.agent.drivers.hypervisor import Disk, Domain, DomainSpec, Memo, Nic
from ostro.agent.host import Host
from ostro.agent.mirror import Held, Key
from ostro.agent.moves import LOOK_AGAIN_S as LOOK_AFTER_S
from ostro.agent.moves import Moves
from ostro.model.errors import Conflict, OstroError, Unavailable, Unsupported
from ostro.model.wishes import AttachmentWish, NetworkWish, Noun, Phase, PortWish, Power, Report, ServerWish, VolumeWish

log = structlog.get_logger()

GRACE_S = 30.0
"""How long a guest may take to power off before it is switched off."""

LOOK_AGAIN_S = 10.0
ROOT_DEVICE = "vda"


@dataclass(frozen=True)
class Define:
    """Make the domain, or make it anew, from the wish; off."""


@dataclass(frozen=True)
class TakeOver:
    """See that the host that had the server can't write to its disks any more."""


@dataclass(frozen=True)
class Adopt:
    """Look after the root disk of a server that has come from another host."""


@dataclass(frozen=True)
class Start:
    """Switch the domain on."""


@dataclass(frozen=True)
class Stop:
    """Switch the domain off, after ``grace_s`` for its guest."""

    grace_s: float


@dataclass(frozen=True)
class Attach:
    """Plug a volume into the domain."""

    attachment: AttachmentWish


@dataclass(frozen=True)
class Detach:
    """Pull a volume out of the domain."""

    volume_id: str


@dataclass(frozen=True)
class Plug:
    """Plug a port's network card into the domain."""

    port_id: str


@dataclass(frozen=True)
class Unplug:
    """Pull a network card out of the domain."""

    mac: str


@dataclass(frozen=True)
class Note:
    """Remember that all before this is done."""

    memo: Memo


STAGES: dict[type, str] = {
    Define: "defined",
    TakeOver: "taken over",
    Adopt: "adopted",
    Start: "started",
    Stop: "stopped",
    Attach: "volume attached",
    Detach: "volume detached",
    Plug: "port plugged",
    Unplug: "port unplugged",
}
"""What is told of a step that is done."""

Step = Define | TakeOver | Adopt | Start | Stop | Attach | Detach | Plug | Unplug | Note


def plan(
    have: Domain | None, wish: ServerWish, generation: int, boot_id: str, macs: Mapping[str, str] | None = None
) -> list[Step]:
    """The steps from the domain as found to the wish, none when nothing is to be done. Pure.

    ``macs`` are the addresses of the ports that this host knows.
    """
    done = Memo(generation, wish.reboots, boot_id)
    steps: list[Step] = []
    if have is None:
        steps = [Define(), *([Start()] if wish.power is Power.ON else [])]
        return [*_taking_over(steps, wish, Memo(0, 0, "")), Note(done)]
    steps = _taking_over(_power_steps(have, wish, done), wish, have.memo)
    if Define() not in steps:
        steps += _volume_steps(have, wish)
        steps += _nic_steps(have, wish, macs or {})
        if have.memo.move and not have.memo.generation:
            steps.insert(0, Adopt())
    if have.memo != done:
        steps.append(Note(done))
    return steps


def _taking_over(steps: list[Step], wish: ServerWish, memo: Memo) -> list[Step]:
    """The steps, with that of taking over when the domain is made here for the first time."""
    if not wish.taken_from or memo.generation or Define() not in steps:
        return steps
    at = steps.index(Define()) + 1
    return [*steps[:at], TakeOver(), *steps[at:]]


def _power_steps(have: Domain, wish: ServerWish, done: Memo) -> list[Step]:
    runs = have.power in (Power.ON, Power.PAUSED)
    grace_s = GRACE_S if have.power is Power.ON else 0.0
    match wish.power:
        case Power.OFF:
            return [Stop(grace_s)] if runs else []
        case Power.ON if runs and wish.reboots > have.memo.reboots:
            return [Stop(0.0 if wish.reboot_hard else grace_s), Define(), Start()]
        case Power.ON if have.stalled:
            # It tries what failed once more, and is paused again if that still fails.
            return [Start()]
        case Power.ON if have.memo == done:
            return []
        case Power.ON if have.power is Power.PAUSED:
            return [Start()]
        case Power.ON:
            return [] if runs else [Define(), Start()]
        case Power.PAUSED | Power.CRASHED | Power.UNKNOWN:
            raise Unsupported(f"A server can't be wished {wish.power}.")
        case _:
            assert_never(wish.power)


def _volume_steps(have: Domain, wish: ServerWish) -> list[Step]:
    wanted = {attachment.volume_id for attachment in wish.attachments}
    attached = set(have.attached) - {wish.root_volume_id}
    out: list[Step] = [Detach(volume_id) for volume_id in sorted(attached - wanted)]
    return out + [Attach(a) for a in wish.attachments if a.volume_id not in attached]


def _nic_steps(have: Domain, wish: ServerWish, macs: Mapping[str, str]) -> list[Step]:
    """Cards to plug and to pull. None is pulled as long as a port isn't known: it may be that port's."""
    out: list[Step] = []
    if all(port_id in macs for port_id in wish.ports):
        wanted = {macs[port_id].lower() for port_id in wish.ports}
        out = [Unplug(mac) for mac in have.nics if mac not in wanted]
    return out + [Plug(port_id) for port_id in wish.ports if macs.get(port_id, "").lower() not in have.nics]


def _volumes_of(wish: ServerWish) -> set[str]:
    return {wish.root_volume_id, *(attachment.volume_id for attachment in wish.attachments)} - {""}


def found_report(held: Held, have: Domain | None) -> Report:
    """What to report of a server whose wish is carried out."""
    key = Noun.SERVER, held.wish.id, held.generation, Phase.READY
    if have is None:
        return Report(*key)
    reboots = have.memo.reboots
    return Report(*key, power=have.power, reboots=reboots, attached=have.attached, backend=have.root_backend)


class Servers:
    """See `ostro.agent.host.Keeper`."""

    nouns = frozenset({Noun.SERVER})

    def __init__(self, host: Host, width: int) -> None:
        self._host = host
        self._reconciler = host.loop("servers", self._reconcile, width, Noun.SERVER)
        self._taken: dict[str, int] = {}
        self._awaiting: dict[str, set[Noun]] = {}
        self._moves = Moves(host, self._make_arrival, lambda wish: self._awaited(wish, [Define()]))

    def wake(self, keys: Iterable[Key]) -> None:
        self._reconciler.wake(id_ for _noun, id_ in keys)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._moves.run)
            await self._reconciler.run()

    async def inspect(self) -> None:
        found = {domain.server_id: domain for domain in await self._host.hypervisor.domains()}
        roots = (await self._host.block.contents()).roots
        known = self._host.mirror.ids(Noun.SERVER)
        self._reconciler.wake(id_ for id_ in sorted({*found, *roots, *known}) if self._differs(id_, found.get(id_)))

    def _differs(self, id_: str, have: Domain | None) -> bool:
        """Whether a server needs looking at, given its domain."""
        held = self._host.mirror.find(Noun.SERVER, id_)
        if held is None or held.absent:
            return True
        if self._host.reports.find(Noun.SERVER, id_) != self._finding(held, have):
            return True
        if self._host.gave_up_on(held):
            return False
        boot_id = self._host.hypervisor.facts.boot_id
        try:
            wish = held.body(ServerWish)
            return bool(plan(have, wish, held.generation, boot_id, self._macs(wish)))
        except OstroError:
            return True

    async def _reconcile(self, id_: str) -> float | None:
        held = self._host.mirror.find(Noun.SERVER, id_)
        if held is None or held.absent:
            return await self._remove(id_, held)
        delay_s: float | None = None
        with self._host.reporting_trouble(held):
            delay_s = await self._bring(id_, held)
        return delay_s

    async def _remove(self, id_: str, held: Held | None) -> float | None:
        """Remove all there is of a server: one whose absence is wished, or one that nobody wishes for."""
        host = self._host
        if held is None and not host.orphans_may_go:
            return None
        self._mark_taken(id_, held)
        have = await host.hypervisor.find(id_)
        if have is not None:
            if held is None:
                log.warning("removing a server that nobody wishes for", id=id_)
            await host.hypervisor.delete(id_)
            for volume_id in have.attached:
                await host.hypervisor.forget_key(volume_id)
            host.world.faults.hit("agent.server.deleted")
        await host.block.drop_root(id_)
        if held is not None:
            host.reports.mark(Noun.SERVER, id_, "removed")
            host.report(Report(Noun.SERVER, id_, held.generation, Phase.ABSENT))
        self._taken.pop(id_, None)
        self._awaiting.pop(id_, None)
        self._moves.forget(id_)
        return None

    def _mark_taken(self, id_: str, held: Held | None) -> None:
        """Note the first look at this generation of a wish."""
        if held is not None and self._taken.get(id_) != held.generation:
            self._taken[id_] = held.generation
            self._host.reports.mark(Noun.SERVER, id_, "taken")

    def _mark_awaited(self, id_: str, awaited: list[Key]) -> None:
        """Note what the server had to wait for and need not any more."""
        nouns = {noun for noun, _ in awaited}
        for noun in sorted(self._awaiting.get(id_, set()) - nouns):
            self._host.reports.mark(Noun.SERVER, id_, f"{noun.replace('_', ' ')} ready")
        self._awaiting[id_] = nouns

    async def _bring(self, id_: str, held: Held) -> float | None:
        """Bring a server to its wish, or as far as it goes now."""
        host, wish = self._host, held.body(ServerWish)
        have = await host.hypervisor.find(id_)
        if host.gave_up_on(held):
            host.report(self._finding(held, have))
            return None
        if wish.coming is not None:
            return await self._moves.receive(held, wish, wish.coming, have)
        if wish.going is not None:
            return await self._moves.leave(held, wish, wish.going, have)
        if have is not None and have.moving:
            await host.hypervisor.abort_migration(id_)
            return LOOK_AFTER_S
        self._moves.forget(id_)
        steps = plan(have, wish, held.generation, host.hypervisor.facts.boot_id, self._macs(wish))
        if steps:
            self._mark_taken(id_, held)
        awaited = self._awaited(wish, steps)
        self._mark_awaited(id_, awaited)
        if awaited:
            host.wait_for(awaited, (Noun.SERVER, id_))
            words = ", ".join(f"{noun.replace('_', ' ')} {other}" for noun, other in awaited)
            host.report_trouble(held, Phase.WORKING, f"Waiting for {words}.")
            return LOOK_AGAIN_S
        await self._keep_keys(wish, steps)
        for step in steps:
            host.fence.check()
            await self._apply(step, wish)
            if type(step) in STAGES:
                host.reports.mark(Noun.SERVER, id_, STAGES[type(step)])
            host.world.faults.hit(f"agent.server.{type(step).__name__.lower()}")
        if steps:
            have = await host.hypervisor.find(id_)
        host.report(found_report(held, have))
        return None

    def _finding(self, held: Held, have: Domain | None) -> Report:
        """What to report when nothing is to be done: all is well, or still failed as it was."""
        report = found_report(held, have)
        failed = self._host.gave_up_on(held)
        return msgspec.structs.replace(report, phase=Phase.FAILED, reason=failed.reason) if failed else report

    def _awaited(self, wish: ServerWish, steps: list[Step]) -> list[Key]:
        """What the steps need and isn't there yet. Raises Conflict when some of it never will be."""
        host = self._host
        needed: list[Key] = [(Noun.VOLUME, s.attachment.volume_id) for s in steps if isinstance(s, Attach)]
        needed += [(Noun.PORT, step.port_id) for step in steps if isinstance(step, Plug)]
        if Define() in steps:
            needed += [(Noun.VOLUME, attachment.volume_id) for attachment in wish.attachments]
            needed += [(Noun.VOLUME, wish.root_volume_id)] if wish.root_volume_id else []
            needed += [(Noun.PORT, port_id) for port_id in wish.ports]
            if wish.image_id and host.mirror.find(Noun.IMAGE, wish.image_id) is not None:
                needed.append((Noun.IMAGE, wish.image_id))
        return [key for key in needed if not host.is_ready(*key)]

    async def _keep_keys(self, wish: ServerWish, steps: list[Step]) -> None:
        """Have the keys of the encrypted volumes at hand that the steps will open."""
        opened = {step.attachment.volume_id for step in steps if isinstance(step, Attach)}
        if Start() in steps:
            opened |= _volumes_of(wish)
        await self._keep_keys_of(opened)

    async def _make_arrival(self, wish: ServerWish) -> DomainSpec:
        """What a guest that comes here will be, with the keys of its volumes at hand: nobody starts it here but the other host."""
        await self._keep_keys_of(_volumes_of(wish))
        return await self._spec(wish)

    async def _keep_keys_of(self, volume_ids: Iterable[str]) -> None:
        for volume_id in sorted(volume_ids):
            if self._is_encrypted(volume_id):
                await self._host.hypervisor.keep_key(volume_id, await self._host.link.volume_key(volume_id))

    def _is_encrypted(self, volume_id: str) -> bool:
        held = self._host.mirror.find(Noun.VOLUME, volume_id)
        return held is not None and not held.absent and held.body(VolumeWish).encryption is not None

    async def _apply(self, step: Step, wish: ServerWish) -> None:
        hypervisor = self._host.hypervisor
        match step:
            case Define():
                await hypervisor.define(await self._spec(wish), Memo(0, wish.reboots, ""))
            case TakeOver():
                volumes = [wish.root_volume_id, *(attachment.volume_id for attachment in wish.attachments)]
                await self._host.block.take_over(wish.id, [volume_id for volume_id in volumes if volume_id])
            case Adopt():
                if not wish.root_volume_id:
                    await self._host.block.make_root(wish.id, wish.image_id, wish.disk_gb)
            case Start():
                await hypervisor.start(wish.id)
            case Stop(grace_s):
                await hypervisor.stop(wish.id, grace_s)
            case Attach(attachment):
                await hypervisor.attach(wish.id, await self._disk(attachment))
            case Detach(volume_id):
                await hypervisor.detach(wish.id, volume_id)
                if self._is_encrypted(volume_id):
                    await hypervisor.forget_key(volume_id)
            case Plug(port_id):
                await hypervisor.plug(wish.id, self._nic(port_id))
            case Unplug(mac):
                await hypervisor.unplug(wish.id, mac)
            case Note(memo):
                await hypervisor.note(wish.id, memo)
            case _:
                assert_never(step)

    async def _spec(self, wish: ServerWish) -> DomainSpec:
        if wish.root_volume_id:
            root = await self._disk(AttachmentWish("", wish.root_volume_id, ROOT_DEVICE, wish.root_limits))
        else:
            made = await self._root(wish)
            root = Disk(ROOT_DEVICE, made.path, made.format, ceph=made.ceph)
        return DomainSpec(
            server_id=wish.id,
            name=wish.name,
            project_id=wish.project_id,
            vcpus=wish.vcpus,
            ram_mb=wish.ram_mb,
            disks=[root, *[await self._disk(attachment) for attachment in wish.attachments]],
            nics=[self._nic(port_id) for port_id in wish.ports],
        )

    async def _root(self, wish: ServerWish) -> Stored:
        """The root disk. One that another host has yet to let go of is not made this host's."""
        if wish.coming is None or wish.coming.copy:
            made = await self._host.block.make_root(wish.id, wish.image_id, wish.disk_gb)
            if made.size_bytes >= wish.disk_gb * GIB:
                return made
            # It was resized.
            return await self._host.block.extend_root(wish.id, wish.disk_gb)
        found = await self._host.block.find_root(wish.id)
        if found is None:
            raise Conflict("The root disk is not in storage that this host shares with the one that has it.")
        return found

    async def _disk(self, attachment: AttachmentWish) -> Disk:
        stored = await self._host.block.find_volume(attachment.volume_id)
        if stored is None:
            raise Unavailable(f"Volume {attachment.volume_id} is not on this host yet.")
        return Disk(attachment.device, stored.path, stored.format, attachment.volume_id, stored.ceph, attachment.limits)

    def _macs(self, wish: ServerWish) -> dict[str, str]:
        """Addresses of those of the server's ports that this host knows."""
        found = {port_id: self._host.mirror.find(Noun.PORT, port_id) for port_id in wish.ports}
        return {id_: held.body(PortWish).mac for id_, held in found.items() if held is not None and not held.absent}

    def _nic(self, port_id: str) -> Nic:
        port = self._host.mirror.find(Noun.PORT, port_id)
        if port is None or port.absent:
            raise Unavailable(f"Port {port_id} is not on this host yet.")
        wish = port.body(PortWish)
        network = self._host.mirror.find(Noun.NETWORK, wish.network_id)
        if network is None or network.absent:
            raise Unavailable(f"Network {wish.network_id} is not on this host yet.")
        mtu = network.body(NetworkWish).mtu
        return Nic(wish.mac, wish.tap, mtu, self._host.network.facts.guest_offload)
