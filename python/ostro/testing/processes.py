"""Processes that tests have hang."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

STOPPED = frozenset("TtZX")
"""States of proc(5) in which a thread does nothing any more."""
MOST_S = 30.0


def freeze(pid: int) -> None:
    """Stop a process in its tracks, and return when it has stopped: the signal takes a moment, in which its threads go on on other processors.

    ``SIGCONT`` lets it go on. Raises TimeoutError when it doesn't stop.
    """
    os.kill(pid, signal.SIGSTOP)
    until_s = time.monotonic() + MOST_S
    while not _states(pid) <= STOPPED:
        if time.monotonic() > until_s:
            raise TimeoutError(f"process {pid} does not stop")
        os.sched_yield()


def _states(pid: int) -> set[str]:
    """The states of all its threads."""
    states = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # One has ended meanwhile.
            states.add(path.read_text().rpartition(")")[2].split()[0])
    return states
