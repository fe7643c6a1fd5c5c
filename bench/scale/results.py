"""A result of the scale measurements: a name of its own, and the peer of the thing it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from bench.api.peers import PEERS


@dataclass(frozen=True)
class Scaled:
    """One line. ``like`` names the measurement of `bench.api` whose peer stands beside it; ``limit`` is what was promised."""

    name: str
    value: float
    unit: str
    like: str = ""
    limit: float | None = None

    def line(self) -> dict[str, Any]:
        """The line as JSON has it; a ratio to a peer is how many times better."""
        out: dict[str, Any] = {"name": self.name, "value": round(self.value, 3), "unit": self.unit}
        if self.limit is not None:
            out["limit"] = self.limit
        peer = PEERS.get(self.like)
        if peer is not None and self.value:
            ratio = self.value / peer if self.unit.endswith("/s") else peer / self.value
            out |= {"peer": peer, "ratio": round(ratio, 2)}
        return out


class Line(Protocol):
    """What can be shown."""

    def line(self) -> dict[str, Any]:
        """The line as JSON has it."""
        ...


def show(result: Line) -> None:
    """Print it as it comes."""
    print(json.dumps(result.line()), flush=True)
