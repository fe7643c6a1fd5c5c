"""Fixtures of federation and of moves, and ``--record-proofs``: which test of this layer saw which operation succeed, for ``api/reference/proofs.txt``.

Of an operation's tests the one with the fewest operations is kept, the first by name of several. One that is noted already stays while it still
proves it, and so does that of a test that did not run, so that the file changes only where it must.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ostro.http.catalog import SERVICES
from ostro.http.conformance import Operation, read_notes, write_notes
from ostro.http.request import Request
from ostro.http.route import Handler, Reply, Route, Service
from ostro.testing.cloud import TestCloud
from ostro.testing.federated import DASHBOARD, add_provider
from ostro.testing.moving import Lab, open_lab
from ostro.testing.oidc import OidcServer

PROOFS = Path(__file__).parents[2] / "api" / "reference" / "proofs.txt"
SEEN: dict[str, set[str]] = {}
RAN: set[str] = set()
FAILED: set[str] = set()


@pytest.fixture(scope="session")
def oidc() -> Iterator[OidcServer]:
    """A running provider."""
    with OidcServer() as server:
        yield server


@pytest.fixture
def settings(oidc: OidcServer, tmp_path: Path) -> dict[str, Any]:
    """What the operator wrote down before the start."""
    oidc.set()
    provider = {"issuer": oidc.issuer, "client_id": "ostro", "client_secret": "hush"}
    federation = {"trusted_dashboards": [DASHBOARD], "providers": [provider]}
    (tmp_path / "identity.yaml").write_text(yaml.safe_dump({"federation": federation}))
    return federation


@pytest.fixture
async def federation(settings: dict[str, Any], cloud: TestCloud, oidc: OidcServer) -> TestCloud:
    """A cloud that knows the provider as ``acme``."""
    await add_provider(cloud, "acme", [oidc.issuer])
    return cloud


@pytest.fixture
async def lab(cloud: TestCloud) -> Lab:
    """Three hosts and a server that runs."""
    return await open_lab(cloud)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-proofs", action="store_true", help="write api/reference/proofs.txt from this run")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--record-proofs"):
        return
    if hasattr(config, "workerinput") or config.getoption("numprocesses", None):
        raise pytest.UsageError("--record-proofs needs one process: -n 0")
    for service in SERVICES:
        for route in service.routes:
            object.__setattr__(route, "handler", _recording(service, route))


def _recording(service: Service, route: Route) -> Handler:
    """The route's handler, which notes what it answers."""
    handler, name = route.handler, service.name.partition("-")[0]

    @functools.wraps(handler)
    async def record(req: Request) -> Reply:
        reply = await handler(req)
        action = next(iter(req.body)) if route.path.endswith("/action") else ""
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0].partition("[")[0]
        key = Operation(name, route.path, route.method, action).key
        if (reply.status or route.status) < 400:
            SEEN.setdefault(key, set()).add(test)
        return reply

    return record


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    RAN.add(report.nodeid.partition("[")[0])
    if report.failed:
        FAILED.add(report.nodeid.partition("[")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--record-proofs"):
        return
    known = read_notes(PROOFS) if PROOFS.exists() else {}
    sizes: dict[str, int] = {}
    for tests in SEEN.values():
        for test in tests:
            sizes[test] = sizes.get(test, 0) + 1
    proofs = {key: test for key, test in known.items() if test not in RAN}
    for key, tests in SEEN.items():
        good = sorted(tests - FAILED, key=lambda test: (sizes[test], test))
        if good and key not in proofs:
            proofs[key] = known[key] if known.get(key) in good else good[0]
    write_notes(PROOFS, proofs)
