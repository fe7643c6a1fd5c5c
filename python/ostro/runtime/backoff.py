"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential with full jitter (Brooker, "Exponential backoff and jitter", 2015), between two bounds in seconds."""

    first_s: float = 0.5
    most_s: float = 60.0

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after ``failures`` in a row (1 or more): never less than half of the step's length."""
        step_s = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 32))
        return step_s * rng.uniform(0.5, 1.0)
