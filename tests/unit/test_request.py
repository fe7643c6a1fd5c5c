"""Reading a body part by part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
import trio.testing

from ostro.http.exchange import Incoming
from ostro.http.request import WINDOW_S, SlowBody, read_parts


class Raw:
    """A request of which only the body is looked at."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self.body = body


async def test_a_part_that_came_as_its_time_ran_out_is_the_last_one(mock_clock: trio.testing.MockClock) -> None:
    async def body() -> AsyncIterator[bytes]:
        # This thread was held up for longer than the client had: the part is there all the same.
        mock_clock.jump(WINDOW_S + 1)
        yield b"x"
        await trio.sleep_forever()

    parts = read_parts(cast(Incoming, Raw(body())))
    assert await anext(parts) == b"x"
    with pytest.raises(SlowBody):
        await anext(parts)
