"""The price of a call from Python.

A decision on a table of one host, from Python and (the floor) from Rust: what is more is Python's, ``python.place_overhead``: the call,
locks, conversions there and back. Its floor, and that of a delta, is the cheapest call into the extension.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bench.micro.figure import Figure, in_rust, in_turn, seconds
from ostro._core import HostTable, Request

CALLS = 500
ROUNDS = 60
"""Many and short: one that ends before others get their turn isn't disturbed by them."""
BUDGET_US = 3.0
HOST: dict[str, Any] = {
    "inventories": {
        name: {"total": 1_000_000} for name in ("VCPU", "MEMORY_MB", "DISK_GB", "NET_BW_EGR_KILOBIT_PER_SEC")
    },
    "traits": ["CUSTOM_A", "CUSTOM_B"],
}
ASKED: dict[str, Any] = {
    "resources": {"VCPU": 2, "MEMORY_MB": 4096, "DISK_GB": 40, "NET_BW_EGR_KILOBIT_PER_SEC": 1000},
    "required": ["CUSTOM_A", "!CUSTOM_C"],
}


def figures() -> Iterator[Figure]:
    """Placing one, by a request made before and by a mapping, and a delta."""
    table = HostTable()
    table.set_host("3f2b8c1e-5a4d-4e6f-9a7b-000000000001", HOST)
    request = Request(ASKED)
    delta = {"VCPU": 1, "MEMORY_MB": 4096, "DISK_GB": 40}

    def each(call: Any) -> float:
        return seconds(lambda: [call(at) for at in range(CALLS)]) / CALLS * 1e6

    def least() -> float:
        return each(lambda at: len(table))

    def place() -> float:
        return each(lambda at: table.place(request, seed=at, limit=1).hosts)

    def place_mapping() -> float:
        return each(lambda at: table.place(ASKED, seed=at, limit=1).hosts)

    def add_used() -> float:
        return each(lambda at: table.add_used("3f2b8c1e-5a4d-4e6f-9a7b-000000000001", delta if at % 2 else {}))

    def place_in_rust() -> float:
        return in_rust("place", str(CALLS), json.dumps(HOST), json.dumps(ASKED)) / CALLS * 1e6

    place_us, rust_us = in_turn(ROUNDS, place, place_in_rust)
    mapping_us, least_us = in_turn(ROUNDS, place_mapping, least)
    yield Figure("python.place", place_us, "us", rust_us)
    yield Figure("python.place_overhead", place_us - rust_us, "us", least_us, BUDGET_US)
    yield Figure("python.place_mapping", mapping_us, "us", rust_us)
    yield Figure("python.add_used", *_unit(in_turn(ROUNDS, add_used, least)))


def _unit(pair: tuple[float, float]) -> tuple[float, str, float]:
    return pair[0], "us", pair[1]
