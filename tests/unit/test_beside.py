"""Tasks beside a block."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from ostro.model.errors import Conflict, Unavailable
from ostro.runtime.beside import beside


async def test_what_the_block_raises_comes_out_bare() -> None:
    with pytest.raises(Unavailable):
        async with beside(trio.sleep_forever):
            raise Unavailable("no")


async def test_a_task_that_fails_ends_the_block() -> None:
    async def fail() -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        async with beside(fail):
            await trio.sleep_forever()


async def test_tasks_end_with_the_block() -> None:
    ended = trio.Event()

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with beside(work):
        await trio.testing.wait_all_tasks_blocked()
    assert ended.is_set()


async def test_several_failures_come_out_together() -> None:
    async def fail() -> None:
        raise Conflict("no")

    with pytest.raises(ExceptionGroup) as raised:
        async with beside(fail, fail):
            await trio.sleep_forever()
    assert len(raised.value.exceptions) == 2
