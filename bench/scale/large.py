"""A cloud with 10,000 hosts and 100,000 servers: what it costs to ask it for things, and how large its processes are."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.api.client import Client, in_parallel, percentile, timed
from bench.api.cloud import LocalCloud, cpu_s, memory_mib
from bench.api.measures import MICROVERSION
from bench.scale.build import FLAVOR, build, database_bytes
from bench.scale.results import Scaled
from ostro.cli.state import StateDir
from ostro.testing.images import IMAGE_ID

TRIES = 100
POLLS = 2000
PAGE = 1000


def measure_large(hosts: int, servers: int) -> Iterator[Scaled]:
    """Build it, serve it by ``ostro up`` with the fake hypervisor as one more host, and measure."""
    cloud = LocalCloud("fake")
    try:
        started_s = time.perf_counter()
        ids = build(StateDir.make(cloud.state), hosts, servers, lambda words: print(words, file=sys.stderr, flush=True))
        yield Scaled("large.build", time.perf_counter() - started_s, "s")
        yield Scaled("large.stored", database_bytes(cloud.state) / 1e6, "MB")
        yield Scaled("large.start", cloud.start(), "s")
        cloud.wait_for_host()
        time.sleep(5)
        yield from _measure(cloud, ids)
    finally:
        cloud.close()


def _measure(cloud: LocalCloud, ids: dict[str, str]) -> Iterator[Scaled]:
    login = cloud.login()
    login.log_in()
    compute = login.client("compute", OpenStack_API_Version=MICROVERSION)
    pids = cloud.pids()

    def boot(client: Client, number: int) -> str:
        body = {"name": f"more-{number}", "flavorRef": FLAVOR, "imageRef": IMAGE_ID, "networks": "none"}
        return str(client.call("POST", "/servers", {"server": body})["server"]["id"])

    first_ms = timed(lambda: boot(compute, 0))
    yield Scaled("large.create.first", first_ms, "ms", "server.accept.latency")
    times = [timed(lambda: boot(compute, 1)) for _ in range(TRIES)]
    yield Scaled("large.create.p50", percentile(times, 50), "ms", "server.accept.latency")
    yield Scaled("large.create.p99", percentile(times, 99), "ms")
    started_s = time.perf_counter()
    in_parallel(compute, 8, TRIES * 2, boot)
    yield Scaled("large.create.rate.c8", TRIES * 2 / (time.perf_counter() - started_s), "/s")
    for path, name in (
        (f"/servers/detail?all_tenants=1&limit={PAGE}", f"large.servers.list{PAGE}"),
        (f"/servers?all_tenants=1&limit={PAGE}", f"large.servers.names{PAGE}"),
        (f"/servers?all_tenants=1&status=ERROR&limit={PAGE}", "large.servers.none"),
        (f"/os-hypervisors?limit={PAGE}", f"large.hypervisors.list{PAGE}"),
        ("/os-hypervisors/statistics", "large.hypervisors.statistics"),
        ("/os-services", "large.services.list"),
    ):
        found = [timed(partial(compute.call, "GET", path)) for _ in range(5)]
        yield Scaled(f"{name}.latency", statistics.median(found), "ms")
    yield from _measure_polls(cloud, ids, pids[0])
    for pid, name in zip(pids, ("control", "agent"), strict=False):
        yield Scaled(f"large.memory.{name}", memory_mib(pid), "MiB")


def _measure_polls(cloud: LocalCloud, ids: dict[str, str], pid: int) -> Iterator[Scaled]:
    """Agents that poll and hear nothing new, and agents that start and read everything."""
    key = (Path(cloud.state) / "agent.key").read_text().strip()
    headers = {"X-Agent-Key": key, "X-Agent-Incarnation": "1", "X-Agent-Epoch": "1"}
    base = cloud.login().auth_url.partition("/identity")[0]
    client = Client(base, headers=headers)
    hosts = list(ids.values())
    path = "/agent/v1/hosts/{}/wishes?since={}&wait_s=0"
    full = [client.call("GET", path.format(id_, 0)) for id_ in hosts[:200]]
    yield Scaled("large.feed.full", statistics.mean(len(feed["wishes"]) for feed in full), "wishes")
    for name, since in (("idle", [feed["revision"] for feed in full]), ("full", [0] * len(full))):
        times: list[float] = []
        before_s = cpu_s([pid])
        for number in range(POLLS):
            at = number % len(full)
            target = path.format(hosts[at], since[at])
            times.append(timed(partial(client.call, "GET", target)))
        yield Scaled(f"large.poll.{name}.p50", percentile(times, 50), "ms")
        yield Scaled(f"large.poll.{name}.cpu", (cpu_s([pid]) - before_s) / POLLS * 1e6, "us of a core")
