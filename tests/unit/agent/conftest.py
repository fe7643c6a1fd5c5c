"""What tests of the agent share: virtual time, and a host whose parts are fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from ostro.testing.host import SimulatedHost, open_host


@pytest.fixture
def clock() -> MockClock:
    """Virtual time. A test must ask for it by itself, or pytest-trio doesn't use it."""
    return MockClock(autojump_threshold=0)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[SimulatedHost]:
    async with open_host(tmp_path) as simulated:
        yield simulated
