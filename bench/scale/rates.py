"""Servers and ports asked for by 8 and by 32 at once, reads, lists of 1,000 and 10,000, on either engine, with the fake hypervisor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.api.client import Client, in_parallel, percentile, timed
from bench.api.cloud import LocalCloud, cpu_s
from bench.api.measures import Lab
from bench.scale.results import Scaled
from ostro.testing.postgres import PostgresServer

WIDTHS = (8, 32)
PAGE = 1000
LONG_LIST = 10_000


def measure_rates(engine: str, seconds: int, servers: int) -> Iterator[Scaled]:
    """All of it on one engine, in a cloud of its own."""
    if engine == "sqlite":
        yield from _measure(engine, LocalCloud("fake"), seconds, servers)
        return
    with PostgresServer(durable=True) as server:
        url = server.dsn(server.create_database())
        cloud = LocalCloud("fake", ["--database", url])
        yield from _measure(engine, cloud, seconds, servers, server.pids)


def _measure(
    engine: str, cloud: LocalCloud, seconds: int, servers: int, beside: Callable[[], list[int]] = list
) -> Iterator[Scaled]:
    """``beside`` tells the processes of a database that isn't embedded."""
    try:
        cloud.start()
        cloud.wait_for_host()
        lab = Lab(cloud.login(), seconds, servers)
        lab.furnish()
        lift_network_quotas(lab)
        for width in WIDTHS:
            yield from _measure_servers(engine, cloud, lab, width, beside)
        yield from _measure_ports(engine, lab)
        yield from _measure_lists(engine, lab)
    finally:
        cloud.close()


def lift_network_quotas(lab: Lab) -> None:
    """None stops us, but all are counted against."""
    quota = {"quota": dict.fromkeys(("network", "subnet", "port", "security_group", "security_group_rule"), 10_000_000)}
    lab.network.call("PUT", f"/v2.0/quotas/{lab.login.project_id}", quota)


def _stored_bytes(cloud: LocalCloud) -> int:
    """What the embedded database takes; 0 where it is elsewhere."""
    return sum(path.stat().st_size for path in Path(cloud.state).glob("ostro.db*"))


def _measure_servers(
    engine: str, cloud: LocalCloud, lab: Lab, width: int, beside: Callable[[], list[int]]
) -> Iterator[Scaled]:
    end = f"c{width}.{engine}"
    pids, before_bytes = cloud.pids(), _stored_bytes(cloud)
    work, others_s = cloud.database_work(), {pid: cpu_s([pid]) for pid in beside()}
    before_s, started_s = cpu_s(pids), time.perf_counter()
    server_ids, times = in_parallel(lab.compute, width, lab.servers, lab.boot)
    accepted_s = time.perf_counter() - started_s
    active_s = lab.wait_all_active(lab.compute, server_ids) - started_s
    spent_s = cpu_s(pids) - before_s
    beside_s = sum(cpu_s([pid]) - others_s.get(pid, 0.0) for pid in beside())
    yield Scaled(f"server.accept.rate.{end}", lab.servers / accepted_s, "/s")
    yield Scaled(f"server.accept.p50.{end}", percentile(times, 50), "ms", "server.accept.latency")
    yield Scaled(f"server.accept.p99.{end}", percentile(times, 99), "ms")
    yield Scaled(f"server.active.rate.{end}", lab.servers / active_s, "/s", "server.active.rate.c8", 122.0)
    yield Scaled(f"server.cpu.{end}", spent_s / lab.servers * 1e3, "ms of a core")
    if others_s:
        yield Scaled(f"server.cpu.database.{end}", beside_s / lab.servers * 1e3, "ms of a core")
    done = {name: count - work.get(name, 0.0) for name, count in cloud.database_work().items()}
    for name, count in done.items():
        yield Scaled(f"server.{name}.{end}", count / lab.servers, "")
    if engine == "sqlite":
        yield Scaled(f"server.stored.{end}", (_stored_bytes(cloud) - before_bytes) / lab.servers, "bytes")
    load = lab.load(lab.compute, f"/servers/{server_ids[0]}", width)
    yield Scaled(f"server.show.rate.{end}", load.rate, "/s", "server.show.rate.c8")
    yield Scaled(f"server.show.p99.{end}", load.p99_ms, "ms")
    in_parallel(lab.compute, 8, len(server_ids), lambda client, n: lab.delete(client, server_ids[n]))
    for server_id in server_ids:
        lab.wait_gone(lab.compute, server_id)


def _measure_ports(engine: str, lab: Lab) -> Iterator[Scaled]:
    def create(client: Client, number: int) -> str:
        port = {"network_id": lab.network_id, "name": f"bench-{number}"}
        port_id: str = client.call("POST", "/v2.0/ports", {"port": port})["port"]["id"]
        return port_id

    for width in WIDTHS:
        started_s = time.perf_counter()
        _ids, times = in_parallel(lab.network, width, lab.servers, create)
        took_s = time.perf_counter() - started_s
        yield Scaled(f"port.create.rate.c{width}.{engine}", lab.servers / took_s, "/s", "port.create.rate.c8")
        yield Scaled(f"port.create.p99.c{width}.{engine}", percentile(times, 99), "ms")


def _measure_lists(engine: str, lab: Lab) -> Iterator[Scaled]:
    """Ports, because ten thousand of them are soon made: in bulk requests, on a network of their own."""
    made = lab.network.call("POST", "/v2.0/networks", {"network": {"name": "long"}})["network"]["id"]
    part = 100

    def create(client: Client, _number: int) -> None:
        client.call("POST", "/v2.0/ports", {"ports": [{"network_id": made, "name": "p"}] * part})

    in_parallel(lab.network, 4, LONG_LIST // part, create)
    path = f"/v2.0/ports?network_id={made}"
    times = [timed(lambda: lab.network.call("GET", f"{path}&limit={PAGE}")) for _ in range(7)]
    yield Scaled(f"port.list{PAGE}.latency.{engine}", statistics.median(times), "ms")
    times = [timed(lambda: lab.network.call("GET", path)) for _ in range(3)]
    yield Scaled(f"port.list{LONG_LIST}.latency.{engine}", statistics.median(times), "ms")
