"""Snapshots of volumes: made once, and deleted as wished. What a snapshot holds never changes, so there is nothing else to plan."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from ostro.agent.host import Host
from ostro.agent.mirror import Key
from ostro.model.errors import Invalid, NotFound
from ostro.model.wishes import Noun, Phase, Report, SnapshotWish

log = structlog.get_logger()

WIDTH = 4


class Snapshots:
    """See `ostro.agent.host.Keeper`."""

    nouns = frozenset({Noun.SNAPSHOT})

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reconciler = host.loop("snapshots", self._reconcile, WIDTH, Noun.SNAPSHOT)

    def wake(self, keys: Iterable[Key]) -> None:
        self._reconciler.wake(id_ for _noun, id_ in keys)

    async def run(self) -> None:
        await self._reconciler.run()

    async def inspect(self) -> None:
        kept = (await self._host.block.contents()).snapshots
        wished = self._host.mirror.ids(Noun.SNAPSHOT)
        self._reconciler.wake(id_ for id_ in sorted({*kept, *wished}) if self._differs(id_, kept))

    def _differs(self, id_: str, kept: frozenset[str]) -> bool:
        held = self._host.mirror.find(Noun.SNAPSHOT, id_)
        if held is None or held.absent:
            return True
        report = self._host.reports.find(Noun.SNAPSHOT, id_)
        told = report is not None and report.generation == held.generation
        return not told or (id_ not in kept and self._host.gave_up_on(held) is None)

    async def _reconcile(self, id_: str) -> None:
        host = self._host
        held = host.mirror.find(Noun.SNAPSHOT, id_)
        if held is None:
            if host.orphans_may_go:
                log.warning("removing a snapshot that nobody wishes for", id=id_)
                await host.block.drop_snapshot(id_)
            return
        if host.gave_up_on(held):
            return
        with host.reporting_trouble(held):
            if held.absent:
                await host.block.drop_snapshot(id_)
                host.report(Report(Noun.SNAPSHOT, id_, held.generation, Phase.ABSENT))
                return
            await self._make(held.body(SnapshotWish))
            host.report(Report(Noun.SNAPSHOT, id_, held.generation, Phase.READY))

    async def _make(self, wish: SnapshotWish) -> None:
        """A snapshot that was made once and is lost can't be made again: the volume holds something else now."""
        found = await self._host.block.find_snapshot(wish.id)
        if found is not None:
            return
        last = self._host.reports.find(Noun.SNAPSHOT, wish.id)
        if last is not None and last.phase is Phase.READY:
            raise Invalid("The snapshot is lost.")
        try:
            await self._host.block.make_snapshot(wish)
        except NotFound as error:
            raise Invalid("The snapshot's volume is not there.") from error
        self._host.world.faults.hit("agent.snapshot.make")
