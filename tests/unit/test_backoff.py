"""Backoff: bounds, growth, and no overflow after any number of failures."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ostro.runtime.backoff import Backoff


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_delay_is_within_bounds(failures: int, seed: int) -> None:
    backoff = Backoff(first_s=0.5, most_s=60.0)
    step_s = min(60.0, 0.5 * 2.0 ** min(failures - 1, 32))
    delay_s = backoff.delay_s(failures, random.Random(seed))
    assert step_s / 2 <= delay_s <= step_s
