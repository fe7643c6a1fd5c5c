"""Volumes: files of this host, made, grown and deleted as wished; a volume never shrinks.

A volume that is plugged into a running server is grown through the hypervisor, which has the file open and tells the guest. One that is
still plugged in anywhere is not deleted before it is out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import structlog

from ostro.agent.drivers.block import GIB, Stored
from ostro.agent.drivers.hypervisor import Domain
from ostro.agent.host import Host
from ostro.agent.mirror import Held, Key
from ostro.model.errors import Invalid, NotFound, Unavailable
from ostro.model.wishes import Noun, Phase, Power, Report, VolumeWish

log = structlog.get_logger()

WIDTH = 4
LOOK_AGAIN_S = 10.0


@dataclass(frozen=True)
class Make:
    """Make the volume, or move it to the kind of storage where it shall be."""


@dataclass(frozen=True)
class Grow:
    """Make it larger: through the hypervisor when ``server_id``'s domain runs with it, else as a file."""

    server_id: str


@dataclass(frozen=True)
class Limit:
    """Have the storage hold it to other limits."""


@dataclass(frozen=True)
class Revert:
    """Make it what it was at a snapshot."""


@dataclass(frozen=True)
class Drop:
    """Delete it."""


Step = Make | Grow | Limit | Revert | Drop


def plan(have: Stored | None, user: Domain | None, wish: VolumeWish | None, told_gb: int = 0) -> list[Step]:
    """The steps to the wish (None: absence) from the volume and the domain that it is plugged into. Pure.

    ``told_gb`` is the size that was last reported.

    Raises:
        Unavailable: it can't be deleted, moved or reverted while it is plugged in.
    """
    if wish is not None and wish.borrowed:
        return _plan_borrowed(have, user, wish, told_gb)
    if wish is None:
        if have is not None and user is not None:
            raise Unavailable(f"The volume is still plugged into server {user.server_id}.")
        return [Drop()]
    if have is None:
        return [Make()]
    if is_elsewhere(have, wish):
        if user is not None:
            raise Unavailable(f"The volume can't be moved while it is plugged into server {user.server_id}.")
        return [Make()]
    limit: list[Step] = [Limit()] if is_limited_otherwise(have, wish) else []
    if is_to_revert(have, wish):
        if user is not None:
            raise Unavailable(f"The volume can't be reverted while it is plugged into server {user.server_id}.")
        limit.append(Revert())
    if have.size_bytes >= wish.size_gb * GIB:
        return limit
    runs = user is not None and user.power in (Power.ON, Power.PAUSED)
    return [*limit, Grow(user.server_id if user is not None and runs else "")]


def _plan_borrowed(have: Stored | None, user: Domain | None, wish: VolumeWish, told_gb: int) -> list[Step]:
    """Another host makes the volume and makes it larger; this one has to tell its guest."""
    if have is None or have.size_bytes < wish.size_gb * GIB:
        raise Unavailable("The volume is not in the storage that this host shares yet, or not as large as it shall be.")
    runs = user is not None and user.power in (Power.ON, Power.PAUSED)
    return [Grow(user.server_id)] if user is not None and runs and 0 < told_gb < wish.size_gb else []


def is_elsewhere(have: Stored, wish: VolumeWish) -> bool:
    """Whether the volume is in another kind of storage than it shall be."""
    return bool(wish.backend) and have.backend != wish.backend


def is_to_revert(have: Stored, wish: VolumeWish) -> bool:
    """Whether the volume has yet to become what it was at a snapshot."""
    return wish.revert is not None and have.reverted != wish.revert.id


def is_limited_otherwise(have: Stored, wish: VolumeWish) -> bool:
    """Whether the storage holds the volume to other limits than it shall, where it can hold it to any."""
    return have.limits is not None and have.limits != wish.limits


class Volumes:
    """See `ostro.agent.host.Keeper`."""

    nouns = frozenset({Noun.VOLUME})

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reconciler = host.loop("volumes", self._reconcile, WIDTH, Noun.VOLUME)

    def wake(self, keys: Iterable[Key]) -> None:
        self._reconciler.wake(id_ for _noun, id_ in keys)

    async def run(self) -> None:
        await self._reconciler.run()

    async def inspect(self) -> None:
        kept = (await self._host.block.contents()).volumes
        self._reconciler.wake(
            id_ for id_ in sorted({*kept, *self._host.mirror.ids(Noun.VOLUME)}) if self._differs(id_, kept)
        )

    def _differs(self, id_: str, kept: frozenset[str]) -> bool:
        held = self._host.mirror.find(Noun.VOLUME, id_)
        if held is None or held.absent:
            return True
        report = self._host.reports.find(Noun.VOLUME, id_)
        told = report is not None and report.generation == held.generation
        return not told or (id_ not in kept and self._host.gave_up_on(held) is None)

    async def _reconcile(self, id_: str) -> float | None:
        held = self._host.mirror.find(Noun.VOLUME, id_)
        if held is None:
            if self._host.orphans_may_go and await self._user_of(id_) is None:
                log.warning("removing a volume that nobody wishes for", id=id_)
                await self._host.block.drop_volume(id_)
            return None
        if self._host.gave_up_on(held):
            return None
        delay_s: float | None = None
        with self._host.reporting_trouble(held):
            delay_s = await self._bring(id_, held)
        return delay_s

    async def _bring(self, id_: str, held: Held) -> float | None:
        host = self._host
        wish = None if held.absent else held.body(VolumeWish)
        have = await host.block.find_volume(id_)
        settled = wish is not None and (
            have is None
            or (
                have.size_bytes >= wish.size_gb * GIB
                and not is_elsewhere(have, wish)
                and not wish.borrowed
                and not is_to_revert(have, wish)
            )
        )
        last = host.reports.find(Noun.VOLUME, id_)
        steps = plan(have, None if settled else await self._user_of(id_), wish, last.size_gb if last else 0)
        for step in steps:
            awaited = self._awaited(wish, step)
            if awaited:
                host.wait_for(awaited, (Noun.VOLUME, id_))
                host.report_trouble(held, Phase.WORKING, f"Waiting for image {awaited[0][1]}.")
                return LOOK_AGAIN_S
            have = await self._apply(step, id_, wish)
            host.world.faults.hit(f"agent.volume.{type(step).__name__.lower()}")
        if wish is None:
            # Also of one whose server has moved, or was to come and never did.
            await host.hypervisor.forget_key(id_)
            host.report(Report(Noun.VOLUME, id_, held.generation, Phase.ABSENT))
        else:
            if have is None or (steps and steps != [Make()]):
                have = await host.block.find_volume(id_)
            size_gb, backend = (0, "") if have is None else (have.size_bytes // GIB, have.backend)
            host.report(Report(Noun.VOLUME, id_, held.generation, Phase.READY, size_gb=size_gb, backend=backend))
        return None

    def _awaited(self, wish: VolumeWish | None, step: Step) -> list[Key]:
        """What making the volume needs and isn't there yet. Raises Conflict when it never will be."""
        if wish is None or step != Make() or not wish.image_id:
            return []
        ready = self._host.is_ready(Noun.IMAGE, wish.image_id)
        return [] if ready else [(Noun.IMAGE, wish.image_id)]

    async def _apply(self, step: Step, id_: str, wish: VolumeWish | None) -> Stored | None:
        """Do it; the volume where that is known afterwards."""
        match step:
            case Make():
                assert wish is not None, "nothing is made for an absence"
                return await self._host.block.make_volume(wish, await self._passphrase(wish))
            case Limit():
                assert wish is not None, "nothing limits an absence"
                await self._host.block.limit_volume(id_, wish.limits)
            case Revert():
                assert wish is not None and wish.revert is not None, "somebody wishes it"
                try:
                    await self._host.block.revert_volume(id_, wish.revert)
                except NotFound as error:
                    raise Invalid("The snapshot to revert to is not there.") from error
            case Grow(server_id):
                assert wish is not None, "nothing grows for an absence"
                if server_id:
                    await self._host.hypervisor.resize(server_id, id_, wish.size_gb * GIB)
                else:
                    await self._host.block.extend_volume(id_, wish.size_gb)
            case Drop():
                await self._host.block.drop_volume(id_)
            case _:
                assert_never(step)
        return None

    async def _passphrase(self, wish: VolumeWish) -> str:
        """What a new volume is encrypted with; nothing for one that isn't, or has its source's bytes and key."""
        anew = wish.encryption is not None and not wish.source_volume_id
        if not anew or await self._host.block.find_volume(wish.id) is not None:
            return ""
        return await self._host.link.volume_key(wish.id)

    async def _user_of(self, id_: str) -> Domain | None:
        """The domain of ours that has the volume plugged in, if any."""
        for domain in await self._host.hypervisor.domains():
            if id_ in domain.attached:
                return domain
        return None
