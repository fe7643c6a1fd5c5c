"""Whose request begins next, when more clients ask than one round of the loop should serve.

A request that has begun and reads only what is at hand ends a round or two later; so what is under way is little, however many ask, and the processor
has it in its caches. The others wait with nothing but their heads read, in turn by project: who floods keeps only itself waiting. A round is
short, so hosts, watches and the process's own loops, which take no turns, come in between.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import nullcontext, suppress
from typing import Generic, TypeVar

import outcome
import trio

from ostro.model.errors import TooManyRequests
from ostro.runtime.room import Room

T = TypeVar("T")

ROUND_MOST = 32
"""Some five milliseconds of short reads. With fewer the loop itself costs more; with more a round is longer."""
BUSY = "The service is busy: try again later."
RETRY_S = 1


class Refusing:
    """Somewhere that not everybody is let in, and how many were not."""

    def __init__(self) -> None:
        self.refused = 0

    def refusal(self, message: str = BUSY, retry_after_s: int = RETRY_S) -> TooManyRequests:
        """The error of one who is not let in, counted."""
        self.refused += 1
        return TooManyRequests(message, retry_after_s=retry_after_s)


class Lines(Generic[T]):
    """Who waits, by key. Keys have their turn one after the other; within one, who came first."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, key: str, waiter: T) -> None:
        """Put one at the end of its line."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
        line.append(waiter)
        self._length += 1

    def next(self) -> T:
        """Take out whose turn it is. There must be one."""
        key, line = next(iter(self._lines.items()))
        waiter = line.popleft()
        self._length -= 1
        if line:
            self._lines.move_to_end(key)
        else:
            del self._lines[key]
        return waiter

    def remove(self, key: str, waiter: T) -> None:
        """Take one out who doesn't want to wait any more, if it is still there."""
        line = self._lines.get(key)
        if line is None:
            return
        with suppress(ValueError):
            line.remove(waiter)
            self._length -= 1
        if not line:
            del self._lines[key]

    def displace(self, key: str) -> T | None:
        """Take out the newest of the longest line if that is longer than the line of a newcomer with this key would be."""
        line = self._longer(key)
        if line is None:
            return None
        self._length -= 1
        return line.pop()

    def may_displace(self, key: str) -> bool:
        """Whether ``displace`` would take one out."""
        return self._longer(key) is not None

    def _longer(self, key: str) -> deque[T] | None:
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=key)
        if len(self._lines.get(longest, ())) <= len(self._lines.get(key, ())) + 1:
            return None
        return self._lines[longest]


class Turns(Refusing):
    """At most ``round_most`` requests begin in one round of the loop, and no more than there is ``room`` for; at most ``waiting_most`` wait for a later one.

    No task stands behind it, and no timer but where there may be no room: the loop itself calls at the beginning of a round, and only while somebody waits; or who makes room does.
    """

    def __init__(
        self, waiting_most: int, waiting_most_s: float, round_most: int = ROUND_MOST, room: Room | None = None
    ) -> None:
        super().__init__()
        self._waiting_most = waiting_most
        self._waiting_most_s = waiting_most_s
        self._round_most = round_most
        self._room = room
        self._lines: Lines[tuple[trio.lowlevel.Task, float]] = Lines()
        self._begun = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._lines)

    def begin(self) -> bool:
        """Whether a request may begin at once; else it has to ``wait``."""
        if self._lines or self._begun >= self._round_most or (self._room is not None and self._room.left <= 0):
            return False
        self._begun += 1
        return True

    async def wait(self, key: str) -> None:
        """Return when it is one's turn. A checkpoint.

        Raises TooManyRequests when too many wait: for the newest of the longest line; and when the turn comes after more than ``waiting_most_s``, or not
        at all because there is no room.
        """
        lines = self._lines
        if len(lines) >= self._waiting_most:
            displaced = lines.displace(key)
            if displaced is None:
                raise self.refusal()
            trio.lowlevel.reschedule(displaced[0], outcome.Value(False))
        if not lines:
            self._call_next_round()
        waiter = (trio.lowlevel.current_task(), trio.current_time())
        lines.add(key, waiter)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            lines.remove(key, waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        granted = False
        # The loop always comes round; but there may be no room for as long as somebody else doesn't answer.
        with nullcontext() if self._room is None else trio.move_on_after(self._waiting_most_s):
            granted = await trio.lowlevel.wait_task_rescheduled(abort)
        if not granted:
            raise self.refusal()

    def _begin_round(self) -> None:
        """Let the next ones begin. Called by the loop, so it must never raise."""
        lines = self._lines
        oldest_s = trio.current_time() - self._waiting_most_s
        self._begun = 0
        most = self._round_most if self._room is None else min(self._round_most, self._room.left)
        while lines and self._begun < most:
            task, since_s = lines.next()
            self._begun += 1
            trio.lowlevel.reschedule(task, outcome.Value(since_s >= oldest_s))
        if lines:
            self._call_next_round()

    def _call_next_round(self) -> None:
        if self._room is not None and self._room.left <= 0:
            self._room.tell(self._call_next_round)
        else:
            trio.lowlevel.current_trio_token().run_sync_soon(self._begin_round, idempotent=True)
