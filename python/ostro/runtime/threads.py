"""Blocking calls, in bounded workers with deadlines.

``Threads.run`` is the only way from trio into a blocking library. A pool bounds how many calls of one kind run at once: a ``Pool``, or where they are
many and short a ``Crew`` (``crew.py``).
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


class Workers(Protocol):
    """Those that make calls of one kind. ``name`` shows in errors and metrics; at most ``size`` calls run at once."""

    name: str
    size: int

    @property
    def busy(self) -> int:
        """Calls running now, abandoned ones included."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for others to end."""
        ...

    async def call(self, fn: Callable[[], T], what: str, deadline_s: float) -> T:
        """Call ``fn()`` in a thread. ``what`` says in an error what it is."""
        ...


class Pool:
    """At most ``size`` calls of one kind at once, each handed to a thread by itself."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.limiter = trio.CapacityLimiter(size)

    @property
    def busy(self) -> int:
        """Calls running now, abandoned ones included."""
        return self.limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Calls that wait for others to end."""
        return self.limiter.statistics().tasks_waiting

    async def call(self, fn: Callable[[], T], what: str, deadline_s: float) -> T:
        """Call ``fn()`` in a thread."""
        with trio.move_on_after(deadline_s):
            return await trio.to_thread.run_sync(
                fn, limiter=self.limiter, abandon_on_cancel=True, thread_name=self.name
            )
        raise too_late(self.name, what, deadline_s)


def too_late(name: str, what: str, deadline_s: float) -> Unavailable:
    """The error of a call that passed its deadline."""
    return Unavailable(f"A call to {name} did not finish in {deadline_s:g} s.", retry_after_s=5, detail=what)


class Threads(Protocol):
    """Where blocking calls go."""

    @property
    def pools(self) -> Mapping[str, Workers]:
        """The pools that have been used."""
        ...

    async def run(
        self, pool: Workers, fn: Callable[..., T], *args: object, deadline_s: float = DEFAULT_DEADLINE_S
    ) -> T:
        """Call ``fn(*args)``. Raises what it raises, or Unavailable when the deadline passes. A checkpoint."""
        ...


class WorkerThreads:
    """Real threads, by trio's thread cache."""

    def __init__(self) -> None:
        self.pools: dict[str, Workers] = {}

    async def run(
        self, pool: Workers, fn: Callable[..., T], *args: object, deadline_s: float = DEFAULT_DEADLINE_S
    ) -> T:
        self.pools[pool.name] = pool
        what = getattr(fn, "__qualname__", None) or repr(fn)
        return await pool.call(lambda: fn(*args), what, deadline_s)


class InlineThreads:
    """No threads: the call runs here and now."""

    pools: Mapping[str, Workers] = {}

    async def run(
        self, pool: Workers, fn: Callable[..., T], *args: object, deadline_s: float = DEFAULT_DEADLINE_S
    ) -> T:
        await trio.lowlevel.checkpoint()
        return fn(*args)
