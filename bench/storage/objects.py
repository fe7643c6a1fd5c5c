"""Objects: the same cells for every server, one after the other in every round, so that all meet the same machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.api.client import Client
from bench.api.cloud import cpu_s
from bench.storage.load import MIB, Objects

SIZES = (4096, MIB, 64 * MIB)
CONNECTIONS = (1, 8)
PEERS = {
    "put.4KiB.c8": 269.0,
    "get.4KiB.c8": 550.0,
    "put.1MiB.c8": 158.0,
    "get.1MiB.c8": 248.0,
    "put.64MiB.c8": 510e6 / (64 * MIB),
    "get.64MiB.c8": 527e6 / (64 * MIB),
}
"""OpenStack Swift 2.38, one replica on local disk, two cores, 2026-11: operations a second."""


@dataclass
class Server:
    """Something to put objects into: over HTTP, or (``raw``) not. ``pids`` is what serves it."""

    name: str
    client: Client | None
    pids: list[int]
    raw: Callable[[int], Any] | None = None


@dataclass
class Cell:
    """One server's figures at one kind of load, a value a round."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    below_ms: list[float] = field(default_factory=list)


def name_of(size_bytes: int) -> str:
    """A size in words."""
    return f"{size_bytes // MIB}MiB" if size_bytes >= MIB else f"{size_bytes // 1024}KiB"


def measure_objects(
    servers: list[Server], osd_pid: int, seconds: int, rounds: int, sizes: tuple[int, ...] = SIZES
) -> Iterator[dict[str, Any]]:
    """A line a cell: every server's median, its CPU time an operation, and the OSD's."""
    data = os.urandom(MIB)
    for size_bytes in sizes:
        opened = {server.name: _open(server, size_bytes) for server in servers}
        for connections in CONNECTIONS:
            cells: dict[tuple[str, str], Cell] = {}
            for _round in range(rounds):
                for server in servers:
                    for verb in ("put", "get"):
                        cell = cells.setdefault((verb, server.name), Cell())
                        _measure(cell, server, opened[server.name], verb, (connections, seconds, data), osd_pid)
            for verb in ("put", "get"):
                yield _line(f"{verb}.{name_of(size_bytes)}.c{connections}", size_bytes, verb, cells)
        for store in opened.values():
            if not isinstance(store, Objects):
                store.close()


def _open(server: Server, size_bytes: int) -> Any:
    if server.raw is not None:
        return server.raw(size_bytes)
    assert server.client is not None, "a server is raw or speaks HTTP"
    opened = Objects(server.client, size_bytes)
    opened.prepare()
    return opened


def _measure(cell: Cell, server: Server, store: Any, verb: str, load: tuple[int, int, bytes], osd_pid: int) -> None:
    connections, seconds, data = load
    own_s, below_s, started_s = cpu_s(server.pids), cpu_s([osd_pid]), time.perf_counter()
    if verb == "get":
        rate = store.get(connections, seconds)
    else:
        rate = store.put(connections, seconds, data) if isinstance(store, Objects) else store.put(connections, seconds)
    operations = rate * (time.perf_counter() - started_s)
    cell.rates.append(rate)
    cell.cpu_ms.append((cpu_s(server.pids) - own_s) * 1e3 / operations)
    cell.below_ms.append((cpu_s([osd_pid]) - below_s) * 1e3 / operations)


def _line(name: str, size_bytes: int, verb: str, cells: dict[tuple[str, str], Cell]) -> dict[str, Any]:
    line: dict[str, Any] = {"name": f"object.{name}", "unit": "op/s"}
    for (cell_verb, server), cell in cells.items():
        if cell_verb == verb:
            rate = statistics.median(cell.rates)
            line[server] = {
                "rate": round(rate, 1),
                "MBps": round(rate * size_bytes / 1e6, 1),
                "cpu_ms": round(statistics.median(cell.cpu_ms), 2),
                "osd_ms": round(statistics.median(cell.below_ms), 2),
                "all": [round(value, 1) for value in cell.rates],
            }
    if "rgw" in line and "ceph" in line:
        line["ceph/rgw"] = round(line["ceph"]["rate"] / line["rgw"]["rate"], 2)
    if name in PEERS and "local" in line:
        line["local/swift"] = round(line["local"]["rate"] / PEERS[name], 2)
    return line
