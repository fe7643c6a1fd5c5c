"""A control plane in memory, as agents see one: wishes with revisions, reports, image bytes.

`MemoryControl` is itself a `Link`, so an agent under test talks to it without a socket.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, Sequence

import msgspec
import trio

from ostro.model.errors import NotFound, Unavailable
from ostro.model.registration import Registered, Registration
from ostro.model.wishes import Feed, ImageWish, Noun, Phase, Report, Wish

Key = tuple[Noun, str]


class MemoryControl:
    """Keeps its promises as the real one does: generations are revisions, stale reports are dropped, fulfilled absences forgotten."""

    def __init__(self, cloud_id: str = "cloud-1", host_id: str = "host-1") -> None:
        self.registered = Registered(host_id, cloud_id, 30.0, epoch=1)
        self.registrations: list[Registration] = []
        self.reports: dict[Key, Report] = {}
        self.uploads: dict[str, bytes] = {}
        self.report_calls = 0
        self.away = False
        self.knows_host = True
        self._revision = 1
        self._wishes: dict[Key, Wish] = {}
        self._changed_at: dict[Key, int] = {}
        self._images: dict[str, bytes] = {}
        self._news = trio.Event()

    def wish(self, noun: Noun, id: str, body: msgspec.Struct) -> int:
        """Wish for an object; the generation."""
        return self._put(noun, id, msgspec.Raw(msgspec.json.encode(body)))

    def wished(self, noun: Noun, id: str) -> Wish | None:
        """The present wish for an object."""
        return self._wishes.get((noun, id))

    def wish_absence(self, noun: Noun, id: str) -> int:
        """Wish for an object's absence; the generation."""
        return self._put(noun, id, None)

    def forget(self, noun: Noun, id: str) -> None:
        """Lose a wish altogether, as if it had never been."""
        del self._wishes[(noun, id)]

    def keep_image(self, id: str, data: bytes, disk_format: str = "raw") -> ImageWish:
        """Hold an image's bytes; the wish that describes it."""
        self._images[id] = data
        return ImageWish(id, disk_format, len(data), hashlib.sha512(data).hexdigest())

    async def reported(self, noun: Noun, id: str, phase: Phase, generation: int | None = None) -> Report:
        """Wait for a report of ``phase`` at the present generation (or the given one, where the wish is forgotten)."""
        while True:
            wish = self._wishes.get((noun, id))
            wanted = wish.generation if generation is None and wish is not None else generation
            report = self.reports.get((noun, id))
            if report is not None and report.phase is phase and report.generation == wanted:
                return report
            await self._news.wait()

    async def next_report(self) -> None:
        """Wait until anything is reported, or wished."""
        await self._news.wait()

    def now(self, noun: Noun, id: str) -> Report:
        """The newest report of an object."""
        return self.reports[(noun, id)]

    async def register(self, registration: Registration) -> Registered:
        await self._reach()
        self.registrations.append(registration)
        self.knows_host = (registration.epoch or 1) == self.registered.epoch
        return self.registered

    async def read_wishes(self, host_id: str, since: int, wait_s: int) -> Feed:
        await self._reach()
        with trio.move_on_after(wait_s):
            while self.knows_host and not self.away and since > 0 and self._revision <= since:
                await self._news.wait()
        await self._reach()
        self._check_host()
        wishes = [wish for key, wish in self._wishes.items() if self._changed_at[key] > since]
        return Feed(self._revision, since == 0, wishes)

    async def report(self, host_id: str, reports: Sequence[Report]) -> None:
        await self._reach()
        self._check_host()
        self.report_calls += 1
        for report in reports:
            key = (report.noun, report.id)
            wish = self._wishes.get(key)
            if wish is None or report.generation < wish.generation:
                continue
            self.reports[key] = report
            if report.phase is Phase.ABSENT and wish.body is None:
                del self._wishes[key]
        self.ring()

    async def volume_key(self, volume_id: str) -> str:
        await self._reach()
        return f"key of {volume_id}"

    async def send_upload(self, upload_id: str, size_bytes: int, chunks: AsyncIterable[bytes]) -> None:
        await self._reach()
        self.uploads[upload_id] = b"".join([chunk async for chunk in chunks])
        assert len(self.uploads[upload_id]) == size_bytes, "the announced bytes"

    async def image(self, image_id: str) -> AsyncGenerator[bytes, None]:
        await self._reach()
        if image_id not in self._images:
            raise NotFound("image", image_id)
        data = self._images[image_id]
        for start in range(0, len(data), 1 << 20):
            yield data[start : start + (1 << 20)]

    def tell(self, epoch: int = 1, fence_s: float = 0.0) -> None:
        """What hosts are told when they register. Those that go by another epoch are not known any more."""
        self.knows_host = self.knows_host and epoch == self.registered.epoch
        self.registered = msgspec.structs.replace(self.registered, epoch=epoch, fence_s=fence_s)
        self.ring()

    def lose_contact(self) -> None:
        """Answer nobody, until ``away`` is False again."""
        self.away = True
        self.ring()

    def ring(self) -> None:
        """Wake whoever waits for anything."""
        self._news.set()
        self._news = trio.Event()

    def _put(self, noun: Noun, id: str, body: msgspec.Raw | None) -> int:
        self._revision += 1
        self._wishes[(noun, id)] = Wish(noun, id, self._revision, body)
        self._changed_at[(noun, id)] = self._revision
        self.ring()
        return self._revision

    def _check_host(self) -> None:
        if not self.knows_host:
            raise NotFound("host", self.registered.host_id)

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise Unavailable("The control plane is away.")
