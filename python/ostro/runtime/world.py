"""The seams between Ostro and the world: time, chance, threads and faults.

Built once in ``cli/`` (or by a test or a simulation) and passed down; nothing else reads a clock, draws a random number,
starts a thread or crashes on purpose.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ostro.runtime.faults import Faults, NoFaults
from ostro.runtime.metrics import Metrics
from ostro.runtime.threads import Threads, WorkerThreads


class Clock(Protocol):
    """Wall time for records. Waiting is always by trio's own clock."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000


class TrioClock:
    """Wall time that follows trio's clock from ``start_us``: what a simulation in virtual time uses."""

    def __init__(self, start_us: int = 1_700_000_000_000_000) -> None:
        self._start_us = start_us

    def now_us(self) -> int:
        return self._start_us + int(trio.current_time() * 1_000_000)


@dataclass(frozen=True)
class World:
    """What a component may ask of its surroundings."""

    clock: Clock = field(default_factory=SystemClock)
    random: random.Random = field(default_factory=random.SystemRandom)
    threads: Threads = field(default_factory=WorkerThreads)
    faults: Faults = field(default_factory=NoFaults)
    metrics: Metrics = field(default_factory=Metrics)

    def now_us(self) -> int:
        """Shorthand for ``clock.now_us()``."""
        return self.clock.now_us()

    def metrics_page(self) -> bytes:
        """What Prometheus reads, pools included."""
        pools, show = self.threads.pools.values(), self.metrics.set
        show("ostro_pool_busy", "Calls running in worker threads", {p.name: p.busy for p in pools})
        show("ostro_pool_waiting", "Calls waiting for one", {p.name: p.waiting for p in pools})
        show("ostro_pool_size", "Calls that may run at once", {p.name: p.limiter.total_tokens for p in pools})
        return self.metrics.page()
