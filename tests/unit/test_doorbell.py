"""Doorbells: no ring is lost, rings carry nothing."""

from __future__ import annotations

import trio
import trio.testing

from ostro.runtime.doorbell import Doorbell


async def test_a_ring_before_the_wait_is_kept_once(autojump_clock: trio.testing.MockClock) -> None:
    doorbell = Doorbell()
    with doorbell.listen("a", "b") as bell:
        doorbell.ring(["a"])
        doorbell.ring(["b", "a"])
        assert await bell.wait(10)
        assert not await bell.wait(10)
    assert trio.current_time() >= 10


async def test_only_the_topics_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    doorbell = Doorbell()
    with doorbell.listen("a") as bell:
        doorbell.ring(["b"])
        assert not await bell.wait(1)
        doorbell.ring_all()
        assert await bell.wait(1)


async def test_callbacks_run_before_ring_returns() -> None:
    doorbell, seen = Doorbell(), list[str]()
    doorbell.subscribe("a", lambda: seen.append("a"))
    doorbell.ring(["a", "b"])
    assert seen == ["a"]
    doorbell.ring_all()
    assert seen == ["a", "a"]


async def test_leaving_gives_the_bell_back() -> None:
    doorbell = Doorbell()
    with doorbell.listen("a"), doorbell.listen("a") as second:
        doorbell.ring(["a"])
        assert await second.wait(1)
    doorbell.ring(["a"])
    with doorbell.listen("a") as bell:
        assert not await bell.wait(0)
