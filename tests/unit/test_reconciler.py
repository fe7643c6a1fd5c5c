"""The generic reconciler, in virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable

import trio
import trio.lowlevel
import trio.testing

from ostro.model.errors import Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.log import REQUEST_ID
from ostro.runtime.reconciler import Reconciler


async def drive(
    reconcile: Callable[[str], Awaitable[float | None]], script: Callable[[Reconciler], Awaitable[None]], width: int = 4
) -> Reconciler:
    """Run a reconciler beside a script until the script ends."""
    reconciler = Reconciler("test", reconcile, width, random.Random(1), Backoff(1.0, 60.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        await script(reconciler)
        nursery.cancel_scope.cancel()
    return reconciler


async def test_wakes_of_one_key_are_merged(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["a", "b", "a"])
        reconciler.wake(["a"])
        await trio.sleep(1)

    reconciler = await drive(reconcile, script)
    assert sorted(seen) == ["a", "b"]
    assert reconciler.stats().pending == 0


async def test_a_wake_during_the_work_works_once_more(autojump_clock: trio.testing.MockClock) -> None:
    starts: list[float] = []

    async def reconcile(key: str) -> None:
        starts.append(trio.current_time())
        await trio.sleep(10)

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["a"])
        await trio.sleep(5)
        reconciler.wake(["a"])
        reconciler.wake(["a"])
        await trio.sleep(50)

    await drive(reconcile, script)
    assert [b - a for a, b in itertools.pairwise(starts)] == [10]


async def test_one_key_is_never_worked_on_twice_at_once_and_width_bounds_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running: set[str] = set()
    most = 0

    async def reconcile(key: str) -> None:
        nonlocal most
        assert key not in running
        running.add(key)
        most = max(most, len(running))
        await trio.sleep(1)
        running.remove(key)

    async def script(reconciler: Reconciler) -> None:
        for _ in range(6):
            reconciler.wake(str(i) for i in range(10))
            await trio.sleep(0.4)
        await trio.sleep(60)

    reconciler = await drive(reconcile, script, width=3)
    assert most == 3
    assert reconciler.stats().pending == 0


async def test_failures_back_off_and_a_wake_tries_at_once(autojump_clock: trio.testing.MockClock) -> None:
    at: list[float] = []

    async def reconcile(key: str) -> None:
        at.append(trio.current_time())
        raise Unavailable("not now")

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["a"])
        await trio.sleep(1000)
        before = len(at)
        reconciler.wake(["a"])
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert len(at) == before + 1
        stats = reconciler.stats()
        assert stats.pending == 1
        assert stats.errors == stats.runs == len(at)
        assert stats.oldest_age_s >= 1000

    await drive(reconcile, script)
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert 0.5 <= gaps[0] <= 1.0
    assert all(gap <= 60 for gap in gaps)
    assert max(gaps) >= 30


async def test_one_keys_trouble_does_not_hold_up_the_others(autojump_clock: trio.testing.MockClock) -> None:
    done: list[str] = []

    async def reconcile(key: str) -> None:
        if key == "bad":
            raise ValueError("a bug")
        done.append(key)

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["bad", "good"])
        await trio.sleep(1)

    await drive(reconcile, script)
    assert done == ["good"]


async def test_looking_again_is_not_getting_old(autojump_clock: trio.testing.MockClock) -> None:
    runs = 0

    async def reconcile(key: str) -> float:
        nonlocal runs
        runs += 1
        return 30.0

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["a"])
        await trio.sleep(100)
        assert reconciler.stats().oldest_age_s <= 30.0

    await drive(reconcile, script)
    assert runs == 4


async def test_cancelling_cancels_the_work(autojump_clock: trio.testing.MockClock) -> None:
    outcome: list[str] = []

    async def reconcile(key: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            outcome.append("cancelled")

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["a"])
        await trio.sleep(1)

    await drive(reconcile, script)
    assert outcome == ["cancelled"]


async def test_the_queue_does_not_grow_with_wakes(autojump_clock: trio.testing.MockClock) -> None:
    runs = 0

    async def reconcile(key: str) -> float:
        nonlocal runs
        runs += 1
        return 3600.0

    async def script(reconciler: Reconciler) -> None:
        for _ in range(500):
            reconciler.wake(["a", "b"])
            await trio.sleep(1)
        assert len(reconciler._queue) < 100

    await drive(reconcile, script)
    assert runs == 1000


async def test_a_key_woken_while_it_waits_for_a_slot_runs_once(autojump_clock: trio.testing.MockClock) -> None:
    starts: list[str] = []

    async def reconcile(key: str) -> None:
        starts.append(key)
        await trio.sleep(10)

    async def script(reconciler: Reconciler) -> None:
        reconciler.wake(["a", "b", "c"])
        await trio.sleep(5)
        reconciler.wake(["b", "c"])
        await trio.sleep(100)

    await drive(reconcile, script, width=1)
    assert starts == ["a", "b", "c"]


async def test_work_on_an_object_is_logged_under_the_request_that_asked_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: set[tuple[str, str]] = set()

    async def reconcile(key: str) -> None:
        seen.add((key, REQUEST_ID.get()))

    reconciler = Reconciler("test", reconcile, 4, random.Random(1), asked_by=lambda key: f"req-{key}")
    before = REQUEST_ID.get()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        reconciler.wake(["a", "b"])
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert seen == {("a", "req-a"), ("b", "req-b")} and REQUEST_ID.get() == before
