"""The fence: a host that has lost the control plane keeps its servers from writing to disks that another host may be given.

A request that was answered is a **contact**, as of when it was *sent*. When the last contact is ``fence_s`` old, every domain with a disk in shared
storage is paused, and again every second, until there is contact again. The control plane counts the same silence from when it heard the
request, which is later, and waits longer (`ostro.services.agents.hosts.is_fenced`). So whatever it gives to another host stands still here.

After that, after a start, and when the control plane has declared this host dead (its epoch is another), nothing is kept before the fence is
**settled**: all wishes are read anew, servers that are no longer wished here are switched off, and only then those that were paused go on.

What counts is kept in ``fence.json``. The time of the last contact there is wall time and at most some seconds too old: a restart never makes the
fence later. It tells also which domains the fence has paused, and so may let go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import structlog
import trio

from ostro.agent.drivers.hypervisor import Domain, Hypervisor
from ostro.agent.mirror import Mirror
from ostro.model.errors import OstroError, Unavailable
from ostro.model.registration import Registered
from ostro.model.wishes import Noun, Power, ServerWish
from ostro.runtime.doorbell import Bell
from ostro.runtime.world import World

log = structlog.get_logger()

NOTE_EVERY_S = 5.0
"""How much older than the last contact its record may be."""
PAUSE_AGAIN_S = 1.0
AT_ONCE = 8
DAMAGED_FENCE_S = 60.0
"""What a host that can't read its own record goes by until it is told."""


class Record(msgspec.Struct):
    """What outlives the agent."""

    epoch: int = 0
    fence_s: float = 0.0
    contact_us: int = 0
    paused: list[str] = []


class Fence:
    """See the module's docstring. Nothing here decides about a domain that isn't this cloud's."""

    def __init__(self, world: World, state_dir: Path, hypervisor: Hypervisor, mirror: Mirror) -> None:
        self._world = world
        self._path = state_dir / "fence.json"
        self._hypervisor = hypervisor
        self._mirror = mirror
        self._record = _read(self._path)
        self._loop = world.metrics.loop("fence")
        self._bell = Bell()
        self._lock = trio.Lock()
        age_s = (world.now_us() - self._record.contact_us) / 1_000_000
        # A clock that was set back makes no contact younger.
        self._contact_s = trio.current_time() - (age_s if age_s >= 0 else float("inf"))
        self._noted_s = self._contact_s
        self.settled = False
        """Whether this host may act upon its wishes."""

    @property
    def epoch(self) -> int:
        """The epoch that this host knows of, 0 before the first."""
        return self._record.epoch

    @property
    def fence_s(self) -> float:
        """After how much silence servers are paused, 0 for never."""
        return self._record.fence_s

    def left_s(self) -> float:
        """How long the last contact is still good for."""
        if not self.fence_s:
            return float("inf")
        return self._contact_s + self.fence_s - trio.current_time()

    def check(self) -> None:
        """Raise Unavailable unless the host may act upon its wishes now."""
        if not self.settled or self.left_s() <= 0:
            raise Unavailable("This host has lost the control plane, and waits until it knows what is still its own.")

    def contact(self, sent_s: float) -> None:
        """A request that was sent then has been answered."""
        self._contact_s = max(self._contact_s, sent_s)
        if self.fence_s and self._contact_s - self._noted_s >= NOTE_EVERY_S:
            self._note()

    def adopt(self, registered: Registered) -> None:
        """Go by what the control plane said. A new epoch means that it has taken this host for dead."""
        if registered.epoch > self._record.epoch > 0:
            log.warning("the control plane had declared this host dead", epoch=registered.epoch)
            self.settled = False
        if (registered.epoch, registered.fence_s) != (self._record.epoch, self._record.fence_s):
            self._record.epoch, self._record.fence_s = registered.epoch, registered.fence_s
            self._note()
        self._bell.ring()

    async def run(self) -> None:
        """Pause what must stand still, and let go on what has been paused and may, for ever."""
        while True:
            left_s = self.left_s()
            if left_s <= 0:
                if self.settled:
                    log.warning("the control plane is out of reach: servers on shared disks are paused")
                self.settled = False
                await self._try(self._pause_all)
                await self._bell.wait(PAUSE_AGAIN_S)
            elif self.settled and self._record.paused:
                await self._try(self._let_go_on)
                await self._bell.wait(PAUSE_AGAIN_S)
            else:
                await self._bell.wait(left_s)

    async def settle(self, orphans_may_go: bool) -> bool:
        """All wishes have just been read: switch off what is no longer wished here, then let what was paused go on, and the host act.

        Returns False when that can't be done yet; read all wishes anew then. Without ``orphans_may_go`` what nobody wishes for is left as it is.
        """
        try:
            async with self._lock:
                found = await self._hypervisor.domains()
                lost = [d for d in found if d.power is not Power.OFF and self._is_lost(d.server_id, orphans_may_go)]
                for domain in lost:
                    log.warning("switching off a server that this host has lost", id=domain.server_id)
                await self._each(lost, lambda id_: self._hypervisor.stop(id_, 0.0))
        except OstroError as error:
            log.warning("what this host has lost can't be switched off yet", reason=error.message)
            return False
        if self.left_s() <= 0:
            return False
        self.settled = True
        if self._record.paused:
            await self._try(self._let_go_on)
        self._bell.ring()
        return True

    def _is_lost(self, server_id: str, orphans_may_go: bool) -> bool:
        held = self._mirror.find(Noun.SERVER, server_id)
        if held is None:
            return orphans_may_go
        going = None if held.absent else held.body(ServerWish).going
        return held.absent or (going is not None and going.left)

    def _may_run(self, server_id: str) -> bool:
        held = self._mirror.find(Noun.SERVER, server_id)
        return held is not None and not held.absent and held.body(ServerWish).power is Power.ON

    async def _pause_all(self) -> None:
        async with self._lock:
            running = [d for d in await self._hypervisor.domains() if d.shared and d.power is Power.ON]
            if not running or self.settled:
                return
            log.warning("pausing servers", ids=[domain.server_id for domain in running])
            self._record.paused = sorted({*self._record.paused, *(domain.server_id for domain in running)})
            self._note()
            await self._each(running, self._hypervisor.pause)

    async def _let_go_on(self) -> None:
        async with self._lock:
            if self.left_s() <= 0:
                return
            found = {domain.server_id: domain for domain in await self._hypervisor.domains()}
            stand = [found[id_] for id_ in self._record.paused if id_ in found and found[id_].power is Power.PAUSED]
            mine = [domain for domain in stand if self._may_run(domain.server_id)]
            await self._each(mine, self._hypervisor.start)
            self._record.paused = []
            self._note()
            if mine:
                log.info("servers go on", ids=[domain.server_id for domain in mine])

    async def _each(self, domains: Iterable[Domain], act: Callable[[str], Awaitable[None]]) -> None:
        """Act on each, a few at a time. Raises the last error when all have been tried."""
        waiting, errors = [domain.server_id for domain in domains], list[OstroError]()

        async def work() -> None:
            while waiting:
                try:
                    await act(waiting.pop())
                except OstroError as error:
                    errors.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(waiting))):
                nursery.start_soon(work)
        if errors:
            raise errors[-1]

    async def _try(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._loop.run():
                await act()
        except OstroError as error:
            log.error("the fence goes on trying", reason=error.message, detail=error.detail)

    def _note(self) -> None:
        """Write the record. Where that fails the old one stays, which is only ever too strict."""
        self._noted_s = self._contact_s
        age_us = int((trio.current_time() - self._contact_s) * 1_000_000) if self._contact_s > -float("inf") else None
        self._record.contact_us = 0 if age_us is None else self._world.now_us() - age_us
        try:
            _write(self._path, self._record)
        except OSError as error:
            log.error("the fence's record can't be written", path=str(self._path), reason=str(error))


def _read(path: Path) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record()
    except msgspec.MsgspecError:
        log.error("the fence's record is damaged: this host is taken to have been silent for long", path=str(path))
        return Record(fence_s=DAMAGED_FENCE_S)


def _write(path: Path, record: Record) -> None:
    """Whole or not at all for whoever is killed; after a power cut there is no domain to fence either."""
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(record))
    draft.rename(path)
