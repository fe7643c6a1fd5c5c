"""Turns: how much one round of the loop begins, and whose is next."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ostro.http.turns import BUSY, Lines, Turns
from ostro.model.errors import TooManyRequests
from ostro.runtime.room import Room

ROUND = 4


class Rounds(trio.abc.Instrument):
    """Counts the rounds of the loop."""

    def __init__(self) -> None:
        self.count = 0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1


class Crowd:
    """Requests of several projects, and when each began."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.rounds = Rounds()
        self.began: list[tuple[str, int]] = []
        self.refused: list[str] = []

    async def ask(self, key: str) -> None:
        try:
            if not self.turns.begin():
                await self.turns.wait(key)
        except TooManyRequests as error:
            assert error.message == BUSY and error.retry_after_s == 1
            self.refused.append(key)
        else:
            self.began.append((key, self.rounds.count))

    async def ask_all(self, keys: str) -> None:
        """All at once, in this order within each project."""
        trio.lowlevel.add_instrument(self.rounds)
        try:
            async with trio.open_nursery() as nursery:
                for key in keys:
                    nursery.start_soon(self.ask, key)
        finally:
            trio.lowlevel.remove_instrument(self.rounds)


@pytest.fixture
async def turns() -> Turns:
    return Turns(waiting_most=1000, waiting_most_s=10, round_most=ROUND)


async def test_few_begin_in_a_round_and_all_in_the_end(turns: Turns) -> None:
    crowd = Crowd(turns)
    await crowd.ask_all("a" * 10 * ROUND)
    by_round = Counter(number for _, number in crowd.began)
    assert sum(by_round.values()) == 10 * ROUND and not crowd.refused
    assert max(by_round.values()) == ROUND
    assert max(by_round) - min(by_round) <= 2 * 10, "a round is not left out"
    assert turns.waiting == 0


async def test_who_is_alone_waits_for_one_round_in_so_many(turns: Turns) -> None:
    passed = []
    for _ in range(3 * ROUND):
        if not (begins := turns.begin()):
            await turns.wait("a")
        passed.append(begins)
    assert passed.count(False) == 2


async def test_projects_have_their_turn_however_many_ask_for_one(turns: Turns) -> None:
    while turns.begin():
        pass
    crowd = Crowd(turns)
    async with trio.open_nursery() as nursery:
        for key in "aaaaaaaaaaaaaaaaaaaabbbc":
            nursery.start_soon(crowd.ask, key)
    order = "".join(key for key, _ in crowd.began)
    assert set(order[:ROUND]) == {"a", "b", "c"}, order
    assert order[: 2 * ROUND].count("b") == 3 and set(order[2 * ROUND :]) == {"a"}, order


async def test_others_come_in_between(turns: Turns) -> None:
    """Who takes no turns, as hosts and the process's own loops, runs once in every round."""
    crowd = Crowd(turns)
    between: list[int] = []

    async def own_loop() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            between.append(len(crowd.began))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(own_loop)
        await crowd.ask_all("a" * 10 * ROUND)
        nursery.cancel_scope.cancel()
    steps = [after - before for before, after in itertools.pairwise(between)]
    assert max(steps) <= 2 * ROUND, steps


async def test_too_many_are_refused_the_newest_of_the_longest_line() -> None:
    turns = Turns(waiting_most=2, waiting_most_s=10, round_most=1)
    crowd = Crowd(turns)
    await crowd.ask_all("aaaab")
    assert crowd.refused == ["a", "a"] and turns.refused == 2
    assert sorted(key for key, _ in crowd.began) == ["a", "a", "b"]
    assert turns.waiting == 0


async def test_who_has_waited_too_long_is_refused_when_its_turn_comes(autojump_clock: MockClock) -> None:
    turns = Turns(waiting_most=10, waiting_most_s=10, round_most=1)
    began, refused = [], []

    async def ask(number: int) -> None:
        at_once = turns.begin()
        try:
            if not at_once:
                await turns.wait("a")
        except TooManyRequests:
            refused.append(number)
            return
        began.append(number)
        if not at_once:
            autojump_clock.jump(11)  # It keeps the processor for as long.

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(ask, number)
    assert len(began) <= 3 and len(began) + len(refused) == 8, (
        "the first, the one that took so long, and who came with it"
    )


async def test_who_gives_up_is_left_out(turns: Turns) -> None:
    while turns.begin():
        pass
    crowd = Crowd(turns)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.ask, "a")
        nursery.cancel_scope.cancel()
    assert turns.waiting == 0 and not crowd.began
    await crowd.ask_all("ab")
    assert sorted(key for key, _ in crowd.began) == ["a", "b"]


def test_lines() -> None:
    lines: Lines[int] = Lines()
    assert lines.displace("a") is None
    for number, key in enumerate("aaab"):
        lines.add(key, number)
    assert lines.displace("b") == 2, "the newest of the longest"
    assert lines.displace("b") is None, "theirs would be as long"
    lines.remove("a", 0)
    lines.remove("a", 0)
    lines.remove("z", 0)
    assert [lines.next() for _ in range(len(lines))] == [1, 3]
    assert not lines


async def test_no_more_begin_than_there_is_room_for_what_they_need() -> None:
    """What has begun doesn't wait in a line behind others that have begun; and nobody spins meanwhile."""
    room, rounds = Room(2), Rounds()
    turns = Turns(waiting_most=1000, waiting_most_s=10, round_most=ROUND, room=room)
    most_in_line, answered, leave = 0, 0, trio.Event()

    async def ask() -> None:
        nonlocal most_in_line, answered
        if not turns.begin():
            await turns.wait("a")
        async with room:
            most_in_line = max(most_in_line, room.waiting)
            await leave.wait()
        answered += 1

    trio.lowlevel.add_instrument(rounds)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        for _ in range(20):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        before = rounds.count
        await wait_all_tasks_blocked(0.01)
        assert turns.waiting == 20 and rounds.count - before <= 3
        leave.set()
    trio.lowlevel.remove_instrument(rounds)
    assert answered == 22 and turns.waiting == 0 and room.left == 2
    assert most_in_line <= 2


async def test_nobody_waits_for_room_longer_than_for_a_turn(autojump_clock: MockClock) -> None:
    """The database may be silent; whoever waits for it without having begun is told to come again."""
    room = Room(1)
    turns = Turns(waiting_most=10, waiting_most_s=5, round_most=ROUND, room=room)
    began_s = trio.current_time()
    async with room:
        assert not turns.begin()
        with pytest.raises(TooManyRequests) as refused:
            await turns.wait("a")
    assert refused.value.retry_after_s and trio.current_time() - began_s == 5
    assert turns.waiting == 0 and turns.refused == 1
    await trio.testing.wait_all_tasks_blocked()
    assert turns.begin(), "who gave up has left nothing behind"
