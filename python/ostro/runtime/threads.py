"""Blocking calls, in bounded workers with deadlines.

``Threads.run`` is the only way from trio into a blocking library. A pool bounds how many calls of one kind run at once.
A call that passes its deadline is abandoned: the caller gets ``Unavailable`` at once, the thread's result is dropped when it
comes, and its place in the pool stays taken until then, so that a library that hangs can't eat the machine.

``InlineThreads`` runs the call on the spot: in simulation there are no threads, so virtual time stays exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import trio

from ostro.model.errors import Unavailable

T = TypeVar("T")

DEFAULT_DEADLINE_S = 60.0


class Pool:
    """At most ``size`` calls of one kind at once. ``name`` shows in errors and metrics."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.limiter = trio.CapacityLimiter(size)

    @property
    def busy(self) -> int:
        """Calls running now, abandoned ones included."""
        return self.limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Calls that wait for others to end."""
        return self.limiter.statistics().tasks_waiting


class Threads(Protocol):
    """Where blocking calls go."""

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools that have been used."""
        ...

    async def run(self, pool: Pool, fn: Callable[..., T], *args: object, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
        """Call ``fn(*args)``. Raises what it raises, or Unavailable when the deadline passes. A checkpoint."""
        ...


class WorkerThreads:
    """Real threads, by trio's thread cache."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}

    async def run(self, pool: Pool, fn: Callable[..., T], *args: object, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
        self.pools[pool.name] = pool
        with trio.move_on_after(deadline_s):
            return await trio.to_thread.run_sync(
                lambda: fn(*args), limiter=pool.limiter, abandon_on_cancel=True, thread_name=pool.name
            )
        raise Unavailable(
            f"A call to {pool.name} did not finish in {deadline_s:g} s.",
            retry_after_s=5,
            detail=getattr(fn, "__qualname__", repr(fn)),
        )


class InlineThreads:
    """No threads: the call runs here and now."""

    pools: Mapping[str, Pool] = {}

    async def run(self, pool: Pool, fn: Callable[..., T], *args: object, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
        await trio.lowlevel.checkpoint()
        return fn(*args)
