"""Every saga that the engine can run has a life in the crash tests."""

from __future__ import annotations

from pathlib import Path

from ostro.services.sagas import make_sagas
from ostro.testing.cloud import TestCloud


async def test_every_saga_is_crashed(cloud: TestCloud) -> None:
    """What they expect to pass names each, so one that is added without a crash test is seen here."""
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*_crashes.py"))
    kinds = {saga.kind for saga in make_sagas(cloud.cloud)}
    assert len(kinds) > 10
    assert {kind for kind in kinds if f"saga.{kind}" not in texts} == set()
