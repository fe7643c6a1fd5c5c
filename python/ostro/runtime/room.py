"""Room for so many at once, and whoever could begin later is told when there is some.

Work that has begun and then waits in line is worse than work that waits to begin: all that it has made until then lies there meanwhile, and is out of the
processor's caches when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Room:
    """At most ``most`` are inside (``async with``); the others wait in the order they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self._line = trio.lowlevel.ParkingLot()
        self._told: Callable[[], None] | None = None

    @property
    def left(self) -> int:
        """How many more could come in at once. Those in line have no room."""
        return self._most - self._inside

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    def tell(self, hook: Callable[[], None]) -> None:
        """Call it, once, when somebody has left and nobody was in line. One hook at a time: that of whoever lets others begin. It must not raise."""
        self._told = hook

    async def __aenter__(self) -> None:
        if self._inside < self._most:
            self._inside += 1
        else:
            # Whoever leaves hands over its place.
            await self._line.park()

    async def __aexit__(self, *_: object) -> None:
        if self._line:
            self._line.unpark()
            return
        self._inside -= 1
        if self._told is not None:
            told, self._told = self._told, None
            told()
