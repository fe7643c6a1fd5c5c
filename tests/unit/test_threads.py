"""Blocking calls: deadlines, bounded pools, cancellation."""

from __future__ import annotations

import threading

import pytest
import trio

from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.threads import InlineThreads, Pool, Threads, WorkerThreads


@pytest.fixture(params=[WorkerThreads, InlineThreads])
def threads(request: pytest.FixtureRequest) -> Threads:
    """Both kinds."""
    made: Threads = request.param()
    return made


def refuse() -> None:
    raise Invalid("no")


async def test_results_and_errors_come_through(threads: Threads) -> None:
    pool = Pool("p", 1)
    assert await threads.run(pool, lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(Invalid, match="no"):
        await threads.run(pool, refuse)
    assert pool.busy == 0


async def test_a_call_past_its_deadline_is_abandoned_and_keeps_its_place() -> None:
    pool, release = Pool("slow", 1), threading.Event()
    threads = WorkerThreads()
    with pytest.raises(Unavailable, match="slow"):
        await threads.run(pool, release.wait, deadline_s=0.01)
    assert pool.busy == 1
    with pytest.raises(Unavailable):
        await threads.run(pool, int, deadline_s=0.01)
    release.set()
    assert await threads.run(pool, int) == 0
    assert pool.busy == 0


async def test_no_more_than_the_pool_allows_run_at_once() -> None:
    pool, lock = Pool("narrow", 3), threading.Lock()
    running = most = 0
    barrier = threading.Barrier(3)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait(10)
        with lock:
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(WorkerThreads().run, pool, work)
    assert most == 3


async def test_cancelling_lets_go_at_once() -> None:
    release = threading.Event()
    pool = Pool("held", 1)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(WorkerThreads().run, pool, release.wait)
            while not pool.busy:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    release.set()
