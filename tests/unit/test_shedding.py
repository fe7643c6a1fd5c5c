"""Buckets and the queue in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ostro.http.shedding import KNOWN_MOST, TOO_MANY_WAITING, Buckets, HeldStream, Places, Queue, Shedder
from ostro.http.turns import BUSY
from ostro.model.errors import Invalid, TooManyRequests
from ostro.services.shedding import Shedding, read_shedding


async def test_a_bucket_fills_with_time(autojump_clock: MockClock) -> None:
    buckets = Buckets(rate_per_s=2.0, burst=3)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0, "another's is full"
    await trio.sleep(0.5)
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    await trio.sleep(100)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5], "never more than the burst"
    assert buckets.wait_s("a") == 0.5 and buckets.wait_s("b") == 0


async def test_buckets_are_bounded(autojump_clock: MockClock) -> None:
    buckets = Buckets(rate_per_s=1.0, burst=1)
    for number in range(KNOWN_MOST + 10):
        buckets.take(str(number))
    assert len(buckets) == KNOWN_MOST
    free = Buckets(rate_per_s=0, burst=1)
    assert [free.take("a") for _ in range(3)] == [0, 0, 0] and len(free) == 0


async def test_places_go_to_projects_in_turn(autojump_clock: MockClock) -> None:
    queue = Queue(active_most=1, queue_most=10, queue_most_s=60)
    order: list[str] = []

    async def work(key: str) -> None:
        await queue.enter(key)
        try:
            order.append(key)
            await trio.sleep(1)
        finally:
            queue.leave()

    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "a", "a", "b", "c"):
            nursery.start_soon(work, key)
            await wait_all_tasks_blocked()
    assert order == ["a", "a", "b", "c", "a", "a"], "who came first of each, in turn"
    assert (queue.active, queue.waiting) == (0, 0)


async def test_waiting_too_long_is_refused(autojump_clock: MockClock) -> None:
    queue = Queue(active_most=1, queue_most=10, queue_most_s=5)
    await queue.enter("a")
    began_s = trio.current_time()
    with pytest.raises(TooManyRequests):
        await queue.enter("b")
    assert trio.current_time() - began_s == 5
    assert (queue.active, queue.waiting, queue.refused) == (1, 0, 1)
    queue.leave()
    await queue.enter("b")
    queue.leave()
    assert queue.active == 0


async def test_a_full_queue_refuses_whoever_has_most_in_it(autojump_clock: MockClock) -> None:
    queue = Queue(active_most=1, queue_most=3, queue_most_s=60)
    outcome: list[tuple[str, bool]] = []

    async def work(key: str) -> None:
        try:
            await queue.enter(key)
        except TooManyRequests:
            outcome.append((key, False))
            return
        await trio.sleep(1)
        outcome.append((key, True))
        queue.leave()

    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "a", "a", "a", "b", "c"):
            nursery.start_soon(work, key)
            await wait_all_tasks_blocked()
    refused = [key for key, taken in outcome if not taken]
    assert refused == ["a", "a", "a"], "the fifth of a at once, two more for b and c"
    assert [key for key, taken in outcome if taken] == ["a", "a", "b", "c"]
    assert (queue.active, queue.waiting, queue.refused) == (0, 0, 3)


async def test_cancelling_leaves_no_place_taken(autojump_clock: MockClock) -> None:
    queue = Queue(active_most=1, queue_most=3, queue_most_s=60)
    await queue.enter("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.enter, "b")
        await wait_all_tasks_blocked()
        # Granted and cancelled in the same moment: the place goes on to the next.
        queue.leave()
        nursery.cancel_scope.cancel()
    assert queue.waiting == 0 and queue.active in (0, 1)
    while queue.active:
        queue.leave()
    async with trio.open_nursery() as nursery:
        await queue.enter("a")
        nursery.start_soon(queue.enter, "b")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (queue.active, queue.waiting) == (1, 0)


@pytest.mark.parametrize("times", [1, 4])
async def test_goodput_stays_flat_past_the_knee(autojump_clock: MockClock, times: int) -> None:
    """A machine that does 64 requests in 0.1 s, loaded by so many times the clients that fill it."""
    queue = Queue(active_most=64, queue_most=128, queue_most_s=1)
    done = 0

    async def client(number: int) -> None:
        nonlocal done
        while trio.current_time() < end_s:
            try:
                await queue.enter(f"project-{number % 7}")
            except TooManyRequests as error:
                await trio.sleep(error.retry_after_s)
                continue
            try:
                await trio.sleep(0.1)
                done += 1
            finally:
                queue.leave()

    end_s = trio.current_time() + 10
    async with trio.open_nursery() as nursery:
        for number in range(64 * times):
            nursery.start_soon(client, number)
    assert done >= 64 * 10 * 10 - 64
    assert queue.waiting == queue.active == 0


async def test_an_address_pays_for_failures_only(autojump_clock: MockClock) -> None:
    shedder = Shedder(Shedding(failure_rate_per_s=1.0, failure_burst=2, project_rate_per_s=1.0, project_burst=1))
    for _ in range(2):
        shedder.check_address("192.0.2.1")
        shedder.note_failure("192.0.2.1")
    with pytest.raises(TooManyRequests) as refused:
        shedder.check_address("192.0.2.1")
    assert refused.value.retry_after_s == 1
    shedder.check_address("192.0.2.2")
    await trio.sleep(1)
    shedder.check_address("192.0.2.1")
    shedder.check_project("p")
    with pytest.raises(TooManyRequests):
        shedder.check_project("p")
    shedder.check_project("")


def test_an_operator_sets_the_bounds(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    assert read_shedding(folder) == Shedding()
    (folder / "api.yaml").write_text("project_rate_per_s: 50\nactive_most: 8\n")
    assert read_shedding(folder) == Shedding(project_rate_per_s=50, active_most=8)
    for bad in ("active_most: 0\n", "lemons: 1\n", "active_most: many\n", "{\n"):
        (folder / "api.yaml").write_text(bad)
        with pytest.raises(Invalid):
            read_shedding(folder)


async def test_places_are_bounded_for_each_key_and_in_all() -> None:
    places = Places(active_most=3, each_most=2)
    await places.enter("a")
    await places.enter("a")
    for key, message in (("a", TOO_MANY_WAITING), ("b", ""), ("c", BUSY)):
        if not message:
            await places.enter(key)
            continue
        with pytest.raises(TooManyRequests) as refused:
            await places.enter(key)
        assert refused.value.message == message and refused.value.retry_after_s > 0
    places.leave("a")
    await places.enter("c")
    for key in ("a", "b", "c"):
        places.leave(key)
    assert (places.active, places.refused, places._held) == (0, 2, {})


async def test_a_place_is_given_back_once_however_its_stream_ends() -> None:
    left: list[str] = []

    async def parts() -> AsyncIterator[bytes]:
        yield b"a"

    whole = HeldStream(parts(), lambda: left.append("whole"))
    assert [part async for part in whole] == [b"a"]
    await whole.aclose()
    closed = HeldStream(parts(), lambda: left.append("closed"))
    await closed.aclose()
    unread = HeldStream(parts(), lambda: left.append("unread"))
    del unread
    assert left == ["whole", "closed", "unread"]
