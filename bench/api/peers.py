"""OpenStack's own figures: newest releases (keystone 30, nova 34, neutron 29, placement), two uwsgi workers each, MariaDB, RabbitMQ, memcached, the
fake hypervisor, on two cores and 24 GiB, medians of three runs, 2026-11."""

from __future__ import annotations

from typing import Any

PEERS: dict[str, float] = {
    "server.active.latency": 1319.0,
    "server.accept.latency": 163.0,
    "server.active.rate.c8": 1.22,
    "server.show.rate.c1": 13.6,
    "server.show.rate.c8": 26.0,
    "server.list100.latency": 263.0,
    "port.create.rate.c1": 6.9,
    "port.create.rate.c8": 12.0,
    "port.show.rate.c8": 135.0,
    "token.issue.rate.c1": 3.9,
    "token.issue.rate.c16": 6.3,
    "token.validate.rate.c1": 191.0,
    "token.validate.rate.c16": 361.0,
    "candidates.latency.100": 28.0,
    "candidates.latency.1000": 97.0,
    "candidates.latency.10000": 891.0,
    "candidates.rate.1000.c8": 15.8,
    "candidates.rate.10000.c8": 1.0,
    "idle.cpu": 4.0,
    "idle.memory": 3006.0,
    "start.first": 62.0,
    "start.again": 27.0,
}
"""Name of a measurement -> the peer's value in the same unit."""


def ratio_to_peer(value: float, peer: float, unit: str) -> float | None:
    """How many times better a value is; None where that can't be said, as of what took no time."""
    if unit.endswith("/s"):
        return round(value / peer, 2)
    return round(peer / value, 2) if value else None


def with_ratio(line: dict[str, Any], beside: dict[str, float], ratio: float | None) -> dict[str, Any]:
    """A line with what stands beside its value, and the ratio if there is one."""
    return line | beside | ({} if ratio is None else {"ratio": ratio})
