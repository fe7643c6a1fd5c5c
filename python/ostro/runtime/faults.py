"""Named fault points: where a test, or an operator's rehearsal, makes the program die.

Code calls ``world.faults.hit("server.create.committed")`` between two effects. In production nothing happens. A test
passes ``CrashAt``, which raises ``Crash`` at one chosen point; the environment variable ``OSTRO_FAULT=name`` makes the real
process kill itself with SIGKILL there.
"""

from __future__ import annotations

import os
import signal
from typing import Protocol


class Crash(BaseException):
    """The process is taken to have died here. Derives from BaseException so that no handler survives it."""


class Faults(Protocol):
    """A place to die at."""

    def hit(self, name: str) -> None:
        """Pass the point ``name``, or don't."""
        ...


class NoFaults:
    """Production: every point is passed."""

    def hit(self, name: str) -> None:
        return


class CrashAt:
    """Raises Crash the ``nth`` time the point ``name`` is reached, then never again."""

    def __init__(self, name: str, nth: int = 1) -> None:
        self._name = name
        self._left = nth

    def hit(self, name: str) -> None:
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            raise Crash(name)


class RecordFaults:
    """Remembers the points passed, in order: how a test learns which points there are to crash at."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def hit(self, name: str) -> None:
        self.seen.append(name)


class KillAt:
    """Ends this very process, as ``kill -9`` would, when the point is reached."""

    def __init__(self, name: str) -> None:
        self._name = name

    def hit(self, name: str) -> None:
        if name == self._name:
            os.kill(os.getpid(), signal.SIGKILL)


def faults_from_environment() -> Faults:
    """``KillAt`` for ``OSTRO_FAULT``, else ``NoFaults``."""
    name = os.environ.get("OSTRO_FAULT", "")
    return KillAt(name) if name else NoFaults()
