"""A wall clock that stands still until it is told to go on."""

from __future__ import annotations


class ManualClock:
    """Wall time for tests of deadlines: nobody has to wait for it."""

    def __init__(self, start_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = start_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_us += int(seconds * 1_000_000)
