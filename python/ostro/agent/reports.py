"""What this host has to say: the newest report of every object, and the task that sends those that are new.

Reports of one object replace each other, so a slow control plane gets fewer reports, not a queue of old ones. What was
sent and not kept is sent again. A batch that fails is halved, so that a report which the control plane can't swallow ends up alone: it
is then tried last, or dropped if it was refused, and does not hold up the others. After a new registration everything is sent anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog
import trio

from ostro.agent.mirror import Key
from ostro.model.errors import Invalid, Unauthenticated, Unavailable
from ostro.model.wishes import Noun, Phase, Report, Stage
from ostro.runtime.backoff import Backoff
from ostro.runtime.doorbell import Bell
from ostro.runtime.world import World

log = structlog.get_logger()

GATHER_S = 0.005
"""How long a first report waits for others to go with it."""

BATCH_MOST = 500
BATCH_MOST_BYTES = 1 << 20
"""Of JSON; a single report may be larger."""

STAGES_MOST = 32
"""Stages of one object that are kept until they are sent; what comes after is not told."""


class Reports:
    """The book of reports. Not thread-safe."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._newest: dict[Key, Report] = {}
        self._unsent: dict[Key, Report] = {}
        self._stages: dict[Key, list[Stage]] = {}
        self._bell = Bell()
        self._loop = world.metrics.loop("reports")
        self._loop.pending = lambda: len(self._unsent)

    def find(self, noun: Noun, id: str) -> Report | None:
        """The newest report of an object since this agent started, or None."""
        return self._newest.get((noun, id))

    def put(self, report: Report) -> bool:
        """Note a report, to be sent unless it says what the last one said. Returns whether it is new."""
        key = (report.noun, report.id)
        if self._newest.get(key) == report:
            return False
        self._newest[key] = report
        self._unsent[key] = report
        self._bell.ring()
        return True

    def mark(self, noun: Noun, id: str, name: str) -> None:
        """Note that the work on an object has passed a stage; told with its next report."""
        stages = self._stages.setdefault((noun, id), [])
        if len(stages) < STAGES_MOST:
            stages.append(Stage(name, self._world.now_us()))

    def forget(self, noun: Noun, id: str) -> None:
        """Drop what is known of an object that nobody wishes for any more."""
        self._newest.pop((noun, id), None)
        self._unsent.pop((noun, id), None)
        self._stages.pop((noun, id), None)

    def send_all_again(self) -> None:
        """Send everything anew: the control plane may have lost what it was told."""
        self._unsent = dict(self._newest)
        self._bell.ring()

    async def run(self, send: Callable[[Sequence[Report]], Awaitable[None]]) -> None:
        """Send what is new, for ever.

        ``send`` raises Unavailable to be tried again, Invalid when a report can't be taken ever, and NotFound to end this.
        """
        backoff = Backoff(first_s=0.2, most_s=10.0)
        failures, most = 0, BATCH_MOST
        while True:
            while not self._unsent:
                await self._bell.wait(float("inf"))
            await trio.sleep(GATHER_S)
            batch = self._next_batch(most)
            told = {key: len(self._stages[key]) for key in batch if key in self._stages}
            try:
                with self._loop.run():
                    await send([self._with_stages(key, report) for key, report in batch.items()])
            except (Unavailable, Unauthenticated) as error:
                failures += 1
                log.warning(
                    "reports could not be sent", reason=error.message, detail=error.detail, unsent=len(self._unsent)
                )
                await trio.sleep(backoff.delay_s(failures, self._world.random))
                most = max(1, len(batch) // 2)
                self._set_aside(batch)
                continue
            except Invalid as error:
                if len(batch) > 1:
                    most = len(batch) // 2
                    continue
                log.error("the control plane refuses a report", reason=error.message, detail=error.detail, of=[*batch])
            failures, most = 0, BATCH_MOST
            self._forget_stages(told)
            self._sent(batch)

    def _with_stages(self, key: Key, report: Report) -> Report:
        stages = self._stages.get(key)
        return msgspec.structs.replace(report, stages=list(stages)) if stages else report

    def _forget_stages(self, told: dict[Key, int]) -> None:
        """Drop the first so many stages of each object: they have been told."""
        for key, count in told.items():
            left = self._stages.pop(key, [])[count:]
            if left:
                self._stages[key] = left

    def _set_aside(self, batch: dict[Key, Report]) -> None:
        """Have a report that failed alone wait behind the others."""
        for key, report in batch.items():
            if len(batch) == 1 and self._unsent.get(key) is report:
                self._unsent[key] = self._unsent.pop(key)

    def _next_batch(self, most: int) -> dict[Key, Report]:
        """The reports that have waited longest, within both bounds."""
        batch: dict[Key, Report] = {}
        size_bytes = 0
        for key, report in self._unsent.items():
            size_bytes += len(msgspec.json.encode(report))
            if batch and (len(batch) == most or size_bytes > BATCH_MOST_BYTES):
                break
            batch[key] = report
        return batch

    def _sent(self, batch: dict[Key, Report]) -> None:
        for key, report in batch.items():
            if self._unsent.get(key) is report:
                del self._unsent[key]
            if report.phase is Phase.ABSENT and self._newest.get(key) is report:
                del self._newest[key]
