"""Faults that a simulation strikes with: at the so-many-th fault point that is passed from now on, wherever that is."""

from __future__ import annotations

from ostro.runtime.faults import Crash
from ostro.testing.sim.trace import Trace


class Fuse:
    """See `ostro.runtime.faults.Faults`. ``who`` is whose process dies."""

    def __init__(self, trace: Trace, who: str) -> None:
        self._trace = trace
        self._who = who
        self._left = 0

    def light(self, points: int) -> None:
        """Die when so many points have been passed."""
        self._left = points

    def put_out(self) -> None:
        """Don't."""
        self._left = 0

    def hit(self, name: str) -> None:
        if not self._left:
            return
        self._left -= 1
        if not self._left:
            self._trace.note("crash", self._who, name)
            raise Crash(name)
