"""Room for so many at once."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from ostro.runtime.room import Room


async def test_so_many_are_inside_and_the_others_come_in_order() -> None:
    room, leave = Room(2), {name: trio.Event() for name in "abcd"}
    came: list[str] = []

    async def visit(name: str) -> None:
        async with room:
            came.append(name)
            await leave[name].wait()

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(visit, name)
            await wait_all_tasks_blocked()
        assert came == ["a", "b"] and room.left == 0 and room.waiting == 2
        for number, name in enumerate("ba"):
            leave[name].set()
            await wait_all_tasks_blocked()
            assert came == list("abcd")[: 3 + number], "who waited longest has the place, and it was never free"
        assert room.left == room.waiting == 0
        leave["c"].set()
        leave["d"].set()
    assert room.left == 2


async def test_who_gives_up_in_line_takes_no_place() -> None:
    room = Room(1)
    async with room:
        with trio.move_on_after(0):
            async with room:
                raise AssertionError("there is none")
        assert room.waiting == 0 and room.left == 0
    assert room.left == 1


async def test_who_lets_others_begin_is_told_once_there_is_room_and_nobody_in_line() -> None:
    room, leave, told = Room(1), trio.Event(), list[int]()

    async def visit() -> None:
        async with room:
            await leave.wait()

    async with trio.open_nursery() as nursery, room:
        nursery.start_soon(visit)
        await wait_all_tasks_blocked()
        room.tell(lambda: told.append(room.left))
        nursery.start_soon(_later, leave, told)
    assert told == [1]
    async with room:
        pass
    assert told == [1], "once"


async def _later(leave: trio.Event, told: list[int]) -> None:
    await wait_all_tasks_blocked()
    assert told == [], "one was in line"
    leave.set()
