"""Tasks beside a block of code: the usual shape of something opened that needs looking after while it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def beside(*tasks: Callable[[], Awaitable[None]]) -> AsyncIterator[trio.Nursery]:
    """Run ``tasks`` while the block runs, and cancel them when it ends.

    What the block raises comes out as it is, not wrapped in a group, so that ``except`` around an ``open_`` works. A task that
    fails cancels the block, and what it raised comes out; several failures at once come out as a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(task)
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__
