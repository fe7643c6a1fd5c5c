"""Shedding over HTTP: each service's own refusal, both ways in, and what is never refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ostro.http.app import serve
from ostro.http.shedding import BUSY, TOO_FAST, Buckets, Queue
from ostro.services.identity.passwords import WAITING_MOST, WORKERS
from ostro.testing.cloud import Answer, TestCloud
from ostro.testing.served import PATIENCE_S, Served, head

PATHS = {
    "/identity/v3/projects": {"error": {"code": 429, "message": TOO_FAST, "title": "Too Many Requests"}},
    "/compute/v2.1/servers": {"overLimit": {"code": 429, "message": TOO_FAST}},
    "/volume/v3/volumes": {"overLimit": {"code": 429, "message": TOO_FAST}},
    "/networking/v2.0/networks": {"NeutronError": {"type": "HTTPTooManyRequests", "message": TOO_FAST, "detail": ""}},
}
TOKENS = "/identity/v3/auth/tokens"


@pytest.fixture
async def full(cloud: TestCloud) -> AsyncIterator[TestCloud]:
    """A cloud whose only place is taken, and where nobody may wait."""
    cloud.gate.shedder.queue = Queue(active_most=1, queue_most=0, queue_most_s=60)
    await cloud.gate.shedder.queue.enter("somebody")
    yield cloud


@pytest.mark.parametrize(
    "path", [*PATHS, "/image/v2/images", "/placement/resource_providers", "/object-store/v1/AUTH_x"]
)
async def test_a_project_that_asks_too_often_is_told_so_in_the_services_words(cloud: TestCloud, path: str) -> None:
    cloud.gate.shedder.projects = Buckets(rate_per_s=0.001, burst=1)
    assert (await cloud.as_admin.get("/identity/v3/projects")).status == 200
    refused = await cloud.as_admin.get(path)
    assert refused.status == 429
    assert 900 < int(refused.headers["Retry-After"]) <= 1000
    if path in PATHS:
        error = refused.json
        if "overLimit" in error:
            assert error["overLimit"].pop("retryAfter") == refused.headers["Retry-After"]
        assert error == PATHS[path]
    assert (await cloud.anonymous.get("/identity/v3")).status == 200, "another's"


async def test_hosts_and_health_pass_where_others_wait(full: TestCloud) -> None:
    refused = await full.as_admin.get("/identity/v3/projects")
    assert (refused.status, refused.json["error"]["message"]) == (429, BUSY)
    for path in ("/healthz", "/readyz"):
        assert (await full.anonymous.get(path)).status == 200
    host = {"id": "h", "name": "h", "epoch": 1}
    assert (await full.as_agent.post("/agent/v1/hosts", host)).status != 429
    assert (await full.anonymous.get("/identity/v3")).status == 200, "strangers have their own places"
    full.gate.shedder.queue.leave()
    assert (await full.as_admin.get("/identity/v3/projects")).status == 200
    assert full.gate.shedder.queue.active == 0


async def test_a_refusal_changes_nothing(full: TestCloud) -> None:
    network = {"network": {"name": "n"}}
    assert (await full.as_admin.post("/networking/v2.0/networks", network)).status == 429
    full.gate.shedder.queue.leave()
    assert (await full.as_admin.get("/networking/v2.0/networks")).json["networks"] == []


async def test_both_ways_in_are_bounded(full: TestCloud) -> None:
    async def ask(served: Served, **more: str) -> Answer:
        async with served.connect() as client:
            await client.send(head("GET", "/compute/v2.1/servers", {"X-Auth-Token": full.as_admin.token, **more}))
            return await client.answer()

    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, full.gate, ["127.0.0.1:0"])
        served = Served("127.0.0.1", int(url.rpartition(":")[2]))
        with trio.fail_after(PATIENCE_S):
            plain, by_hypercorn = await ask(served), await ask(served, Upgrade="nothing")
        nursery.cancel_scope.cancel()
    assert plain.status == by_hypercorn.status == 429
    assert plain.body == by_hypercorn.body
    assert plain.headers["Retry-After"] == by_hypercorn.headers["Retry-After"] == "1"


def login(password: str) -> dict[str, object]:
    user = {"name": "admin", "domain": {"id": "default"}, "password": password}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}


async def test_a_flood_of_guesses_does_not_take_all_of_the_machine(cloud: TestCloud) -> None:
    """At most two passwords are hashed at once, few wait, and who has a token or was here before is served meanwhile."""
    pool = cloud.cloud.passwords.pool
    statuses: list[int] = []

    async def guess(name: str) -> None:
        body = login("wrong")
        body["auth"]["identity"]["password"]["user"]["name"] = name  # type: ignore[index]
        statuses.append((await cloud.anonymous.post(TOKENS, body)).status)

    workers = [object() for _ in range(WORKERS)]
    for worker in workers:
        await pool.limiter.acquire_on_behalf_of(worker)
    async with trio.open_nursery() as nursery:
        for number in range(3 * WAITING_MOST):
            nursery.start_soon(guess, f"guest-{number}")
        while pool.waiting < WAITING_MOST or len(statuses) < 2 * WAITING_MOST:
            await wait_all_tasks_blocked(0.001)
        assert statuses == [429] * 2 * WAITING_MOST
        assert (await cloud.as_admin.get("/identity/v3/projects")).status == 200
        assert (await cloud.login("admin", "correct horse", "admin")).token
        for worker in workers:
            pool.limiter.release_on_behalf_of(worker)
    assert sorted(set(statuses)) == [401, 429] and statuses.count(401) == WAITING_MOST


async def test_an_address_that_fails_too_often_may_not_even_try(cloud: TestCloud) -> None:
    cloud.gate.shedder.failures = Buckets(rate_per_s=0.001, burst=2)
    for number in range(2):
        body = login("wrong")
        body["auth"]["identity"]["password"]["user"]["name"] = f"guest-{number}"  # type: ignore[index]
        assert (await cloud.anonymous.post(TOKENS, body)).status == 401
    refused = await cloud.anonymous.post(TOKENS, login("wrong"))
    assert refused.status == 429 and int(refused.headers["Retry-After"]) <= 1000
    assert (await cloud.as_admin.get("/identity/v3/projects")).status == 200, "who has a token never pays"
    assert (await cloud.anonymous.get("/healthz")).status == 200


async def test_a_token_of_ones_own_is_no_leave_to_guess_others_passwords(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue", "member")
    cloud.gate.shedder.failures = Buckets(rate_per_s=0.001, burst=2)
    assert [(await ann.post(TOKENS, login("wrong"))).status for _ in range(3)] == [401, 401, 429]
    change = {"user": {"original_password": "wrong", "password": "another horse"}}
    assert (await ann.post("/identity/v3/users/x/password", change)).status == 429
    assert (await ann.get("/compute/v2.1/servers")).status == 200, "who has a token never pays for anything else"


async def test_who_asks_for_no_project_has_a_rate_too(cloud: TestCloud) -> None:
    user = {"name": "admin", "domain": {"id": "default"}, "password": "correct horse"}
    identity = {"methods": ["password"], "password": {"user": user}}
    unscoped = await cloud.anonymous.post(TOKENS, {"auth": {"identity": identity, "scope": "unscoped"}})
    client = cloud.anonymous.with_headers(**{"X-Auth-Token": unscoped.headers["X-Subject-Token"]})
    cloud.gate.shedder.projects = Buckets(rate_per_s=0.001, burst=1)
    assert [(await client.get("/identity/v3/auth/projects")).status for _ in range(2)] == [200, 429]
