"""Load that is too much is refused early, so that what is taken is answered as fast as ever.

- **Turns** (``turns.py``). However many ask at once, one round of the loop begins few of their requests; the others wait in turn by project.
- **Handshakes**, by TLS, have turns of their own, by address: each takes the processor for as long as several requests do, so a crowd of newcomers
  would keep those waiting who are there already.
- **A bounded queue.** So many requests are worked on at once; more wait, in turn by project, so that one that floods keeps only itself
  waiting. When the queue is full the newest request of whoever has most in it is refused, and one that has waited too long is too.
- **A bucket for each project** bounds its rate, however idle the cloud is.
- **A bucket of failures for each address.** Whoever fails to log in again and again from one address is refused before any password is looked
  at; who has a token, or logs in rightly, never pays. (How many passwords are hashed at once, and how many wait for that, `Passwords` bounds.)

Hosts and health have a lane of their own: they neither wait nor count. Requests that stream, wait or watch on purpose have other places, and more of them,
because they take hardly any time of ours and as much of their client's as it likes; of those a project can't have all. A watch keeps its place until it ends.

All of it is per process, and the numbers are ``api.yaml``'s. Refusals are 429 with Retry-After, in the service's own shape.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from ostro.http.tls import HANDSHAKE_MOST_S
from ostro.http.turns import BUSY, ROUND_MOST, Lines, Refusing, Turns
from ostro.model.errors import TooManyRequests
from ostro.runtime.metrics import Metrics
from ostro.runtime.room import Room

if TYPE_CHECKING:
    from ostro.services.shedding import Shedding

HANDSHAKES_ROUND_MOST = 2
"""Some two milliseconds, beside the five of a round of requests."""
HANDSHAKES_WAITING_MOST = 4096
"""Each holds a connection and a task. A thousand hosts that start at once have two each."""
KNOWN_MOST = 10_000
"""Buckets that are remembered; the one that was used longest ago is forgotten, which is to say full again."""
PATIENT_RETRY_S = 5
OWN_LANE = frozenset(("agent", "health"))
"""Services whose requests always pass."""
TOO_FAST = "Too many requests of this project: slow down."
TOO_MANY_WAITING = "This project has too many requests that stream, wait or watch: end some first."
TOO_MANY_FAILURES = "Too many requests from this address have failed: slow down."


class Buckets:
    """Token buckets by key. A rate of 0 means no bound."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def wait_s(self, key: str) -> float:
        """How long until there is a token; 0 when there is one."""
        if not self._rate_per_s:
            return 0.0
        return max(1.0 - self._level(key), 0.0) / self._rate_per_s

    def take(self, key: str) -> float:
        """Take a token if there is one; how long until there is, otherwise 0."""
        if not self._rate_per_s:
            return 0.0
        level = self._level(key)
        if level < 1.0:
            return (1.0 - level) / self._rate_per_s
        levels = self._levels
        levels[key] = (level - 1.0, trio.current_time())
        levels.move_to_end(key)
        if len(levels) > KNOWN_MOST:
            levels.popitem(last=False)
        return 0.0

    def _level(self, key: str) -> float:
        level, at_s = self._levels.get(key, (self._burst, 0.0))
        return min(self._burst, level + (trio.current_time() - at_s) * self._rate_per_s)


class _Waiter:
    """A request in the queue, and what became of it."""

    __slots__ = ("done", "granted")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.granted = False


class Queue(Refusing):
    """At most ``active_most`` hold a place, at most ``queue_most`` wait for one, each at most ``queue_most_s``."""

    def __init__(self, active_most: int, queue_most: int, queue_most_s: float) -> None:
        super().__init__()
        self._active_most = active_most
        self._queue_most = queue_most
        self._queue_most_s = queue_most_s
        self.active = 0
        self._lines: Lines[_Waiter] = Lines()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._lines)

    def check(self, key: str) -> None:
        """Raise TooManyRequests for one who would be refused now."""
        if (
            self.active >= self._active_most
            and len(self._lines) >= self._queue_most
            and not self._lines.may_displace(key)
        ):
            raise self.refusal()

    async def enter(self, key: str) -> bool:
        """Return with a place, which ``leave`` gives back; whether it had to be waited for, which is a checkpoint. Raises TooManyRequests."""
        if self.active < self._active_most:
            self.active += 1
            return False
        lines = self._lines
        if len(lines) >= self._queue_most:
            displaced = lines.displace(key)
            if displaced is None:
                raise self.refusal()
            displaced.done.set()
        waiter = _Waiter()
        lines.add(key, waiter)
        try:
            with trio.move_on_after(self._queue_most_s):
                await waiter.done.wait()
        except BaseException:
            if waiter.granted:
                self.leave()
            raise
        finally:
            if not waiter.done.is_set():
                lines.remove(key, waiter)
        if not waiter.granted:
            raise self.refusal()
        return True

    def leave(self, key: str = "") -> None:
        """Give a place back: to the next in line, or to nobody. Whose it was makes no difference."""
        if not self._lines:
            self.active -= 1
            return
        waiter = self._lines.next()
        waiter.granted = True
        waiter.done.set()


class Places(Refusing):
    """Places that are held for as long as their holder likes: so many in all, and so many for each key. Nobody waits for one."""

    def __init__(self, active_most: int, each_most: int) -> None:
        super().__init__()
        self._active_most = active_most
        self._each_most = each_most
        self._held: dict[str, int] = {}
        self.active = 0
        self.waiting = 0

    def check(self, key: str) -> None:
        """Raise TooManyRequests for one who would be refused now."""
        held = self._held.get(key, 0)
        if held >= self._each_most or self.active >= self._active_most:
            raise self.refusal(TOO_MANY_WAITING if held >= self._each_most else BUSY, PATIENT_RETRY_S)

    async def enter(self, key: str) -> bool:
        """Return with a place, which ``leave`` gives back; nobody had to wait for it. Raises TooManyRequests. Never a checkpoint."""
        self.check(key)
        self._held[key] = self._held.get(key, 0) + 1
        self.active += 1
        return False

    def leave(self, key: str) -> None:
        """Give a place back."""
        self.active -= 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


class HeldStream:
    """The parts of an answer that holds a place until its last one, however it ends: also when nobody ever reads it."""

    def __init__(self, parts: AsyncIterable[bytes], leave: Callable[[], None]) -> None:
        self._parts = aiter(parts)
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._parts)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        """End it."""
        try:
            if hasattr(self._parts, "aclose"):
                await self._parts.aclose()
        finally:
            self._end()

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._leave is not None:
            leave, self._leave = self._leave, None
            leave()


class Shedder:
    """The bounds of one process."""

    def __init__(self, settings: Shedding, room: Room | None = None) -> None:
        """``room`` is what most requests need soon after they have begun."""
        self.turns = Turns(max(settings.queue_most, ROUND_MOST), settings.queue_most_s, room=room)
        self.handshakes = Turns(HANDSHAKES_WAITING_MOST, HANDSHAKE_MOST_S, HANDSHAKES_ROUND_MOST)
        bounds = (settings.active_most, settings.queue_most, settings.queue_most_s)
        self.queue = Queue(*bounds)
        self.strangers = Queue(*bounds)
        """Those who log in have places of their own, because hashing passwords is slow on purpose."""
        self.projects = Buckets(settings.project_rate_per_s, settings.project_burst)
        self.failures = Buckets(settings.failure_rate_per_s, settings.failure_burst)

        self.patient = Places(settings.patient_most, settings.patient_project_most)

    def watch(self, metrics: Metrics) -> None:
        """Show how full each lane is."""
        lanes = ("queue", "strangers", "patient")
        for name in lanes:
            metrics.watch("ostro_http_active", "Requests worked on", name, partial(self._figure, name, "active"))
        for name in ("turns", "handshakes", *lanes):
            metrics.watch("ostro_http_waiting", "Requests in the queue", name, partial(self._figure, name, "waiting"))
            metrics.watch_total("ostro_http_refused", "Requests refused", name, partial(self._figure, name, "refused"))

    def _figure(self, lane: str, name: str) -> int:
        return int(getattr(getattr(self, lane), name))

    def choose(self, *, stranger: bool, patient: bool) -> Queue | Places:
        """Where a request takes its place."""
        if patient:
            return self.patient
        return self.strangers if stranger else self.queue

    def check_project(self, project_id: str) -> None:
        """Raise TooManyRequests for a project that asks too often."""
        if project_id and (wait_s := self.projects.take(project_id)):
            raise TooManyRequests(TOO_FAST, retry_after_s=math.ceil(wait_s))

    def check_address(self, address: str) -> None:
        """Raise TooManyRequests for an address that has failed too often."""
        if wait_s := self.failures.wait_s(address):
            raise TooManyRequests(TOO_MANY_FAILURES, retry_after_s=math.ceil(wait_s))

    def note_failure(self, address: str) -> None:
        """Somebody there was refused for not saying rightly who it is."""
        self.failures.take(address)
