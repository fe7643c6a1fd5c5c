"""Strands: plain functions that wait on the trio thread and let the loop go on meanwhile."""

from __future__ import annotations

import contextvars
import threading
from functools import partial

import pytest
import trio
import trio.testing

from ostro.model.errors import Invalid
from ostro.runtime.strands import in_strand, run_strand, wait

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name")


async def test_they_take_turns_on_the_trio_thread_where_they_wait() -> None:
    seen: list[tuple[str, int]] = []
    threads = set()

    def count(name: str) -> str:
        for number in range(3):
            seen.append((name, number))
            threads.add(threading.get_ident())
            wait(trio.testing.wait_all_tasks_blocked)
        return name

    results = []

    async def run(name: str) -> None:
        results.append(await run_strand(partial(count, name)))

    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(run, name)
    assert sorted(results) == ["a", "b"]
    assert [number for _name, number in seen] == [0, 0, 1, 1, 2, 2]
    assert threads == {threading.get_ident()}


async def test_what_it_raises_comes_through_and_so_does_what_it_waited_for() -> None:
    def refuse() -> None:
        raise Invalid("no")

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise Invalid("late")

    def wait_twice() -> str:
        with pytest.raises(Invalid, match="late"):
            wait(fail)
        wait(trio.lowlevel.checkpoint)
        return "after"

    with pytest.raises(Invalid, match="no"):
        await run_strand(refuse)
    assert await run_strand(wait_twice) == "after"


async def test_it_is_cancelled_where_it_waits_and_tidies_up() -> None:
    steps: list[str] = []

    def hang() -> None:
        steps.append("begun")
        try:
            wait(trio.sleep_forever)
        finally:
            steps.append("tidied")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_strand, hang)
        await trio.testing.wait_all_tasks_blocked()
        assert steps == ["begun"]
        nursery.cancel_scope.cancel()
    assert steps == ["begun", "tidied"]


async def test_each_has_the_context_of_its_task_and_changes_nobodys() -> None:
    seen = {}

    def look(name: str) -> None:
        before = NAME.get()
        NAME.set("its own")
        wait(trio.lowlevel.checkpoint)
        seen[name] = (before, NAME.get())

    async def run(name: str) -> None:
        NAME.set(name)
        await run_strand(partial(look, name))
        assert NAME.get() == name

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(run, name)
    assert seen == {name: (name, "its own") for name in "abc"}


async def test_it_knows_where_it_is() -> None:
    assert not in_strand()
    assert await run_strand(in_strand)
    assert not await trio.to_thread.run_sync(in_strand)
    with pytest.raises(AssertionError):
        wait(trio.lowlevel.checkpoint)
