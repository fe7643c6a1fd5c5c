"""What is built at the start is left alone by the collector, and what comes after is still collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from ostro.runtime.allocator import keep_what_is_built


class Knot:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_later_cycles_are_collected_and_what_was_built_is_not_looked_at() -> None:
    dead = weakref.ref(Knot())
    built = Knot()
    keep_what_is_built()
    assert dead() is None
    assert gc.is_tracked(built)
    assert all(item is not built for item in gc.get_objects())
    later = weakref.ref(Knot())
    gc.collect()
    assert later() is None
