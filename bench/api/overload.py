"""What is answered well under 4 and 16 times as many clients as bring the most (the knee), beside what those bring, in turns: by reads and by writes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.api.client import wrk
from bench.api.cloud import cpu_s
from bench.api.measures import Lab, Result

WIDTHS = (2, 4, 8, 16, 32)
KNEE_SHARE = 0.95
"""The knee is the fewest clients that bring so much of the most that any number brings."""
TIMES = (4, 16)
TURNS = 5
"""Neighbours come and go: each load has as many short turns, and the median counts."""
TURN_S = 2


@dataclass(frozen=True)
class Turn:
    """One load: what was answered well in a second, how soon, and what it cost the server."""

    rate: float
    p99_ms: float
    cpu_us: float


def measure_overload(lab: Lab, pids: Sequence[int], end: str = "") -> Iterator[Result]:
    """``pids`` are the processes that answer; ``end`` is put behind each name."""
    port = {"port": {"network_id": lab.network_id}}
    loads: dict[str, dict[str, Any]] = {
        "get": {"path": f"/v2.0/networks/{lab.network_id}"},
        "create": {"path": "/v2.0/ports", "method": "POST", "body": port},
    }
    for name, load in loads.items():
        rates = {width: _load(lab, pids, load, width).rate for width in WIDTHS}
        knee = min(width for width, rate in rates.items() if rate >= KNEE_SHARE * max(rates.values()))
        turns: dict[int, list[Turn]] = {times: [] for times in (1, *TIMES)}
        for _ in range(TURNS):
            for times, seen in turns.items():
                seen.append(_load(lab, pids, load, times * knee))
        bases = [statistics.median(turn.rate for turn in turns[1]), statistics.median(turn.cpu_us for turn in turns[1])]
        for times in TIMES:
            seen, which = turns[times], f"x{times}.c{times * knee}{end}"
            yield Result(f"overload.{name}.{which}", statistics.median(turn.rate for turn in seen), "/s", bases[0])
            yield Result(
                f"overload.{name}.cpu.{which}",
                statistics.median(turn.cpu_us for turn in seen),
                "us of a core",
                bases[1],
            )
            yield Result(f"overload.{name}.p99.{which}", statistics.median(turn.p99_ms for turn in seen), "ms")


def _load(lab: Lab, pids: Sequence[int], load: dict[str, Any], width: int) -> Turn:
    before_s = cpu_s(list(pids))
    done = wrk(lab.network, connections=width, seconds=TURN_S, sheds=True, **load)
    return Turn(done.rate, done.p99_ms, (cpu_s(list(pids)) - before_s) / max(done.rate * TURN_S, 1) * 1e6)
