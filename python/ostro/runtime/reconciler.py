"""The generic reconciler: keep doing the one right thing until nothing is left to do.

A reconciler takes no input. ``wake(key)`` says only "look at this object again"; ``reconcile(key)`` compares the whole wish
with inspected reality and acts. Wake-ups of one key are merged, one key is never worked on twice at once, different keys
run side by side up to ``width``. A failure is logged and tried again after the key's own backoff; a wake-up during the
backoff tries at once. Because wake-ups carry nothing, waking everything is always right, merely slower.

What is due comes from a heap, so that a wake-up costs the same whether ten keys wait for their time or a hundred thousand.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import structlog
import trio

from ostro.model.errors import OstroError
from ostro.runtime.backoff import Backoff
from ostro.runtime.log import REQUEST_ID
from ostro.runtime.metrics import LoopFigures

log = structlog.get_logger()

STALE_LEAST = 64
"""So many entries of the queue that are passed over anyway are not worth tidying."""


@dataclass
class _Key:
    """What is known of one object, on trio's clock: when it is due, and since when it has been waiting to be right."""

    due_s: float
    since_s: float
    failures: int = 0
    running: bool = False
    again: bool = False


@dataclass
class Reconciler:
    """Runs ``reconcile`` for each woken key.

    ``reconcile`` returns None when wish and reality agree, or the number of seconds after which to look again.
    """

    name: str
    reconcile: Callable[[str], Awaitable[float | None]]
    width: int
    rng: random.Random
    backoff: Backoff = field(default_factory=Backoff)
    asked_by: Callable[[str], str] | None = None
    """The request that an object's wish comes from, for the log."""
    _keys: dict[str, _Key] = field(default_factory=dict, repr=False)
    _queue: list[tuple[float, int, str]] = field(default_factory=list, repr=False)
    """(when due, in which order, key); an entry whose key is due at another time by now, or runs, is passed over."""
    _queued: int = 0
    _bell: trio.Event = field(default_factory=trio.Event, repr=False)
    _errors: int = 0
    _runs: int = 0
    _ended_s: float | None = None

    def wake(self, keys: Iterable[str]) -> None:
        """Look at ``keys`` again, now. Never blocks; call it from the trio thread."""
        now_s = trio.current_time()
        for name in keys:
            key = self._keys.get(name)
            if key is None:
                key = self._keys[name] = _Key(due_s=now_s, since_s=now_s)
                self._put(name, key)
            elif key.running:
                key.again = True
            else:
                key.since_s = min(key.since_s, now_s)
                if key.due_s > now_s:
                    key.due_s = now_s
                    self._put(name, key)
        self._bell.set()

    def _put(self, name: str, key: _Key) -> None:
        self._queued += 1
        heappush(self._queue, (key.due_s, self._queued, name))
        if len(self._queue) > STALE_LEAST + 2 * len(self._keys):
            self._queue = [entry for entry in self._queue if self._is_current(entry)]
            heapify(self._queue)

    def _is_current(self, entry: tuple[float, int, str]) -> bool:
        key = self._keys.get(entry[2])
        return key is not None and not key.running and key.due_s == entry[0]

    def _take_due(self) -> str | None:
        """The next key whose time has come, no longer in the queue."""
        now_s = trio.current_time()
        while self._queue and self._queue[0][0] <= now_s:
            entry = heappop(self._queue)
            if self._is_current(entry):
                return entry[2]
        return None

    def stats(self) -> LoopFigures:
        """Figures for metrics and for tests that wait until all is quiet."""
        now_s = trio.current_time()
        oldest_s = max((now_s - key.since_s for key in self._keys.values() if key.since_s <= now_s), default=0.0)
        idle_s = None if self._ended_s is None else now_s - self._ended_s
        return LoopFigures(len(self._keys), oldest_s, self._errors, self._runs, idle_s)

    async def run(self) -> None:
        """Work for ever. Cancel to stop: a key being worked on is cancelled with it."""
        slots = trio.Semaphore(self.width)
        async with trio.open_nursery() as nursery:
            while True:
                self._bell = trio.Event()
                while (name := self._take_due()) is not None:
                    # Before there is a slot for it, so that it isn't taken twice.
                    self._keys[name].running = True
                    await slots.acquire()
                    nursery.start_soon(self._work, name, slots)
                with trio.move_on_at(self._queue[0][0] if self._queue else float("inf")):
                    await self._bell.wait()

    async def _work(self, name: str, slots: trio.Semaphore) -> None:
        key = self._keys[name]
        # Woken while it waited for a slot: this is the run for it.
        key.again = False
        if self.asked_by is not None:
            REQUEST_ID.set(self.asked_by(name))
        try:
            delay_s = await self._attempt(name, key)
        finally:
            slots.release()
            key.running = False
        now_s = self._ended_s = trio.current_time()
        if not key.again and delay_s is None:
            del self._keys[name]
        else:
            key.due_s = now_s if key.again or delay_s is None else now_s + delay_s
            key.again = False
            self._put(name, key)
        self._bell.set()

    async def _attempt(self, name: str, key: _Key) -> float | None:
        """One run. Whatever one object's trouble is, the others must go on: this is the place that catches it."""
        self._runs += 1
        try:
            delay_s = await self.reconcile(name)
        except Exception as error:
            self._errors += 1
            key.failures += 1
            retry_s = self.backoff.delay_s(key.failures, self.rng)
            reason = error.message if isinstance(error, OstroError) else repr(error)
            expected = isinstance(error, OstroError)
            log.warning(
                "reconcile failed",
                reconciler=self.name,
                id=name,
                reason=reason,
                failures=key.failures,
                retry_s=round(retry_s, 2),
                exc_info=None if expected else error,
            )
            return retry_s
        key.failures = 0
        if delay_s is not None:
            key.since_s = trio.current_time() + delay_s
        return delay_s
