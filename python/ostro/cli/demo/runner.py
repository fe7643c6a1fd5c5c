"""Runs the ``openstack`` client and keeps the table of steps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
import trio
from rich.console import Console
from rich.table import Table

from ostro.model.errors import OstroError

T = TypeVar("T")

CLIENT_DEADLINE_S = 120.0


class StepFailed(OstroError):
    """A step did not show what it must."""


@dataclass
class Row:
    """One line of the table."""

    name: str
    result: str = ""
    seconds: float = 0.0
    passed: bool = False


@dataclass
class Runner:
    """The client's environment, and what happened so far. ``servers`` and ``ports`` are the ids of all that there were."""

    clouds_yaml: Path
    rows: list[Row] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Row]:
        """Time a step and say how it went, as it goes. What it shows is put into ``row.result``."""
        row = Row(name)
        self.rows.append(row)
        click.echo(f"  {name} ... ", nl=False)
        started_s = time.monotonic()
        try:
            yield row
            row.passed = True
        except BaseException as error:
            row.result = getattr(error, "message", "") or repr(error)
            raise
        finally:
            row.seconds = time.monotonic() - started_s
            click.echo(f"{'ok' if row.passed else 'FAILED'} ({row.seconds:.1f} s) {row.result}")

    async def openstack(self, *words: str) -> str:
        """Run ``openstack`` with these words; what it prints. Raises StepFailed when it fails."""
        command = [str(Path(sys.executable).parent / "openstack"), *words]
        environment = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(self.clouds_yaml), "OS_CLOUD": "ostro"}
        with trio.move_on_after(CLIENT_DEADLINE_S):
            done = await trio.run_process(
                command, env=environment, capture_stdout=True, capture_stderr=True, check=False, stdin=b""
            )
            if done.returncode:
                raise StepFailed(f"openstack {' '.join(words)}: {done.stderr.decode().strip()[-600:]}")
            return done.stdout.decode()
        raise StepFailed(f"openstack {' '.join(words)}: no end after {CLIENT_DEADLINE_S:g} s")

    async def show(self, *words: str) -> Any:
        """The same with JSON output, parsed."""
        return orjson.loads(await self.openstack(*words, "-f", "json"))

    async def show_together(self, *commands: Sequence[str]) -> list[Any]:
        """Several commands side by side with JSON output, parsed."""
        return [orjson.loads(text) for text in await self.together(*([*words, "-f", "json"] for words in commands))]

    async def together(self, *commands: Sequence[str]) -> list[str]:
        """Several commands side by side, two at a time: starting the client is the costly part."""
        results = [""] * len(commands)
        failures: list[StepFailed] = []
        slots = trio.Semaphore(2)

        async def run(index: int, words: Sequence[str]) -> None:
            async with slots:
                try:
                    results[index] = await self.openstack(*words)
                except StepFailed as failure:
                    failures.append(failure)

        async with trio.open_nursery() as nursery:
            for index, words in enumerate(commands):
                nursery.start_soon(run, index, words)
        if failures:
            raise failures[0]
        return results

    async def console(self, server: str) -> list[str]:
        """The lines of a server's console."""
        return (await self.openstack("console", "log", "show", server)).splitlines()

    async def await_console(
        self, server: str, wanted: Callable[[list[str]], str | None], what: str, timeout_s: float = 90.0
    ) -> str:
        """Read the console until ``wanted`` finds its line in it; that line."""
        lines: list[str] = []
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            lines = await self.console(server)
            found = wanted(lines)
            if found is not None:
                return found
            await trio.sleep(0.5)
        tail = "\n    ".join(lines[-15:])
        raise StepFailed(f"{server}'s console did not show {what} in {timeout_s:g} s; its last lines:\n    {tail}")

    async def await_status(self, noun: str, name: str, status: str, timeout_s: float = 120.0) -> None:
        """Wait until ``openstack <noun> show`` has the status."""
        seen = ""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            shown = await self.show(*noun.split(), "show", name, "-c", "status")
            seen = shown["status"]
            if seen.upper() == status.upper():
                return
            if seen.upper() == "ERROR":
                break
            await trio.sleep(0.3)
        shown = await self.show(*noun.split(), "show", name)
        raise StepFailed(f"{noun} {name} is {seen}, not {status}: {shown.get('fault', '')}")

    async def await_host(self, timeout_s: float = 120.0) -> None:
        """Wait until there is a host for servers: the first has to find out what it can do, and the API serves before that."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if orjson.loads(await self.openstack("hypervisor", "list", "-f", "json")):
                return
            await trio.sleep(0.3)
        raise StepFailed(f"no host has come in {timeout_s:g} s")

    async def await_servers(self, names: Sequence[str], timeout_s: float = 120.0) -> None:
        """Wait until these servers are ACTIVE, and remember the ids of servers and ports. They must be all that there are."""
        statuses: dict[str, str] = {}
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            servers, ports = await self.show_together(["server", "list"], ["port", "list"])
            statuses = {row["Name"]: row["Status"] for row in servers}
            if statuses == dict.fromkeys(names, "ACTIVE"):
                self.servers = [row["ID"] for row in servers]
                self.ports = [row["ID"] for row in ports]
                return
            if "ERROR" in statuses.values():
                break
            await trio.sleep(0.3)
        shown = [await self.show("server", "show", name) for name in statuses]
        raise StepFailed(f"not ACTIVE: {statuses}: {[one.get('fault', '') for one in shown]}")

    async def await_empty(self, nouns: Sequence[str], timeout_s: float = 60.0) -> None:
        """Wait until none of these lists has anything."""
        deadline_s = time.monotonic() + timeout_s
        left: dict[str, Any] = dict.fromkeys(nouns)
        while time.monotonic() < deadline_s:
            lists = await self.show_together(*([*noun.split(), "list"] for noun in left))
            left = {noun: rows for noun, rows in zip(left, lists, strict=True) if rows}
            if not left:
                return
            await trio.sleep(0.3)
        raise StepFailed(f"after {timeout_s:g} s there are still: {left}")

    def print_table(self) -> bool:
        """Print the table; whether every step held."""
        table = Table(title="Ostro demo", title_justify="left")
        table.add_column("step")
        table.add_column("result")
        table.add_column("seconds", justify="right")
        for row in self.rows:
            mark = "[green]ok[/green]" if row.passed else "[red]FAILED[/red]"
            table.add_row(row.name, f"{mark}  {row.result}" if row.result else mark, f"{row.seconds:.1f}")
        table.add_section()
        held = bool(self.rows) and all(row.passed for row in self.rows)
        total_s = sum(row.seconds for row in self.rows)
        table.add_row("all", f"{sum(r.passed for r in self.rows)} of {len(self.rows)} held", f"{total_s:.1f}")
        Console(width=None if sys.stdout.isatty() else 150).print(table)
        return held


def run_ostro(*words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run another ``ostro`` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ostro", *words], capture_output=True, text=True, timeout=timeout_s, check=False
    )
