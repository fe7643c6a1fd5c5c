"""What supervisors ask."""

from __future__ import annotations

import msgspec
import pytest

from ostro.model.wishes import Noun
from ostro.store.hosts import HOSTS
from ostro.store.wishes import list_wished
from ostro.testing.cloud import TestCloud
from ostro.testing.hosts import add_host


@pytest.mark.parametrize(("path", "status"), [("/healthz", "alive"), ("/readyz", "ready")])
async def test_health_needs_no_token(cloud: TestCloud, path: str, status: str) -> None:
    answer = await cloud.anonymous.get(path)
    assert answer.status == 200
    assert answer.json == {"status": status}


async def test_root_says_where_the_apis_are(cloud: TestCloud) -> None:
    apis = {api["type"]: api["url"] for api in (await cloud.anonymous.get("/")).json["apis"]}
    assert apis["identity"].endswith("/identity")
    assert apis["object-store"].endswith("/object-store/v1")


def figures(page: bytes) -> dict[str, float]:
    """Series -> value, of Prometheus's text form."""
    lines = [line for line in page.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_not_ready_says_why(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    await cloud.db.run(lambda tx: tx.execute("DELETE FROM schema_migrations WHERE name = '0001_core'"))
    monkeypatch.setattr(cloud.cloud.tokens, "_signers", [])
    answer = await cloud.anonymous.get("/readyz")
    assert answer.status == 503
    assert answer.json["error"]["message"] == ("Migration 0001_core is not applied. The keys of tokens are not loaded.")
    assert answer.headers["Retry-After"] == "1"


async def test_metrics_name_routes_loops_pools_and_queues(cloud: TestCloud) -> None:
    before = figures((await cloud.anonymous.get("/metrics")).body)
    for number in range(3):
        assert (await cloud.as_admin.get(f"/compute/v2.1/servers/{number}")).status == 404
    assert (await cloud.as_admin.patch("/compute/v2.1/servers/1")).status == 405
    answer = await cloud.anonymous.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    now = figures(answer.body)
    labels = {name for name in now if name.startswith("ostro_http_request_seconds_count")}
    assert any("/servers/{" in name for name in labels), labels
    assert not any("/servers/1" in name for name in now), "no path of a client is a label"
    assert not any("PATCH" in name for name in labels) and any('method="other"' in name for name in labels)
    name = 'ostro_http_answers_total{service="compute",status="404"}'
    assert now[name] - before.get(name, 0) == 3
    for series in (
        'ostro_http_active{of="queue"}',
        'ostro_http_waiting{of="strangers"}',
        'ostro_http_refused_total{of="patient"}',
        'ostro_pool_size{of="argon2"}',
        "ostro_database_retries_total",
        'ostro_doorbell_rings_total{of="doorbell"}',
        'ostro_loop_runs_total{loop="sagas"}',
    ):
        assert series in now, series
    for loop in ("sagas", "audit", "changes"):
        for figure in ("pending", "oldest_seconds", "errors_total"):
            assert f'ostro_loop_{figure}{{loop="{loop}"}}' in now


async def test_metrics_are_not_for_everybody(cloud: TestCloud) -> None:
    far = cloud.anonymous.with_headers(X_Forwarded_For="192.0.2.7")
    assert (await far.get("/metrics")).status == 401
    object.__setattr__(cloud.cloud, "shedding", msgspec.structs.replace(cloud.cloud.shedding, metrics_key="s3cret"))
    assert (await far.with_headers(Authorization="Bearer wrong").get("/metrics")).status == 401
    assert (await far.with_headers(Authorization="Bearer s3cret").get("/metrics")).status == 200
    assert (await cloud.as_admin.with_headers(X_Forwarded_For="192.0.2.7").get("/metrics")).status == 200
    ann = await cloud.add_user("ann", "blue")
    assert (await ann.with_headers(X_Forwarded_For="192.0.2.7").get("/metrics")).status == 401


async def test_the_number_of_series_is_bounded(cloud: TestCloud) -> None:
    """Whatever clients send: routes are templates, methods those that we know."""

    async def series() -> int:
        return len(figures((await cloud.anonymous.get("/metrics")).body))

    for method in ("GET", "COPY"):
        await cloud.anonymous.request(method, "/identity/v3/users/x")
    await series()
    few = await series()
    for number in range(50):
        await cloud.anonymous.request(f"M{number}", f"/identity/v3/users/{number}")
        await cloud.anonymous.get(f"/nowhere/{number}")
    assert await series() == few


async def test_a_wish_bears_the_request_that_it_comes_from(cloud: TestCloud) -> None:
    await add_host(cloud)
    made = await cloud.as_admin.post("/volume/v3/volumes", {"volume": {"size": 1}})
    (host,) = await cloud.db.read(lambda tx: HOSTS.list(tx))
    wishes = await cloud.db.read(list_wished, host.id, [Noun.VOLUME])
    assert [wish.request_id for wish in wishes] == [made.headers["x-openstack-request-id"]]
    fed = await cloud.as_agent.with_headers(X_Agent_Incarnation=host.incarnation, X_Agent_Epoch=str(host.epoch)).get(
        f"/agent/v1/hosts/{host.id}/wishes?since=0"
    )
    (wish,) = [wish for wish in fed.json["wishes"] if wish["noun"] == "volume"]
    assert wish["request_id"] == made.headers["x-openstack-request-id"]
