"""Doorbells: wake-ups that carry no data.

Who waits takes a ``Bell`` on some topics *before* looking at the rows, looks, and then waits: a ring between the
look and the wait is kept, so no change is missed. Rings are merged; a bell may ring for nothing. Topics are
strings such as ``host:<id>``. Rings come from the store after a commit, in this process or (PostgreSQL) another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import trio

from ostro.runtime.metrics import Metrics


class Bell:
    """One waiter's bell on one or more topics."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or when it comes."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most ``timeout_s``. Returns whether it rang, and is silent again afterwards."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        rang = self._event.is_set()
        if rang:
            self._event = trio.Event()
        return rang


class Doorbell:
    """All the bells of one process. Not thread-safe: call it from the trio thread."""

    def __init__(self) -> None:
        self.rings = 0
        """Topics rung so far."""
        self._bells: dict[str, set[Bell]] = {}
        self._callbacks: dict[str, list[Callable[[], None]]] = {}

    def subscribe(self, topic: str, callback: Callable[[], None]) -> None:
        """Call ``callback`` at every ring of ``topic``, before whoever made the change goes on: for caches. It must not raise."""
        self._callbacks.setdefault(topic, []).append(callback)

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Bell]:
        """A bell that rings for any of ``topics`` until the block ends."""
        bell = Bell()
        for topic in topics:
            self._bells.setdefault(topic, set()).add(bell)
        try:
            yield bell
        finally:
            for topic in topics:
                bells = self._bells[topic]
                bells.discard(bell)
                if not bells:
                    del self._bells[topic]

    def ring(self, topics: Iterable[str]) -> None:
        """Ring every bell on ``topics``."""
        for topic in topics:
            self.rings += 1
            for callback in self._callbacks.get(topic, ()):
                callback()
            for bell in self._bells.get(topic, ()):
                bell.ring()

    @property
    def waiting(self) -> int:
        """Bells that somebody listens to."""
        return sum(len(bells) for bells in self._bells.values())

    def watch(self, metrics: Metrics) -> None:
        """Show what there is of it."""
        metrics.watch_total("ostro_doorbell_rings", "Topics rung", "doorbell", lambda: self.rings)
        metrics.watch("ostro_doorbell_waiting", "Bells listened to", "doorbell", lambda: self.waiting)

    def ring_all(self) -> None:
        """Ring every bell there is."""
        self.ring({*self._bells, *self._callbacks})
