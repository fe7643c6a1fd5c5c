"""Ports and what they refer to: networks, security groups, peers, routers and floating addresses.

The network driver holds the whole wish and makes the data plane equal to it at once, so there is no reconciler per object here but one
loop over all that is to be looked at: hand it to the driver, plug and unplug taps, sync once, report. What is in trouble, whatever it
is, stays to be looked at, is tried again after a backoff, and holds up nothing else.

A port's tap is plugged before its server starts, and unplugged after its server is gone. The driver is not synced
before the first full feed has been poured in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog
import trio

from ostro.agent.host import Host
from ostro.agent.mirror import Held, Key
from ostro.model.errors import Bug, Invalid, OstroError
from ostro.model.wishes import Noun, Phase, PortWish, Report
from ostro.runtime.backoff import Backoff
from ostro.runtime.doorbell import Bell

log = structlog.get_logger()

PLUGS_AT_ONCE = 4

PlugOrUnplug = Callable[[str], Awaitable[None]]


class Ports:
    """See `ostro.agent.host.Keeper`."""

    nouns = frozenset(
        {Noun.NETWORK, Noun.SECURITY_GROUP, Noun.PORT, Noun.PEER, Noun.ROUTER, Noun.FLOATING_IP},
    )

    def __init__(self, host: Host) -> None:
        self._host = host
        self._todo: dict[Key, None] = {}
        self._bell = Bell()
        self._owners: dict[str, str] = {}
        self._backoff = Backoff(first_s=0.2, most_s=15.0)
        self._loop = host.world.metrics.loop("ports")
        self._loop.pending = lambda: len(self._todo)

    def wake(self, keys: Iterable[Key]) -> None:
        self._todo.update(dict.fromkeys(keys))
        self._bell.ring()

    async def run(self) -> None:
        delay_s, failures = float("inf"), 0
        while True:
            await self._bell.wait(delay_s)
            keys, self._todo = list(self._todo), {}
            with self._loop.run():
                trouble = await self._settle(keys)
            self._loop.errors += bool(trouble)
            self._todo.update(dict.fromkeys(trouble))
            failures = failures + 1 if trouble else 0
            delay_s = self._backoff.delay_s(failures, self._host.world.random) if trouble else float("inf")

    async def inspect(self) -> None:
        for words in await self._host.network.audit():
            log.warning("the switch had drifted", what=words)
        plugged = {port.port_id for port in await self._host.network.plugged()}
        told = self._host.reports.find
        keys: list[Key] = [(Noun.PORT, id_) for id_ in plugged if self._host.mirror.find(Noun.PORT, id_) is None]
        for noun in sorted(self.nouns):
            for id_ in self._host.mirror.ids(noun):
                unplugged = noun is Noun.PORT and id_ not in plugged
                if told(noun, id_) is None or unplugged:
                    keys.append((noun, id_))
        if keys:
            self.wake(keys)

    async def _settle(self, keys: list[Key]) -> dict[Key, OstroError]:
        """Bring these objects to their wishes. Returns those that didn't get there, with why."""
        found = {key: self._host.mirror.find(*key) for key in keys}
        here = {key: held for key, held in found.items() if held is not None and not held.absent}
        gone = {key: held for key, held in found.items() if key not in here and self._may_go(key, held)}
        trouble = self._put(here)
        await self._plug_and_unplug(here, gone, trouble)
        for key, held in found.items():
            # The tap waits for its server, but nothing is sent there any more: the port may be on another host already.
            is_unwished = held is not None and held.absent
            if (key in gone and key not in trouble) or is_unwished:
                self._host.network.drop(*key)
        try:
            await self._host.network.sync()
        except OstroError as error:
            trouble.update(dict.fromkeys([*here, *gone], error))
        self._host.world.faults.hit("agent.ports.synced")
        for key, held in {**here, **gone}.items():
            self._report(key, held, trouble.get(key))
        return {key: error for key, error in trouble.items() if not isinstance(error, Invalid)}

    def _may_go(self, key: Key, held: Held | None) -> bool:
        """Whether an object that isn't wished for is to be removed now."""
        if held is None and key[0] is Noun.PORT:
            return self._host.orphans_may_go
        return not self._is_in_use(key)

    def _is_in_use(self, key: Key) -> bool:
        """Whether the server of a port that is to go is still being removed; then the port waits for it."""
        owner: Key = (Noun.SERVER, self._owners.get(key[1], ""))
        server = self._host.mirror.find(*owner) if key[0] is Noun.PORT else None
        if server is None or not server.absent:
            return False
        report = self._host.reports.find(*owner)
        if report is not None and report.phase is Phase.ABSENT:
            return False
        self._host.wait_for([owner], key)
        return True

    def _put(self, here: dict[Key, Held]) -> dict[Key, OstroError]:
        """Hand wishes to the driver. Returns those that it refuses."""
        refused: dict[Key, OstroError] = {}
        for key, held in here.items():
            assert held.wish.body is not None, "only what is wished is put"
            try:
                owner = held.body(PortWish).server_id if key[0] is Noun.PORT else ""
                self._host.network.put(*key, bytes(held.wish.body))
            except (Invalid, Bug) as error:
                refused[key] = error
                continue
            if key[0] is Noun.PORT:
                self._owners[key[1]] = owner
        return refused

    async def _plug_and_unplug(self, here: Iterable[Key], gone: Iterable[Key], trouble: dict[Key, OstroError]) -> None:
        """Plug and unplug the ports among these, a few at once; what fails goes into ``trouble``."""
        slots = trio.Semaphore(PLUGS_AT_ONCE)
        network = self._host.network
        async with trio.open_nursery() as nursery:
            for key in here:
                if key[0] is Noun.PORT and key not in trouble:
                    nursery.start_soon(self._attempt, network.plug, key, slots, trouble)
            for key in gone:
                if key[0] is Noun.PORT:
                    nursery.start_soon(self._attempt, network.unplug, key, slots, trouble)

    async def _attempt(
        self, act: PlugOrUnplug, key: Key, slots: trio.Semaphore, trouble: dict[Key, OstroError]
    ) -> None:
        async with slots:
            try:
                await act(key[1])
            except OstroError as error:
                trouble[key] = error
            except Exception as error:
                log.exception("a port could not be plugged or unplugged", id=key[1])
                trouble[key] = Bug("The host's network failed on this port.", detail=repr(error))

    def _report(self, key: Key, held: Held | None, error: OstroError | None) -> None:
        if held is None:
            self._owners.pop(key[1], None)
        elif error is not None:
            phase = Phase.FAILED if isinstance(error, Invalid) else Phase.WORKING
            self._host.report_trouble(held, phase, error.message)
        else:
            phase = Phase.ABSENT if held.absent else Phase.READY
            self._host.report(Report(*key, held.generation, phase))
