"""Many short blocking calls, by few workers that take one after another.

To hand each call to a thread of its own and to wake a task for each answer costs more than a short call does; and each thread more that wants the
interpreter takes it from the trio thread that much more often, so that under load all of them get slower. Here calls wait in one queue. A worker takes
them for as long as there are any, and tells of all that have ended in one go; the more wait, the less each of them costs.

There are ``few`` workers, unless each of them has been at one call for ``slow_s``: then another begins beside them, up to ``most``. So calls that take
long, or never end, hold up the short ones for no longer than that.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import outcome
import trio

from ostro.runtime.threads import too_late

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Call:
    """A call that waits, and then its outcome."""

    fn: Callable[[], Any]
    context: Context = field(default_factory=copy_context)
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)
    done: trio.Event = field(default_factory=trio.Event)
    begun: bool = False
    outcome: outcome.Outcome[Any] | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread while it takes calls, and since when it has been at the present one."""

    since_s: float


class Crew:
    """Up to ``most`` calls of one kind at once, hardly ever more than ``few``. ``name`` shows in errors and metrics."""

    def __init__(self, name: str, few: int, most: int, slow_s: float) -> None:
        self.name = name
        self.size = most
        self._few = few
        self._slow_s = slow_s
        self._lock = Lock()
        """Of the calls that wait and of the workers: one that finds nothing to do ends before another call is put there, or takes it."""
        self._calls: deque[_Call] = deque()
        self._workers: list[_Worker] = []
        self._ended: deque[_Call] = deque()
        self._told = False

    @property
    def busy(self) -> int:
        """Calls running now, abandoned ones included."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Calls that wait for others to end."""
        return len(self._calls)

    async def call(self, fn: Callable[[], T], what: str, deadline_s: float) -> T:
        """Call ``fn()`` in a thread. One that nobody waits for any more is not begun."""
        call, now_s = _Call(fn), trio.current_time()
        until_s, look_s = now_s + deadline_s, now_s + self._slow_s
        with self._lock:
            self._calls.append(call)
            begins = len(self._workers) < self._few
        try:
            if begins:
                self._begin()
            while True:
                with trio.move_on_at(min(until_s, look_s)):
                    await call.done.wait()
                if call.done.is_set():
                    assert call.outcome is not None, "it has ended"
                    result: T = call.outcome.unwrap()
                    return result
                if trio.current_time() >= until_s:
                    raise too_late(self.name, what, deadline_s)
                look_s = math.inf if call.begun else trio.current_time() + self._slow_s
                if not call.begun and self._is_stuck():
                    self._begin()
        finally:
            if not call.begun:
                with self._lock, suppress(ValueError):
                    self._calls.remove(call)

    def _is_stuck(self) -> bool:
        """Whether every worker has been at one call for long, and there may be another."""
        with self._lock:
            since_s = max((worker.since_s for worker in self._workers), default=-math.inf)
            return len(self._workers) < self.size and time.monotonic() - since_s >= self._slow_s

    def _begin(self) -> None:
        """Begin another worker."""
        worker = _Worker(time.monotonic())
        with self._lock:
            self._workers.append(worker)
        try:
            trio.lowlevel.start_thread_soon(partial(self._work, worker), _check, self.name)
        except BaseException:
            with self._lock:
                self._workers.remove(worker)
            raise

    def _work(self, worker: _Worker) -> None:
        """In a thread: take calls until none waits."""
        while (call := self._next(worker)) is not None:
            call.outcome = outcome.capture(call.context.run, call.fn)
            self._ended.append(call)
            if not self._told:
                self._told = True
                try:
                    call.token.run_sync_soon(self._tell)
                except trio.RunFinishedError:
                    # Who asked is gone with its run.
                    self._told = False
                    self._ended.clear()
            del call

    def _next(self, worker: _Worker) -> _Call | None:
        """The next call; None when there is none, and then the worker is none any more."""
        with self._lock:
            if not self._calls:
                self._workers.remove(worker)
                return None
            call = self._calls.popleft()
            call.begun, worker.since_s = True, time.monotonic()
            return call

    def _tell(self) -> None:
        """Wake all whose calls have ended. Called by the loop."""
        # From here on a worker tells again of what it adds.
        self._told = False
        while self._ended:
            self._ended.popleft().done.set()


def _check(result: outcome.Outcome[None]) -> None:
    """A worker keeps what its calls raise for those who asked; anything else is a bug of ours, which the thread prints."""
    result.unwrap()
