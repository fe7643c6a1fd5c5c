"""What is answered well under 4 and 16 times as many clients as bring the most (the knee), beside what those bring, in turns: by reads and by writes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.api.measures import Lab, Result
from bench.api.steady import Pids, Steady, steady

WIDTHS = (2, 4, 8, 16, 32)
KNEE_SHARE = 0.95
"""The knee is the fewest clients that bring so much of the most that any number brings."""
KNEE_TURNS = 3
TIMES = (4, 16)
TURNS = 5
"""Neighbours come and go: each load has as many short turns, and the median counts."""
TURN_S = 2.0
SETTLE_S = 0.3
"""After each, for what its clients have left behind."""
LOADS = ("get", "create")
WARM_S = 0.7
WARM_EACH_S = 0.002
"""Until every client is there and waits: a handshake takes the generator, the server and their two cores some 2 ms."""


def measure_overload(
    lab: Lab, pids: Sequence[int], end: str = "", loads: Sequence[str] = LOADS, database: Pids | None = None
) -> Iterator[Result]:
    """``pids`` are the processes that answer, ``database`` those that they ask; ``end`` is put behind each name."""
    port = {"port": {"network_id": lab.network_id}}
    requests: dict[str, dict[str, Any]] = {
        "get": {"path": f"/v2.0/networks/{lab.network_id}"},
        "create": {"path": "/v2.0/ports", "method": "POST", "body": port},
    }
    groups: dict[str, Pids] = {"cpu": lambda: list(pids)}
    if database is not None:
        groups["database"] = database

    def load(request: dict[str, Any], width: int, seconds: float) -> Steady:
        done = steady(
            lab.network,
            groups=groups,
            connections=width,
            warm_s=WARM_S + WARM_EACH_S * width,
            seconds=seconds,
            **request,
        )
        time.sleep(SETTLE_S)
        return done

    for name in loads:
        request = requests[name]
        found: dict[int, list[float]] = {width: [] for width in WIDTHS}
        for _ in range(KNEE_TURNS):
            for width, seen_rates in found.items():
                seen_rates.append(load(request, width, 1.0).rate)
        rates = {width: statistics.median(seen_rates) for width, seen_rates in found.items()}
        knee = min(width for width, rate in rates.items() if rate >= KNEE_SHARE * max(rates.values()))
        turns: dict[int, list[Steady]] = {times: [] for times in (1, *TIMES)}
        for _ in range(TURNS):
            for times, seen in turns.items():
                seen.append(load(request, times * knee, TURN_S))
        for times in TIMES:
            yield from _compare(turns[1], turns[times], f"overload.{name}", f"x{times}.c{times * knee}{end}")


def _compare(base: list[Steady], seen: list[Steady], name: str, which: str) -> Iterator[Result]:
    """What a load brings beside what the knee does, and what a good answer costs each."""

    def median(turns: list[Steady], of: Callable[[Steady], float]) -> float:
        return statistics.median(of(turn) for turn in turns)

    yield Result(f"{name}.{which}", median(seen, lambda t: t.rate), "/s", median(base, lambda t: t.rate))
    for group in seen[0].cpu_us:
        costs = [median(turns, lambda t: t.cpu_us[group]) for turns in (seen, base)]  # noqa: B023 - called at once
        yield Result(f"{name}.{group}.{which}", costs[0], "us of a core", costs[1])
    yield Result(f"{name}.refused.{which}", median(seen, lambda t: t.refused), "/s")
    yield Result(f"{name}.p99.{which}", median(seen, lambda t: t.p99_ms), "ms")
