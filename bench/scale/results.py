"""A result of the scale measurements: a name of its own, and the peer of the thing it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from bench.api.peers import PEERS, ratio_to_peer, with_ratio


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
        return out if peer is None else with_ratio(out, {"peer": peer}, ratio_to_peer(self.value, peer, self.unit))


class Line(Protocol):
    """What can be shown."""

    def line(self) -> dict[str, Any]:
        """The line as JSON has it."""
        ...


def show(result: Line) -> None:
    """Print it as it comes."""
    print(json.dumps(result.line()), flush=True)
