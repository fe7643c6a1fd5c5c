"""One figure and how it is told."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Figure:
    """A value, the floor that was measured in turn with it, and what was promised in this unit, if anything."""

    name: str
    value: float
    unit: str
    floor: float
    budget: float | None = None

    def line(self) -> str:
        """One JSON object."""
        return json.dumps(
            {
                "name": self.name,
                "value": float(f"{self.value:.4g}"),
                "unit": self.unit,
                "floor": float(f"{self.floor:.4g}"),
                "ratio": float(f"{self.value / self.floor:.4g}"),
                "budget": self.budget,
            }
        )


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def in_turn(rounds: int, value: Callable[[], float], floor: Callable[[], float]) -> tuple[float, float]:
    """The smallest of each, measured in turn: others only ever make it more."""
    pairs = [(value(), floor()) for _ in range(rounds)]
    return min(value for value, _ in pairs), min(floor for _, floor in pairs)


def in_rust(*words: str) -> float:
    """The seconds that Rust takes over the same, by ``ostro-bench-floor``."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = [str(target / "release" / "ostro-bench-floor"), *words]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e9
