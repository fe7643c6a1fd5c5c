"""Images: the host's cache of what its servers and volumes are made from.

An image is fetched when it is wished for and dropped when its absence is, or when nobody wishes for it; what was made from
it stays whole. The bytes are checked against the wish before they count.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from ostro.agent.host import Host
from ostro.agent.mirror import Key
from ostro.model.wishes import ImageWish, Noun, Phase, Report

DOWNLOADS = 2
"""At once: more would share the same line and disk, and each would finish later."""


class Images:
    """See `ostro.agent.host.Keeper`. One image is never fetched twice at once, because a key is never worked on twice at once."""

    nouns = frozenset({Noun.IMAGE})

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reconciler = host.loop("images", self._reconcile, DOWNLOADS, Noun.IMAGE)

    def wake(self, keys: Iterable[Key]) -> None:
        self._reconciler.wake(id_ for _noun, id_ in keys)

    async def run(self) -> None:
        await self._reconciler.run()

    async def inspect(self) -> None:
        kept = (await self._host.block.contents()).images
        self._reconciler.wake(
            id_ for id_ in sorted({*kept, *self._host.mirror.ids(Noun.IMAGE)}) if self._differs(id_, kept)
        )

    def _differs(self, id_: str, kept: frozenset[str]) -> bool:
        held = self._host.mirror.find(Noun.IMAGE, id_)
        if held is None or held.absent:
            return True
        report = self._host.reports.find(Noun.IMAGE, id_)
        told = report is not None and report.generation == held.generation
        return not told or (id_ not in kept and self._host.gave_up_on(held) is None)

    async def _reconcile(self, id_: str) -> float | None:
        host = self._host
        held = host.mirror.find(Noun.IMAGE, id_)
        if held is None and not host.orphans_may_go:
            return None
        if held is None or held.absent:
            await host.block.drop_image(id_)
            if held is not None:
                host.report(Report(Noun.IMAGE, id_, held.generation, Phase.ABSENT))
        elif host.gave_up_on(held) is None:
            with host.reporting_trouble(held):
                async with aclosing(host.link.image(id_)) as chunks:
                    await host.block.put_image(held.body(ImageWish), chunks)
                host.world.faults.hit("agent.image.kept")
                host.report(Report(Noun.IMAGE, id_, held.generation, Phase.READY))
        return None
