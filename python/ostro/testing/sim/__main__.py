"""``python -m ostro.testing.sim --seed N [--hosts N] [--steps N] [--minutes N]``: one run, or run after run for so many minutes.

Exits with 1 at the first violation, having said what was violated, what happened last, and how to see it again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
import structlog

from ostro.testing.sim.simulation import Outcome, SimConfig, simulate

IN_MEMORY = Path("/dev/shm")
MOVES = (
    "live-migration completed",
    "migration confirmed",
    "resize confirmed",
    "resize reverted",
    "evacuation completed",
)
SHOWN_KINDS = (
    "answer",
    "broken",
    "repeated",
    "domain",
    "control down",
    "agent down",
    "crash",
    "power lost",
    "cut",
    *MOVES,
)


def run_once(config: SimConfig) -> tuple[Outcome, float]:
    """One run in a directory of its own; what it did, and how many seconds it took."""
    root = Path(tempfile.mkdtemp(prefix="ostro-sim-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    started_s = time.perf_counter()
    try:
        return simulate(config, root), time.perf_counter() - started_s
    finally:
        shutil.rmtree(root, ignore_errors=True)


def describe(config: SimConfig, outcome: Outcome, took_s: float) -> str:
    """A run in one line."""
    counts = ", ".join(f"{outcome.counts[kind]} {kind}" for kind in SHOWN_KINDS if kind in outcome.counts)
    return (
        f"seed {config.seed}: {config.hosts} hosts, {config.steps} steps, {outcome.virtual_s:.0f} s in {took_s:.1f} s,"
        f" trace {outcome.digest}; {counts}"
    )


def explain(config: SimConfig, outcome: Outcome) -> str:
    """What went wrong, and how to see it again."""
    lines = ["", "the last that happened:", *(f"  {line}" for line in outcome.recent), "", "VIOLATED:"]
    lines += [f"  {complaint}" for complaint in outcome.complaints]
    lines += ["", f"replay: make sim SEED={config.seed} HOSTS={config.hosts} STEPS={config.steps}"]
    return "\n".join(lines)


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The first, where there are several runs.")
@click.option("--hosts", type=int, default=5, show_default=True)
@click.option("--steps", type=int, default=200, show_default=True, help="How many things tenants want.")
@click.option("--minutes", type=float, default=0.0, help="Go on with further seeds for so long.")
@click.option("--calm", is_flag=True, help="Without misfortunes.")
@click.option("--check-replies", is_flag=True, help="Hold every answer against its schema.")
@click.option("--logs", is_flag=True, help="Show what the control plane and the agents log.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write every event to this file.")
def main(
    seed: int, hosts: int, steps: int, minutes: float, calm: bool, check_replies: bool, logs: bool, trace: Path | None
) -> None:
    """Simulate a cloud."""
    if not logs:
        structlog.configure(processors=[_drop])
    until_s = time.perf_counter() + minutes * 60
    while True:
        config = SimConfig(seed, hosts, steps, not calm, check_replies, trace)
        outcome, took_s = run_once(config)
        click.echo(describe(config, outcome, took_s))
        if outcome.complaints:
            click.echo(explain(config, outcome))
            sys.exit(1)
        if time.perf_counter() >= until_s:
            return
        seed += 1


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


main()
