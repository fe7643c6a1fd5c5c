"""Blocking calls on one connection, and when the last of them has returned.

librados aborts the process when a connection is shut down under a call that is still running, and a call whose deadline passed
is still running. So every call goes through a gate that can be closed: afterwards none gets in, and it can be waited for those inside.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ostro.model.errors import Unavailable

T = TypeVar("T")


class Gate:
    """Counts the calls inside. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def run(self, fn: Callable[..., T], cluster: Any, *args: object) -> T:
        """``fn(cluster, *args)``. Raises what it raises, or Unavailable once the gate is closed."""
        self.enter()
        try:
            return fn(cluster, *args)
        finally:
            self.leave()

    def enter(self) -> None:
        """Go in until ``leave``. Raises Unavailable once the gate is closed."""
        with self._changed:
            if self._closed:
                raise Unavailable(
                    "The storage (Ceph) does not answer.", retry_after_s=1, detail="the connection is closed"
                )
            self._inside += 1

    def leave(self) -> None:
        """Come out."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Let nobody in any more, and wait for those inside. Whether all have come out in time."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._inside == 0, timeout_s)
