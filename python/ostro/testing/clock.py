"""Wall clocks for tests: one that stands still until it is told to go on, and one that follows trio's virtual time."""

from __future__ import annotations

from trio.testing import MockClock


class ManualClock:
    """Wall time for tests of deadlines: nobody has to wait for it."""

    def __init__(self, start_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = start_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_us += int(seconds * 1_000_000)


class VirtualClock:
    """Wall time that follows a virtual clock of trio's; good in worker threads too."""

    def __init__(self, clock: MockClock, start_us: int = 1_700_000_000_000_000) -> None:
        self._clock = clock
        self._start_us = start_us

    def now_us(self) -> int:
        return self._start_us + int(self._clock.current_time() * 1_000_000)
