"""A 500 in every service's own shape: it says nothing of what went wrong, and the log says everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from ostro.http.catalog import SERVICES
from ostro.http.policy import Rule
from ostro.http.request import Request
from ostro.http.route import Reply, Route, Service
from ostro.http.versions import Version
from ostro.testing.cloud import TestCloud
from ostro.testing.served import head, serve_cloud

SECRET = "hunter2 at /var/lib/ostro"
SHAPES: dict[str, str] = {
    "identity": "error",
    "compute": "computeFault",
    "volume": "computeFault",
    "network": "NeutronError",
    "placement": "errors",
}
"""Service -> the key of its errors' bodies; the others answer in HTML or plain text."""


class Oddity(Exception):
    """What nobody foresaw."""


def pick(service: Service) -> Route:
    """A list of the service that an administrator may read."""
    return next(
        route
        for route in service.routes
        if route.method == "GET"
        and "{" not in route.path
        and route.rule is not Rule.PUBLIC
        and not route.query.get("x")
    )


@contextmanager
def broken(route: Route) -> Iterator[None]:
    """The route's handler has a bug."""
    handler = route.handler

    async def fail(_req: Request) -> Reply:
        try:
            raise Oddity(SECRET)
        except Oddity as error:
            raise RuntimeError("while doing so") from error

    object.__setattr__(route, "handler", fail)
    try:
        yield
    finally:
        object.__setattr__(route, "handler", handler)


def headers_for(service: Service, route: Route) -> dict[str, str]:
    version: Version | None = route.low or (service.versions.high if service.versions else None)
    return {"OpenStack-API-Version": f"{service.versions.names[0]} {version}"} if service.versions and version else {}


def check_says_nothing(body: bytes) -> None:
    for word in (SECRET, "Oddity", "RuntimeError", "while doing so", "Traceback", ".py", "hunter2"):
        assert word.encode() not in body, body


def check_log(logs: list[Any], request_id: str) -> None:
    """One error with its cause, by the id that the client was told."""
    failures = [line for line in logs if line["log_level"] == "error"]
    assert [(line["event"], line["request_id"]) for line in failures] == [("request failed", request_id)]
    error = failures[0]["exc_info"]
    assert isinstance(error, RuntimeError) and isinstance(error.__cause__, Oddity) and error.__traceback__ is not None


BREAKABLE = [s for s in SERVICES if s.name not in ("agent", "join", "health", "volume-versions", "object")]


@pytest.mark.parametrize("service", BREAKABLE, ids=lambda service: service.name)
async def test_it_says_nothing_and_logs_everything(cloud: TestCloud, service: Service) -> None:
    route = pick(service)
    path = service.prefixes[0] + route.path
    with broken(route), structlog.testing.capture_logs() as logs:
        answer = await cloud.as_admin.get(path, headers=headers_for(service, route))
    assert answer.status == 500
    check_says_nothing(answer.body)
    if service.name in SHAPES:
        assert SHAPES[service.name] in answer.json
    request_id = answer.headers["X-Openstack-Request-Id"]
    check_log(logs, request_id)
    assert (await cloud.as_admin.get(path, headers=headers_for(service, route))).status < 500, "only that one"


@pytest.mark.parametrize("expect", ["", "100-continue"], ids=["lane", "hypercorn"])
async def test_by_both_ways_in(cloud: TestCloud, expect: str) -> None:
    service = next(s for s in SERVICES if s.name == "identity")
    with broken(pick(service)), structlog.testing.capture_logs() as logs:
        async with serve_cloud(cloud) as served, served.connect() as client:
            path = service.prefixes[0] + pick(service).path
            headers = {"X-Auth-Token": cloud.as_admin.token, "Expect": expect, "Connection": "close"}
            await client.send(head("GET", path, headers))
            answer = await client.answer()
    assert answer.status == 500
    check_says_nothing(answer.body)
    check_log(logs, answer.headers["X-Openstack-Request-Id"])


async def test_in_a_transaction_nothing_is_changed(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug at the very end of a change: a 500, a log line, and no change."""

    def fail(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("while doing so") from Oddity(SECRET)

    monkeypatch.setattr(cloud.cloud.audit, "write", fail)
    with structlog.testing.capture_logs() as logs:
        answer = await cloud.as_admin.post("/networking/v2.0/networks", {"network": {"name": "n"}})
    assert answer.status == 500 and "NeutronError" in answer.json
    check_says_nothing(answer.body)
    failures = [line for line in logs if line["event"] == "request failed"]
    assert len(failures) == 1 and isinstance(failures[0]["exc_info"].__cause__, Oddity)
    monkeypatch.undo()
    assert (await cloud.as_admin.get("/networking/v2.0/networks")).json["networks"] == []
