"""Overload on either engine in one process, and on ``ostro api --workers 2``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from bench.api.cloud import LocalCloud, Login
from bench.api.measures import Lab, Result
from bench.api.overload import measure_overload
from bench.api.steady import Pids
from bench.scale.rates import lift_network_quotas
from ostro.testing.postgres import PostgresServer
from ostro.testing.roles import Roles

WORKERS = 2


def measure_engine(engine: str, loads: Sequence[str]) -> Iterator[Result]:
    """A cloud of its own in one process."""
    if engine == "sqlite":
        yield from _measure(LocalCloud("fake"), loads, ".sqlite", None)
        return
    with PostgresServer() as server:
        cloud = LocalCloud("fake", ["--database", server.dsn(server.create_database())])
        yield from _measure(cloud, loads, ".postgres", server.pids)


def _measure(cloud: LocalCloud, loads: Sequence[str], end: str, database: Pids | None) -> Iterator[Result]:
    try:
        cloud.start()
        cloud.wait_for_host()
        lab = Lab(cloud.login(), 0, 0)
        lab.furnish()
        lift_network_quotas(lab)
        yield from measure_overload(lab, cloud.pids()[:1], end, loads, database)
    finally:
        cloud.close()


def measure_workers(loads: Sequence[str]) -> Iterator[Result]:
    """Several API processes on PostgreSQL, by TLS as they speak it."""
    with (
        PostgresServer() as server,
        tempfile.TemporaryDirectory(prefix="ostro-bench-") as folder,
        Roles(Path(folder), server.dsn(server.create_database())) as roles,
    ):
        roles.init()
        api = roles.api("", None, "--workers", str(WORKERS))
        roles.await_(lambda: len(api.children) == WORKERS, "the workers run")
        auth = yaml.safe_load((roles.state / "clouds.yaml").read_text())["clouds"]["ostro"]["auth"]
        lab = Lab(Login(auth["auth_url"].rstrip("/"), auth["username"], auth["password"]), 0, 0)
        lab.furnish()
        lift_network_quotas(lab)
        yield from measure_overload(lab, sorted(api.children), f".workers{WORKERS}", loads, server.pids)
