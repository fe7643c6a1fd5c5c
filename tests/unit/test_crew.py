"""A crew: few workers for many short calls, and more only while all of them are at long ones."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest
import trio
import trio.testing

from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.crew import Crew

PATIENCE_S = 60.0
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name")


class Watch:
    """How many calls run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


async def test_many_calls_have_few_workers() -> None:
    crew, watch = Crew("short", few=2, most=16, slow_s=PATIENCE_S), Watch()
    threads: set[int] = set()

    def work() -> None:
        with watch:
            threads.add(threading.get_ident())

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(crew.call, work, "work", PATIENCE_S)
    assert watch.calls == 200 and watch.most <= 2
    assert crew.waiting == 0


async def test_they_work_at_the_same_time() -> None:
    crew, both = Crew("short", few=2, most=2, slow_s=PATIENCE_S), threading.Barrier(2)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(crew.call, lambda: both.wait(PATIENCE_S), "wait", PATIENCE_S)


async def test_calls_that_never_end_hold_nobody_up_until_there_are_too_many() -> None:
    crew, release, held = Crew("mixed", few=1, most=3, slow_s=0.005), threading.Event(), Watch()

    def hold() -> None:
        with held:
            release.wait(PATIENCE_S)

    async def hold_until(number: int) -> None:
        nursery.start_soon(crew.call, hold, "hold", PATIENCE_S)
        while held.now < number:
            await trio.lowlevel.checkpoint()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for number in (1, 2):
                await hold_until(number)
            for number in range(20):
                assert await crew.call(lambda number=number: number, "count", PATIENCE_S) == number  # type: ignore[misc]
            await hold_until(3)
            with pytest.raises(Unavailable, match="A call to mixed did not finish"):
                await crew.call(int, "int", 0.05)
            assert crew.busy == 3 and crew.waiting == 0, "nobody waits for it any more"
            release.set()


async def test_what_nobody_waits_for_is_not_begun() -> None:
    crew, release, begun = Crew("one", few=1, most=1, slow_s=PATIENCE_S), threading.Event(), Watch()

    def work() -> None:
        with begun:
            release.wait(PATIENCE_S)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.call, work, "work", PATIENCE_S)
            while not begun.calls:
                await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as givers_up:
                givers_up.start_soon(crew.call, work, "work", PATIENCE_S)
                await trio.testing.wait_all_tasks_blocked()
                assert crew.waiting == 1
                givers_up.cancel_scope.cancel()
            assert crew.waiting == 0
            release.set()
            await crew.call(int, "int", PATIENCE_S)
    assert begun.calls == 1


async def test_each_has_its_own_context_and_its_own_error() -> None:
    crew = Crew("own", few=1, most=1, slow_s=PATIENCE_S)
    seen: dict[str, str] = {}

    def work() -> str:
        if NAME.get() == "b":
            raise Invalid("not b")
        return NAME.get()

    async def ask(name: str) -> None:
        NAME.set(name)
        try:
            seen[name] = await crew.call(work, "work", PATIENCE_S)
        except Invalid as error:
            seen[name] = error.message

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(ask, name)
    assert seen == {"a": "a", "b": "not b", "c": "c"}


def test_it_outlives_a_run_that_ends_while_it_works() -> None:
    crew, release, ended = Crew("twice", few=1, most=1, slow_s=PATIENCE_S), threading.Event(), threading.Event()

    def work() -> None:
        release.wait(PATIENCE_S)
        ended.set()

    async def give_up() -> None:
        with trio.move_on_after(0.01):
            await crew.call(work, "work", PATIENCE_S)

    trio.run(give_up)
    release.set()
    assert ended.wait(PATIENCE_S)
    until_s = time.monotonic() + PATIENCE_S
    while crew.busy and time.monotonic() < until_s:
        time.sleep(0.001)
    assert trio.run(crew.call, lambda: 1, "one", PATIENCE_S) == 1
