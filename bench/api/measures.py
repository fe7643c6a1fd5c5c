"""What is measured, one function a group. Each yields results as it has them."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.api.client import Client, Failed, Load, in_parallel, percentile, timed, wrk
from bench.api.cloud import LocalCloud, Login, cpu_s, memory_mib
from bench.api.peers import PEERS, ratio_to_peer, with_ratio

POLL_S = 0.005
ACTIVE_MOST_S = 120.0
MICROVERSION = "compute 2.79"
QUOTA = 10_000_000


@dataclass(frozen=True)
class Result:
    """One line of the output."""

    name: str
    value: float
    unit: str
    floor: float | None = None

    def line(self) -> dict[str, Any]:
        """The line as JSON has it; ``ratio`` is value to floor, or peer to value so that more is better."""
        out: dict[str, Any] = {"name": self.name, "value": round(self.value, 3), "unit": self.unit}
        if self.floor is not None:
            ratio = round(self.value / self.floor, 3) if self.floor else None
            return with_ratio(out, {"floor": round(self.floor, 3)}, ratio)
        peer = PEERS.get(self.name)
        if peer is None:
            return out
        return with_ratio(out, {"peer": peer}, ratio_to_peer(self.value, peer, self.unit))


@dataclass
class Lab:
    """What the measurements share: clients, and an image, a flavor and a network made for them."""

    login: Login
    seconds: int
    servers: int
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        self.login.log_in()
        self.compute = self.login.client("compute", OpenStack_API_Version=MICROVERSION)
        self.network = self.login.client("network")
        self.image = self.login.client("image")
        self.identity = Client(self.login.auth_url, self.login.token)

    def furnish(self, image_id: str = "") -> None:
        """Make what servers need; the image is one made of zeros unless one is given."""
        self._lift_quotas()
        made = image_id or self._make_image()
        flavor = {"name": f"bench-{self.tag}", "ram": 64, "vcpus": 1, "disk": 1}
        self.flavor_id = self.compute.call("POST", "/flavors", {"flavor": flavor})["flavor"]["id"]
        self.network_id = self.network.call("POST", "/v2.0/networks", {"network": {"name": f"bench-{self.tag}"}})[
            "network"
        ]["id"]
        subnet = {"network_id": self.network_id, "ip_version": 4, "cidr": "10.77.0.0/16"}
        self.network.call("POST", "/v2.0/subnets", {"subnet": subnet})
        self.image_id = made

    def _lift_quotas(self) -> None:
        """Limits stay, so that counting against them is measured too, but none stops us."""
        project = self.login.project_id
        many = dict.fromkeys(("instances", "cores", "ram"), QUOTA)
        self.compute.call("PUT", f"/os-quota-sets/{project}", {"quota_set": many})
        self.network.call("PUT", f"/v2.0/quotas/{project}", {"quota": {"port": QUOTA}})

    def _make_image(self) -> str:
        made = {"name": f"bench-{self.tag}", "disk_format": "raw", "container_format": "bare"}
        image_id: str = self.image.call("POST", "/v2/images", made)["id"]
        status, data, _headers = self.image.send("PUT", f"/v2/images/{image_id}/file", bytes(1 << 20))
        if status != 204:
            raise Failed(f"upload: {status} {data[:300]!r}")
        return image_id

    def boot(self, client: Client, number: int = 0) -> str:
        """Ask for a server; its id."""
        server = {
            "name": f"bench-{self.tag}-{number}",
            "flavorRef": self.flavor_id,
            "imageRef": self.image_id,
            "networks": [{"uuid": self.network_id}],
        }
        server_id: str = client.call("POST", "/servers", {"server": server})["server"]["id"]
        return server_id

    def wait_active(self, client: Client, server_id: str) -> None:
        """Poll until the server is ACTIVE. Raises Failed for ERROR."""
        until_s = time.perf_counter() + ACTIVE_MOST_S
        while time.perf_counter() < until_s:
            server = client.call("GET", f"/servers/{server_id}")["server"]
            if server["status"] == "ACTIVE":
                return
            if server["status"] == "ERROR":
                raise Failed(f"server {server_id}: {server.get('fault')}")
            time.sleep(POLL_S)
        raise Failed(f"server {server_id} is not ACTIVE after {ACTIVE_MOST_S:g} s")

    def wait_all_active(self, client: Client, server_ids: Collection[str]) -> float:
        """Poll until none of the project's servers is being built; when that was (``perf_counter``). Raises Failed unless all of these are ACTIVE.

        One question for all of them: asking for each by itself would be measured too.
        """
        until_s = time.perf_counter() + ACTIVE_MOST_S
        while client.call("GET", "/servers?status=BUILD&limit=1")["servers"]:
            if time.perf_counter() > until_s:
                raise Failed(f"servers are not ACTIVE after {ACTIVE_MOST_S:g} s")
            time.sleep(POLL_S)
        done_s = time.perf_counter()
        active: set[str] = set()
        page = "/servers?status=ACTIVE&limit=1000"
        while page:
            listed = client.call("GET", page)
            active.update(server["id"] for server in listed["servers"])
            following = [link["href"] for link in listed.get("servers_links", ()) if link["rel"] == "next"]
            page = following[0].partition("/v2.1")[2] if following else ""
        if missing := set(server_ids) - active:
            raise Failed(f"{len(missing)} servers are not ACTIVE, such as {min(missing)}")
        return done_s

    def delete(self, client: Client, server_id: str) -> None:
        """Ask for a server's deletion."""
        client.call("DELETE", f"/servers/{server_id}")

    def wait_gone(self, client: Client, server_id: str) -> None:
        """Poll until a server is gone."""
        until_s = time.perf_counter() + ACTIVE_MOST_S
        while client.send("GET", f"/servers/{server_id}")[0] != 404:
            if time.perf_counter() > until_s:
                raise Failed(f"server {server_id} is not gone after {ACTIVE_MOST_S:g} s")
            time.sleep(POLL_S)

    def load(self, client: Client, path: str, connections: int, **more: Any) -> Load:
        """wrk for this run's time."""
        return wrk(client, path, connections=connections, seconds=self.seconds, **more)


def measure_start(cloud: LocalCloud) -> Iterator[Result]:
    """First start, start on existing state, and what an idle cloud uses."""
    yield Result("start.first", cloud.start(), "s")
    cloud.stop()
    yield Result("start.again", cloud.start(), "s")
    cloud.wait_for_host()
    time.sleep(2)
    before_s, pids = cpu_s(cloud.pids()), cloud.pids()
    time.sleep(10)
    yield Result("idle.cpu", (cpu_s(pids) - before_s) / 10 * 100, "% of a core")
    yield Result("idle.memory.control", memory_mib(pids[0]), "MiB")
    yield Result("idle.memory", sum(memory_mib(pid) for pid in pids), "MiB")


def measure_tokens(lab: Lab) -> Iterator[Result]:
    """Issue by password (a returning user) and by application credential, validate, and a list of projects."""
    validate = lab.identity.copy()
    validate.headers["X-Subject-Token"] = lab.login.token
    anybody = Client(lab.login.auth_url)
    with _application_credential(lab) as credential:
        for connections in (1, 8, 16):
            load = lab.load(anybody, "/auth/tokens", connections, method="POST", body=lab.login.body())
            yield Result(f"token.issue.rate.c{connections}", load.rate, "/s")
            load = lab.load(anybody, "/auth/tokens", connections, method="POST", body=credential)
            yield Result(f"token.issue.application_credential.rate.c{connections}", load.rate, "/s")
            load = lab.load(validate, "/auth/tokens", connections)
            yield Result(f"token.validate.rate.c{connections}", load.rate, "/s")
            load = lab.load(lab.identity, "/projects", connections)
            yield Result(f"project.list.rate.c{connections}", load.rate, "/s")


@contextmanager
def _application_credential(lab: Lab) -> Iterator[dict[str, Any]]:
    """What signs in by an application credential of ours, which is removed in the end."""
    shown = lab.identity.copy()
    shown.headers["X-Subject-Token"] = lab.login.token
    path = f"/users/{shown.call('GET', '/auth/tokens')['token']['user']['id']}/application_credentials"
    made = lab.identity.call("POST", path, {"application_credential": {"name": f"bench-{lab.tag}"}})[
        "application_credential"
    ]
    secret = {"id": made["id"], "secret": made["secret"]}
    try:
        yield {"auth": {"identity": {"methods": ["application_credential"], "application_credential": secret}}}
    finally:
        lab.identity.call("DELETE", f"{path}/{made['id']}")


def measure_servers(lab: Lab) -> Iterator[Result]:
    """One server at a time, then many at once."""
    accepted: list[float] = []
    active: list[float] = []
    for number in range(20):
        started_s = time.perf_counter()
        server_id = lab.boot(lab.compute, number)
        accepted.append((time.perf_counter() - started_s) * 1e3)
        lab.wait_active(lab.compute, server_id)
        active.append((time.perf_counter() - started_s) * 1e3)
        lab.delete(lab.compute, server_id)
        lab.wait_gone(lab.compute, server_id)
    yield Result("server.accept.latency", statistics.median(accepted), "ms")
    yield Result("server.active.latency", statistics.median(active), "ms")
    started_s = time.perf_counter()
    server_ids, times = in_parallel(lab.compute, 8, lab.servers, lab.boot)
    accepted_s = time.perf_counter() - started_s
    active_s = lab.wait_all_active(lab.compute, server_ids) - started_s
    yield Result("server.accept.rate.c8", lab.servers / accepted_s, "/s")
    yield Result("server.accept.p99.c8", percentile(times, 99), "ms")
    yield Result("server.active.rate.c8", lab.servers / active_s, "/s")
    yield from _measure_reads(lab, server_ids)
    started_s = time.perf_counter()
    in_parallel(lab.compute, 8, len(server_ids), lambda client, n: lab.delete(client, server_ids[n]))
    for server_id in server_ids:
        lab.wait_gone(lab.compute, server_id)
    yield Result("server.delete.rate.c8", len(server_ids) / (time.perf_counter() - started_s), "/s")


def _measure_reads(lab: Lab, server_ids: list[str]) -> Iterator[Result]:
    for connections in (1, 8):
        load = lab.load(lab.compute, f"/servers/{server_ids[0]}", connections)
        yield Result(f"server.show.rate.c{connections}", load.rate, "/s")
    count = min(100, len(server_ids))
    times = [timed(lambda: lab.compute.call("GET", f"/servers/detail?limit={count}")) for _ in range(15)]
    yield Result(f"server.list{count}.latency", statistics.median(times), "ms")


def measure_ports(lab: Lab) -> Iterator[Result]:
    """Create, show, list and delete ports."""

    def create(client: Client, number: int) -> str:
        port = {"network_id": lab.network_id, "name": f"bench-{lab.tag}-{number}"}
        port_id: str = client.call("POST", "/v2.0/ports", {"port": port})["port"]["id"]
        return port_id

    for connections, count in ((1, 100), (8, 300)):
        started_s = time.perf_counter()
        port_ids, _times = in_parallel(lab.network, connections, count, create)
        yield Result(f"port.create.rate.c{connections}", count / (time.perf_counter() - started_s), "/s")
    load = lab.load(lab.network, f"/v2.0/ports/{port_ids[0]}", 8)
    yield Result("port.show.rate.c8", load.rate, "/s")


def measure_floor(lab: Lab, floor: Client) -> Iterator[Result]:
    """What the bare application does on this machine now: how loaded it is, and what no figure below can pass."""
    for connections in (1, 8):
        yield Result(f"floor.rate.c{connections}", lab.load(floor, "/", connections).rate, "/s")


def measure_overhead(lab: Lab, floor: Client) -> Iterator[Result]:
    """A GET with token, policy and one row, against the bare application: requests one after the other, and eight at once."""
    lab.boot(lab.compute)
    path = f"/v2.0/networks/{lab.network_id}"
    for connections in (1, 8):
        rounds = [(lab.load(floor, "/", connections), lab.load(lab.network, path, connections)) for _ in range(3)]
        bare_us = statistics.median(1e6 / bare.rate for bare, _ in rounds)
        ours_us = statistics.median(1e6 / ours.rate for _, ours in rounds)
        yield Result(f"overhead.get.c{connections}", ours_us, "us", floor=bare_us)


def measure_libvirt(lab: Lab, image_id: str) -> Iterator[Result]:
    """From accepted to the domain running, on an idle host."""
    lab.furnish(image_id)
    times: list[float] = []
    for number in range(4):
        started_s = time.perf_counter()
        server_id = lab.boot(lab.compute, number)
        lab.wait_active(lab.compute, server_id)
        times.append((time.perf_counter() - started_s) * 1e3)
        lab.delete(lab.compute, server_id)
    # The first one fills the host's cache of images.
    yield Result("libvirt.running.first", times[0], "ms")
    yield Result("libvirt.running", statistics.median(times[1:]), "ms")
