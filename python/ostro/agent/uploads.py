"""Images made of volumes: once each, by putting the bytes where the control plane keeps images, or by sending them there.

An upload is repeated whole when it breaks off. Once it is made, or given up, nothing is left of it on the host.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from ostro.agent.drivers.block import GIB
from ostro.agent.host import Host
from ostro.agent.mirror import Key
from ostro.model.errors import Invalid, NotFound
from ostro.model.wishes import Noun, Phase, Report, UploadWish

log = structlog.get_logger()

WIDTH = 2
"""At once: more would share the same disk and line, and each would finish later."""


class Uploads:
    """See `ostro.agent.host.Keeper`."""

    nouns = frozenset({Noun.UPLOAD})

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reconciler = host.loop("uploads", self._reconcile, WIDTH, Noun.UPLOAD)

    def wake(self, keys: Iterable[Key]) -> None:
        self._reconciler.wake(id_ for _noun, id_ in keys)

    async def run(self) -> None:
        await self._reconciler.run()

    async def inspect(self) -> None:
        kept = (await self._host.block.contents()).uploads
        wished = self._host.mirror.ids(Noun.UPLOAD)
        self._reconciler.wake(id_ for id_ in sorted({*kept, *wished}) if self._differs(id_))

    def _differs(self, id_: str) -> bool:
        held = self._host.mirror.find(Noun.UPLOAD, id_)
        if held is None or held.absent:
            return True
        report = self._host.reports.find(Noun.UPLOAD, id_)
        return report is None or report.generation != held.generation

    async def _reconcile(self, id_: str) -> None:
        host = self._host
        held = host.mirror.find(Noun.UPLOAD, id_)
        if held is None:
            if host.orphans_may_go:
                log.warning("clearing away after an upload that nobody wishes for", id=id_)
                await host.block.drop_upload(id_)
            return
        if host.gave_up_on(held) or (not held.absent and self._is_made(id_)):
            return
        with host.reporting_trouble(held):
            if held.absent:
                await host.block.drop_upload(id_)
                host.report(Report(Noun.UPLOAD, id_, held.generation, Phase.ABSENT))
                return
            size_gb = await self._make(held.body(UploadWish))
            host.report(Report(Noun.UPLOAD, id_, held.generation, Phase.READY, size_gb=size_gb))

    def _is_made(self, id_: str) -> bool:
        """Whether the image was made: by now it may be changed or deleted, and it isn't made twice."""
        report = self._host.reports.find(Noun.UPLOAD, id_)
        return report is not None and report.phase is Phase.READY

    async def _make(self, wish: UploadWish) -> int:
        """Make the image; the size of the volume that it is of, in GB."""
        block = self._host.block
        volume = await block.find_volume(wish.volume_id)
        if volume is None:
            raise Invalid("The volume is not there.")
        try:
            if not await block.publish(wish):
                async with block.exported(wish) as export:
                    await self._host.link.send_upload(wish.id, export.size_bytes, export.chunks)
        except NotFound as error:
            raise Invalid("The volume was deleted while an image was made of it.") from error
        self._host.world.faults.hit("agent.upload.made")
        return volume.size_bytes // GIB
