"""Ceph's own object gateway (RGW), on a cluster that is there, spoken to by its Swift API."""

from __future__ import annotations

import subprocess
import time

from bench.api.client import Client, Failed
from bench.api.cloud import free_port
from ostro.testing.ceph import CephCluster

START_MOST_S = 60.0
USER, SECRET = "bench", "secret"


class Gateway:
    """``radosgw`` with its front end as Ceph's documentation recommends, and one user."""

    def __init__(self, cluster: CephCluster) -> None:
        self._cluster = cluster
        self._port = free_port()
        cluster.add_user("rgw.a", {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow rw"})
        words = ["radosgw", *self._as_gateway(), "-f", "--no-mon-config", "--rgw-thread-pool-size=64"]
        words += [f"--rgw-frontends=beast endpoint=127.0.0.1:{self._port} tcp_nodelay=1"]
        words += ["--rgw-enable-usage-log=false", "--rgw-enable-ops-log=false", f"--rgw-data={cluster.root}"]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._await_listening()
        self._administer("user", "create", f"--uid={USER}", "--display-name=bench")
        self._administer("subuser", "create", f"--uid={USER}", f"--subuser={USER}:swift", "--access=full")
        self._administer("key", "create", f"--subuser={USER}:swift", "--key-type=swift", f"--secret={SECRET}")

    def _as_gateway(self) -> list[str]:
        return ["-n", "client.rgw.a", "-c", str(self._cluster.conf)]

    def _administer(self, *words: str) -> None:
        command = ["radosgw-admin", *self._as_gateway(), "--no-mon-config", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(words)}: {done.stderr[-500:]}")

    def _await_listening(self) -> None:
        until_s = time.perf_counter() + START_MOST_S
        while True:
            try:
                Client(f"http://127.0.0.1:{self._port}").send("GET", "/")
                return
            except OSError:
                if time.perf_counter() > until_s or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    @property
    def pids(self) -> list[int]:
        """Its process."""
        return [self._process.pid]

    def client(self) -> Client:
        """The user's account."""
        headers = {"X-Auth-User": f"{USER}:swift", "X-Auth-Key": SECRET}
        status, data, answer = Client(f"http://127.0.0.1:{self._port}", headers=headers).send("GET", "/auth/v1.0")
        if status >= 300:
            raise Failed(f"RGW does not know its user: {status} {data[:300]!r}")
        return Client(answer["X-Storage-Url"], answer["X-Auth-Token"])

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
