"""What it takes to ask placement where something fits, among 100, 1,000 and 10,000 resource providers."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator

from bench.api.client import Client, in_parallel, timed
from bench.api.measures import Lab, Result

SIZES = (100, 1_000, 10_000)
MICROVERSION = "placement 1.39"
ASKED = "VCPU:1,MEMORY_MB:512,DISK_GB:1"
PATH = f"/allocation_candidates?resources={ASKED}&limit=10"
INVENTORIES = {"VCPU": 64, "MEMORY_MB": 262_144, "DISK_GB": 4_000}
CLIENTS = 8
SAMPLES = 21


def measure_candidates(lab: Lab, most: int) -> Iterator[Result]:
    """The first ten candidates, one request after the other and eight at once. Providers are made for it, at most ``most``, and removed."""
    placement = lab.login.client("placement", OpenStack_API_Version=MICROVERSION)
    made: list[str] = []
    try:
        for size in (size for size in SIZES if size <= most):
            started_s, before = time.perf_counter(), len(made)
            more, _times = in_parallel(placement, CLIENTS, size - before, lambda client, _n: _provider(client, lab.tag))
            made += more
            yield Result(f"provider.create.rate.{size}", (size - before) / (time.perf_counter() - started_s), "/s")
            times = [timed(lambda: placement.call("GET", PATH)) for _ in range(SAMPLES)]
            yield Result(f"candidates.latency.{size}", statistics.median(times), "ms")
            yield Result(f"candidates.rate.{size}.c{CLIENTS}", lab.load(placement, PATH, CLIENTS).rate, "/s")
    finally:
        in_parallel(
            placement, CLIENTS, len(made), lambda client, n: client.call("DELETE", f"/resource_providers/{made[n]}")
        )


def _provider(client: Client, tag: str) -> str:
    """A provider with an inventory of each class; its id."""
    provider_id = str(uuid.uuid4())
    client.call("POST", "/resource_providers", {"uuid": provider_id, "name": f"bench-{tag}-{provider_id}"})
    inventories = {name: {"total": total} for name, total in INVENTORIES.items()}
    body = {"resource_provider_generation": 0, "inventories": inventories}
    client.call("PUT", f"/resource_providers/{provider_id}/inventories", body)
    return provider_id
