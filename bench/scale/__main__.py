"""``python -m bench.scale [statements] [rates] [overload] [large] [agents] [restart] [--engine sqlite|postgres] [--servers N] ...``; all of it without words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

from bench.api.overload import LOADS
from bench.scale.agents import measure_agents
from bench.scale.large import measure_large
from bench.scale.overload import measure_engine, measure_workers
from bench.scale.rates import measure_rates
from bench.scale.restart import measure_restart
from bench.scale.results import Line, show
from bench.scale.statements import measure_statements
from ostro.runtime.log import configure_logging

PARTS = ("statements", "rates", "overload", "large", "agents", "restart")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="Measure the cloud at scale: one JSON object a line.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument(
        "--engine", choices=("sqlite", "postgres"), help="statements, rates and overload on this one only"
    )
    parser.add_argument("--load", choices=LOADS, help="overload: of this kind only")
    parser.add_argument("--workers", action="store_true", help="overload: on several workers only")
    parser.add_argument("--kinds", action="store_true", help="statements: each kind of each step")
    parser.add_argument("--seconds", type=int, default=5, help="length of each load of reads")
    parser.add_argument("--servers", type=int, default=400, help="rates: servers and ports made at once")
    parser.add_argument("--hosts", type=int, default=10_000, help="large: hosts")
    parser.add_argument("--standing", type=int, default=100_000, help="large: servers on them")
    parser.add_argument("--agents", type=int, default=1000, help="agents that wait")
    parser.add_argument("--ports", type=int, default=500, help="restart: ports of the host")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    loads = [options.load] if options.load else list(LOADS)
    engines = [options.engine] if options.engine else ["sqlite", "postgres"]
    configure_logging("error")
    # The restart comes last, because it moves this process into a network namespace.
    measures: dict[str, list[Callable[[], Iterator[Line]]]] = {
        "statements": [partial(measure_statements, engine, kinds=options.kinds) for engine in engines],
        "rates": [partial(measure_rates, engine, options.seconds, options.servers) for engine in engines],
        "overload": [
            *([] if options.workers else [partial(measure_engine, engine, loads) for engine in engines]),
            *([] if options.engine else [partial(measure_workers, loads)]),
        ],
        "large": [lambda: measure_large(options.hosts, options.standing)],
        "agents": [lambda: measure_agents(options.agents)],
        "restart": [lambda: measure_restart(options.ports)],
    }
    for part in PARTS:
        if not options.parts or part in options.parts:
            for measure in measures[part]:
                for result in measure():
                    show(result)


main()
