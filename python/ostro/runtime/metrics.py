"""What a process shows of itself to Prometheus.

A `Metrics` belongs to a `World`. Loops, pools and queues cost nothing until somebody looks: they are asked for their figures when the page is
made. Only requests and retries are counted as they happen. Labels are names in the program (a route's template, a loop, a pool), never
anything that a client chose, so there are only so many series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import trio
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class LoopFigures:
    """A background loop now. ``idle_s`` is how long ago its last run ended; None before the first."""

    pending: int
    oldest_age_s: float
    errors: int
    runs: int
    idle_s: float | None


class Loop:
    """A loop that notes its own runs. Only for the trio thread. What a run that failed was about is pending until one succeeds."""

    __slots__ = ("_began_s", "_due_s", "_ended_s", "errors", "oldest_age_s", "pending", "runs")

    def __init__(self) -> None:
        self.errors = 0
        self.runs = 0
        self.pending: Callable[[], int] | None = None
        self.oldest_age_s: Callable[[], float] | None = None
        self._began_s: float | None = None
        self._ended_s: float | None = None
        self._due_s: float | None = None

    def due(self) -> None:
        """There is something to do from now on, whenever the next run is."""
        if self._due_s is None:
            self._due_s = trio.current_time()

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run. An error is counted and goes on."""
        self._began_s = trio.current_time()
        due_s, self._due_s = self._due_s, None
        try:
            yield
        except Exception:
            self.errors += 1
            self._due_s = self._began_s if due_s is None else due_s
            raise
        finally:
            self.runs += 1
            self._ended_s = trio.current_time()
            self._began_s = None

    def figures(self) -> LoopFigures:
        """Its figures: what is pending is what is due or under way, unless the loop knows better."""
        now_s = trio.current_time()
        since_s = [at_s for at_s in (self._began_s, self._due_s) if at_s is not None]
        busy_s = now_s - min(since_s, default=now_s)
        pending = self.pending() if self.pending is not None else int(bool(since_s))
        idle_s = None if self._ended_s is None else now_s - self._ended_s
        oldest_s = self.oldest_age_s() if self.oldest_age_s is not None else busy_s
        return LoopFigures(pending, oldest_s, self.errors, self.runs, idle_s)


Gauge = Callable[[], float]


class Metrics(Collector):
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._loops: dict[str, Callable[[], LoopFigures]] = {}
        self._gauges: dict[str, tuple[str, dict[str, Gauge]]] = {}
        self._totals: dict[str, tuple[str, dict[str, Gauge]]] = {}
        self.requests = Histogram(
            "ostro_http_request_seconds",
            "Requests, by the route's template",
            ("service", "method", "route"),
            buckets=REQUEST_BUCKETS_S,
            registry=self._registry,
        )
        self.answers = Counter(
            "ostro_http_answers", "Answers by status", ("service", "status"), registry=self._registry
        )
        self.retries = Counter(
            "ostro_database_retries", "Transactions run again because others were in their way", registry=self._registry
        )
        self._registry.register(self)

    def loop(self, name: str) -> Loop:
        """A loop to be noted under this name; a later one of the same name takes its place."""
        loop = Loop()
        self._loops[name] = loop.figures
        return loop

    def watch_loop(self, name: str, figures: Callable[[], LoopFigures]) -> None:
        """Ask a loop for its figures."""
        self._loops[name] = figures

    def watch(self, name: str, help_: str, label: str, value: Gauge) -> None:
        """A figure that goes up and down, under a label."""
        self._gauges.setdefault(name, (help_, {}))[1][label] = value

    def watch_total(self, name: str, help_: str, label: str, value: Gauge) -> None:
        """A figure that only grows, under a label."""
        self._totals.setdefault(name, (help_, {}))[1][label] = value

    def set(self, name: str, help_: str, values: Mapping[str, float]) -> None:
        """Show these figures until they are set again."""
        self._gauges[name] = (help_, {label: partial(float, value) for label, value in values.items()})

    def collect(self) -> Iterator[Metric]:
        """Prometheus asks."""
        yield from self._collect_loops()
        for name, (help_, values) in self._gauges.items():
            gauge = GaugeMetricFamily(name, help_, labels=["of"])
            for label, value in values.items():
                gauge.add_metric([label], value())
            yield gauge
        for name, (help_, values) in self._totals.items():
            total = CounterMetricFamily(name, help_, labels=["of"])
            for label, value in values.items():
                total.add_metric([label], value())
            yield total

    def _collect_loops(self) -> Iterator[Metric]:
        pending = GaugeMetricFamily("ostro_loop_pending", "Objects that a loop has to look at", labels=["loop"])
        oldest = GaugeMetricFamily("ostro_loop_oldest_seconds", "Age of the oldest of them", labels=["loop"])
        idle = GaugeMetricFamily("ostro_loop_idle_seconds", "Since its last run has ended", labels=["loop"])
        errors = CounterMetricFamily("ostro_loop_errors", "Runs that failed", labels=["loop"])
        runs = CounterMetricFamily("ostro_loop_runs", "Runs", labels=["loop"])
        for name, figures in self._loops.items():
            now = figures()
            pending.add_metric([name], now.pending)
            oldest.add_metric([name], now.oldest_age_s)
            errors.add_metric([name], now.errors)
            runs.add_metric([name], now.runs)
            if now.idle_s is not None:
                idle.add_metric([name], now.idle_s)
        yield from (pending, oldest, idle, errors, runs)

    def page(self) -> bytes:
        """All of it, in Prometheus's text form."""
        return generate_latest(self._registry)
