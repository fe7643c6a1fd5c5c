"""How long the interpreter is kept from other threads by calls that don't release it, each as big as it may be for that.

``python.hold.*``: the least time of the whole call, which is what another thread waits. The floor is the cheapest call into the extension.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

from bench.micro.figure import Figure, seconds
from ostro import _core
from ostro._core import FlowState, Hasher, HostTable, Request

CALLS = 300
BUDGET_US = 50.0
DIGESTS = ("blake3", "md5", "sha1", "sha256", "sha512", "crc32c", "crc64nvme")
HOST = {"inventories": {name: {"total": 1000} for name in ("VCPU", "MEMORY_MB", "DISK_GB")}, "traits": ["CUSTOM_A"]}


def _table(hosts: int) -> HostTable:
    table = HostTable()
    for number in range(hosts):
        table.set_host(f"h{number}", HOST)
        table.set_used(f"h{number}", {"VCPU": number % 900})
    return table


def _state() -> FlowState:
    state = FlowState()
    network = {"name": "n", "segment": {"type": "vxlan", "id": 1}, "mtu": 1450, "service_mac": "02:00:00:00:00:01"}
    state.put("network", "n", json.dumps({"id": "n", **network}).encode())
    return state


def _port(number: int) -> bytes:
    pairs = [{"ip": f"10.{number % 200}.{pair}.0/24"} for pair in range(200)]
    mac = f"02:00:00:00:{number // 256 % 256:02x}:{number % 256:02x}"
    return json.dumps({"id": "p", "network_id": "n", "mac": mac, "tap": "t", "address_pairs": pairs}).encode()


def _calls() -> dict[str, Callable[[int], object]]:
    big, small, state, hasher = _table(5000), _table(500), _state(), Hasher(*DIGESTS)
    requests = [Request({"resources": {"VCPU": 1, "MEMORY_MB": 1 + at}}) for at in range(CALLS + 1)]
    members, feed, ports = {f"h{number}": 1 for number in range(200)}, bytes(8191), [_port(at) for at in range(CALLS)]
    numbers = count()

    def add(at: int) -> None:
        small.set_host(f"n{next(numbers)}" if at == 0 else f"h{at}", HOST)

    parts = [(bytes(8), 5_000_000 + length) for length in range(6)]
    slo: list[Any] = [("0" * 32, None)] * 49
    return {
        "place": lambda at: big.place(requests[at], seed=at, limit=1),
        "place_first_200": lambda at: big.place(requests[0], seed=at, limit=200),
        "place_and_explain": lambda at: small.place({"resources": {"VCPU": 2000 + at}}),
        "set_host": add,
        "set_group": lambda at: small.set_group("g", members),
        "put_port": lambda at: state.put("port", "p", ports[at]),
        "digests": lambda at: hasher.update(feed),
        "slo_etag": lambda at: _core.slo_etag(slo),
        "combined_checksum": lambda at: _core.combined_checksum("crc64nvme", parts),
        "inspect_image": lambda at: _core.inspect_image(feed),
    }


def figures() -> Iterator[Figure]:
    """The least time of each."""
    table = HostTable()
    floor_us = min(seconds(lambda: len(table)) for _ in range(CALLS)) * 1e6
    for name, call in _calls().items():
        least_us = min(seconds(partial(call, at)) for at in range(CALLS)) * 1e6
        yield Figure(f"python.hold.{name}", least_us, "us", floor_us, BUDGET_US)
