"""Blocking code on the trio thread: a function with a stack of its own, which waits by letting the loop go on.

A call that is handed to a worker thread wants the interpreter again each time that something has come for it, and takes it from the trio thread, or waits
5 ms for it while that is busy. A **strand** is a greenlet: where its function would block, it calls ``wait``, the task that runs it waits in trio's way,
and both go on at the same place. Until then it holds up the loop as any other code there, so it is for what works little between its waits.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

import outcome
from greenlet import getcurrent, greenlet

T = TypeVar("T")

_Wait = Callable[[], Awaitable[None]]


class _Strand(greenlet):  # type: ignore[misc]
    """One that may wait."""


async def run_strand(fn: Callable[[], T]) -> T:
    """Call ``fn()`` in a strand. What ends the task, a cancellation above all, is raised in ``fn`` where it waits. A checkpoint only if it does."""
    strand = _Strand(lambda: outcome.capture(fn))
    strand.gr_context = contextvars.copy_context()
    said = strand.switch()
    while not strand.dead:
        try:
            await said()
        except BaseException as error:  # noqa: BLE001 - it is raised where it belongs
            said = strand.throw(error)
        else:
            said = strand.switch()
    result: T = said.unwrap()
    return result


def in_strand() -> bool:
    """Whether whoever asks runs in a strand."""
    return isinstance(getcurrent(), _Strand)


def wait(how: _Wait) -> None:
    """In a strand: wait by ``await how()``."""
    strand = getcurrent()
    assert isinstance(strand, _Strand) and strand.parent is not None, "only a strand waits so"
    strand.parent.switch(how)
