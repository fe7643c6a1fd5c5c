"""Shedding over HTTP: each service's own refusal, both ways in, and what is never refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ostro.http.app import serve
from ostro.http.shedding import TOO_FAST, Buckets, Queue
from ostro.http.turns import BUSY, ROUND_MOST, Turns
from ostro.services.identity.passwords import WAITING_MOST, WORKERS
from ostro.store.postgres import READS_MOST
from ostro.testing.cloud import Answer, TestCloud
from ostro.testing.served import PATIENCE_S, Served, head, serve_cloud

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


@pytest.mark.parametrize(
    "path", [*PATHS, "/image/v2/images", "/placement/resource_providers", "/object-store/v1/AUTH_x"]
)
async def test_beyond_the_bound_nothing_of_a_request_is_looked_at(cloud: TestCloud, path: str) -> None:
    """Not even its token; and the refusal has the service's own shape."""
    cloud.gate.shedder.turns = Turns(waiting_most=0, waiting_most_s=10, round_most=0)
    for client in (cloud.as_admin, cloud.anonymous.with_headers(**{"X-Auth-Token": "nonsense"}), cloud.anonymous):
        refused = await client.get(path)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        if path in PATHS:
            error = refused.json
            if "overLimit" in error:
                assert error["overLimit"].pop("retryAfter") == "1"
            assert error == json.loads(json.dumps(PATHS[path]).replace(TOO_FAST, BUSY))
    for own in ("/healthz", "/readyz"):
        assert (await cloud.anonymous.get(own)).status == 200
    host = {"id": "h", "name": "h", "epoch": 1}
    assert (await cloud.as_agent.post("/agent/v1/hosts", host)).status != 429


async def test_the_body_of_what_is_refused_is_not_looked_at(full: TestCloud) -> None:
    async with serve_cloud(full) as served:
        refused = await served.call("POST", "/networking/v2.0/networks", full.as_admin.token, b"no JSON")
        assert refused.status == 429
        full.gate.shedder.queue.leave()
        assert (await served.call("POST", "/networking/v2.0/networks", full.as_admin.token, b"no JSON")).status == 400
    assert full.gate.shedder.queue.refused == 1


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


class Watched(Queue):
    """Notes how many have held places at once."""

    most = 0

    async def enter(self, key: str) -> bool:
        waited = await super().enter(key)
        self.most = max(self.most, self.active)
        return waited


async def test_however_many_ask_hardly_any_is_under_way(cloud: TestCloud) -> None:
    """Reads of SQLite that have begun end in the next rounds, and on PostgreSQL no more begin than there is room for in the database, so that a crowd costs
    what each of it would cost alone. All are answered."""
    shedder = cloud.gate.shedder
    shedder.queue = queue = Watched(active_most=1000, queue_most=1024, queue_most_s=60)
    statuses: list[int] = []

    async def client(served: Served) -> None:
        for _ in range(3):
            statuses.append((await served.call("GET", "/networking/v2.0/networks", cloud.as_admin.token)).status)

    async with serve_cloud(cloud) as served, trio.open_nursery() as nursery:
        for _ in range(10 * ROUND_MOST):
            nursery.start_soon(client, served)
    assert statuses == [200] * 30 * ROUND_MOST
    most = 3 * ROUND_MOST if cloud.cloud.db.room is None else 3 * READS_MOST
    assert queue.most <= most
    assert shedder.turns.waiting == queue.active == queue.waiting == 0


async def test_what_nobody_waits_for_any_more_is_not_begun(cloud: TestCloud) -> None:
    """Else a crowd that has given up would keep those waiting who have not."""
    cloud.gate.shedder.queue = queue = Queue(active_most=1, queue_most=10, queue_most_s=60)
    body = b'{"network": {"name": "%b"}}'
    async with serve_cloud(cloud) as served:

        async def post(name: bytes) -> trio.SocketStream:
            stream = await trio.open_tcp_stream(served.host, served.port)
            text = body % name
            headers = {"X-Auth-Token": cloud.as_admin.token, "Content-Length": str(len(text)), "Connection": "close"}
            await stream.send_all(head("POST", "/networking/v2.0/networks", headers) + text)
            return stream

        await queue.enter("somebody")
        gone, there = await post(b"gone"), await post(b"there")
        with trio.fail_after(PATIENCE_S):
            while queue.waiting < 2:
                await trio.lowlevel.checkpoint()
            await gone.aclose()
            queue.leave()
            assert b"201" in await there.receive_some(1000)
        await there.aclose()
    networks = (await cloud.as_admin.get("/networking/v2.0/networks")).json["networks"]
    assert [network["name"] for network in networks] == ["there"]
    assert queue.active == queue.waiting == 0


async def test_slow_clients_hold_nothing(cloud: TestCloud) -> None:
    """Not while their heads come, nor while their bodies do, nor while they don't take their answers."""
    cloud.gate.shedder.queue = Queue(active_most=1, queue_most=0, queue_most_s=60)
    cloud.gate.shedder.turns = Turns(waiting_most=1, waiting_most_s=60, round_most=1)
    token = {"X-Auth-Token": cloud.as_admin.token}
    whole = head("GET", "/networking/v2.0/networks", token)
    beginnings = (
        whole[:-3],
        head("POST", "/networking/v2.0/networks", {**token, "Content-Length": "1000"}) + b'{"network": ',
        head("PUT", "/image/v2/images/none/file", {**token, "Content-Length": "1000"}) + b"x",
        whole,
    )
    async with serve_cloud(cloud) as served, AsyncExitStack() as stack:
        for beginning in beginnings * 2:
            slow = await stack.enter_async_context(served.connect())
            await slow.send(beginning)
            await wait_all_tasks_blocked(0.001)
        with trio.fail_after(PATIENCE_S):
            while cloud.gate.shedder.queue.active:  # A worker may still read for one that is whole.
                await trio.lowlevel.checkpoint()
        for _ in range(5):
            answer = await served.call("GET", "/networking/v2.0/networks", cloud.as_admin.token)
            assert answer.status == 200


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
