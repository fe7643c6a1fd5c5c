"""``trio.run`` in virtual time, in an order that only the seed decides."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio
import trio.testing

T = TypeVar("T")


def run_virtual(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main``; whenever every task waits, the clock jumps to the next deadline.

    Nothing in it may wait for the outside world, such as a thread or a socket: the clock would run on without it.
    """
    with _ordered(seed):
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def _ordered(seed: int) -> Iterator[None]:
    """Have trio choose among tasks that could run at the same moment by the seed.

    It shuffles them on purpose, and has this switch for Hypothesis, which needs the same.
    """
    scheduler = trio._core._run
    dice, ordered = scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r = random.Random(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    try:
        yield
    finally:
        scheduler._r = dice
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = ordered  # type: ignore[misc]
