"""A bound on how much is in flight, in operations and in bytes at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio


@dataclass
class _Waiter:
    size_bytes: int
    event: trio.Event = field(default_factory=trio.Event)
    served: bool = False


class Budget:
    """At most ``most_ops`` operations of at most ``most_bytes`` together, in the order of asking.

    One operation larger than ``most_bytes`` is let in when nothing else is. Use it from the trio thread.
    """

    def __init__(self, most_ops: int, most_bytes: int) -> None:
        self._most_ops = most_ops
        self._most_bytes = most_bytes
        self._waiters: deque[_Waiter] = deque()
        self.ops = 0
        self.used_bytes = 0

    async def take(self, size_bytes: int) -> None:
        """Wait for room and take it. Cancelled, nothing is taken."""
        if not self._waiters and self._fits(size_bytes):
            self._add(size_bytes)
            return
        waiter = _Waiter(size_bytes)
        self._waiters.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.served:
                self.give_back(size_bytes)
            else:
                self._waiters.remove(waiter)
                self._serve()
            raise

    def try_take(self, size_bytes: int) -> bool:
        """Take room if there is some now and nobody waits for it."""
        if self._waiters or not self._fits(size_bytes):
            return False
        self._add(size_bytes)
        return True

    def give_back(self, size_bytes: int) -> None:
        """Make room again, and let in who fits."""
        self.ops -= 1
        self.used_bytes -= size_bytes
        self._serve()

    def _fits(self, size_bytes: int) -> bool:
        return self.ops == 0 or (self.ops < self._most_ops and self.used_bytes + size_bytes <= self._most_bytes)

    def _add(self, size_bytes: int) -> None:
        self.ops += 1
        self.used_bytes += size_bytes

    def _serve(self) -> None:
        while self._waiters and self._fits(self._waiters[0].size_bytes):
            waiter = self._waiters.popleft()
            waiter.served = True
            self._add(waiter.size_bytes)
            waiter.event.set()
