"""Fixtures that every layer of tests may use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ostro.testing.cloud import TestCloud, open_cloud


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[TestCloud]:
    """A bootstrapped cloud on SQLite, in this process."""
    async with open_cloud(tmp_path) as test_cloud:
        yield test_cloud
