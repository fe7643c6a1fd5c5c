"""Clouds to measure: one started here, or one that is there already; and how much its processes use."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.api.client import Client, Failed

START_MOST_S = 60.0
POLL_S = 0.005
CPUCLOCK_SCHED = 2  # linux/posix-timers.h


@dataclass
class Login:
    """How to speak to a cloud, and its endpoints by type."""

    auth_url: str
    user: str
    password: str
    project: str = "admin"
    domain: str = "default"
    token: str = ""
    project_id: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The body that asks for a token."""
        domain = {"id": self.domain}
        user = {"name": self.user, "password": self.password, "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        return {"auth": {"identity": identity, "scope": {"project": {"name": self.project, "domain": domain}}}}

    def log_in(self) -> None:
        """Get a token and the catalogue."""
        status, data, headers = Client(self.auth_url).send("POST", "/auth/tokens", self.body())
        if status != 201:
            raise Failed(f"log in: {status} {data[:300]!r}")
        self.token = headers["X-Subject-Token"]
        token = json.loads(data)["token"]
        self.project_id = token["project"]["id"]
        for service in token["catalog"]:
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "public":
                    self.endpoints[service["type"]] = endpoint["url"]

    def client(self, service: str, **headers: str) -> Client:
        """A client of one service."""
        return Client(self.endpoints[service], self.token, {k.replace("_", "-"): v for k, v in headers.items()})


class LocalCloud:
    """``ostro up`` in a directory of its own, on any free port. ``options`` are more words for ``up``."""

    def __init__(self, hypervisor: str, options: Sequence[str] = ()) -> None:
        self._hypervisor = hypervisor
        self._options = options
        self.state = Path(tempfile.mkdtemp(prefix="ostro-bench-"))
        self._log = (self.state.parent / (self.state.name + ".log")).open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; seconds until a request was answered."""
        started_s = time.perf_counter()
        options = ["--state", str(self.state), "--listen", f"127.0.0.1:{free_port()}", "--log-level", "warning"]
        command = [sys.executable, "-m", "ostro", "up", *options, "--hypervisor", self._hypervisor, *self._options]
        clouds = self.state / "clouds.yaml"
        clouds.unlink(missing_ok=True)
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        while not clouds.exists():
            if self._process.poll() is not None or time.perf_counter() - started_s > START_MOST_S:
                raise Failed(f"the cloud did not start: {Path(self._log.name).read_text()[-2000:]}")
            time.sleep(POLL_S)
        Client(self.login().auth_url).call("GET", "")
        return time.perf_counter() - started_s

    def login(self) -> Login:
        """How to speak to it."""
        auth = yaml.safe_load((self.state / "clouds.yaml").read_text())["clouds"]["ostro"]["auth"]
        url = auth["auth_url"].rstrip("/")
        return Login(url if url.endswith("/v3") else url + "/v3", auth["username"], auth["password"])

    def wait_for_host(self) -> None:
        """Wait until the agent has registered, so that servers have somewhere to go."""
        login = self.login()
        login.log_in()
        compute = login.client("compute")
        until_s = time.perf_counter() + START_MOST_S
        while not compute.call("GET", "/os-hypervisors")["hypervisors"]:
            if time.perf_counter() > until_s:
                raise Failed("no host has registered")
            time.sleep(0.05)

    def pids(self) -> list[int]:
        """The control plane's process and its children."""
        assert self._process is not None
        root = self._process.pid
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
        return [root, *map(int, children)]

    def database_work(self) -> dict[str, float]:
        """What the control plane has asked its database for so far: nothing with the embedded one."""
        base = self.login().auth_url.partition("/identity")[0]
        page = Client(base).send("GET", "/metrics")[1].decode()
        found = dict(re.findall(r'^ostro_database_work_total\{of="(\w+)"\} (\S+)', page, re.M))
        found |= dict(re.findall(r"^ostro_database_(retries)_total (\S+)", page, re.M)) if found else {}
        return {name: float(count) for name, count in found.items()}

    def stop(self) -> None:
        """End the control plane and the agent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        """Stop everything and leave nothing behind."""
        self.stop()
        command = [sys.executable, "-m", "ostro", "down", "--state", str(self.state), "--purge"]
        subprocess.run(command, stdout=self._log, stderr=self._log, check=False)
        self._log.close()
        Path(self._log.name).unlink(missing_ok=True)
        shutil.rmtree(self.state, ignore_errors=True)


class Floor:
    """The floor application, running."""

    def __enter__(self) -> Client:
        port = free_port()
        self._process = subprocess.Popen([sys.executable, "-m", "bench.api.floor", str(port)])
        client = Client(f"http://127.0.0.1:{port}")
        until_s = time.perf_counter() + START_MOST_S
        while True:
            try:
                client.call("GET", "/")
                return client.copy()
            except OSError:
                if time.perf_counter() > until_s:
                    raise
                client = client.copy()
                time.sleep(0.02)

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def memory_mib(pid: int) -> float:
    """Proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"no Pss of {pid}")


def cpu_s(pids: list[int]) -> float:
    """CPU time that the processes have used, to the nanosecond: by the clock that Linux keeps of each (``clock_getcpuclockid(3)``), since an
    idle cloud uses less than one of the ticks that /proc counts in. Raises OSError for a process that is gone."""
    return sum(time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED) for pid in pids)
