"""What ends a watch besides its client: the token's natural end, its revocation, and whatever takes from its owner the right to look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from werkzeug.datastructures import Headers, MultiDict

from ostro.http import watch
from ostro.http.shedding import TOO_MANY_WAITING, Places
from ostro.services.identity.tokens import LIFETIME_US
from ostro.store.servers import SERVERS
from ostro.testing.clock import VirtualClock
from ostro.testing.cloud import ApiClient, TestCloud, open_cloud
from ostro.testing.served import PATIENCE_S, RawClient, Served, head, serve_cloud
from ostro.testing.servers import put_server

V3 = "/identity/v3"
SERVERS_PATH = "/compute/v2.1/servers"
LIFETIME_S = LIFETIME_US / 1e6
UNAUTHENTICATED = {"code": 401, "message": "The request you have made requires authentication."}


class NoSocket:
    """A request that no socket has brought: a watch of servers from now on."""

    method, scheme, host, path, bodiless = "GET", "http", "test", SERVERS_PATH, True
    raw_path, query_string, content_length, mimetype, remote_addr = SERVERS_PATH.encode(), b"watch=", None, "", "::1"

    def __init__(self, token: str) -> None:
        self.headers = Headers({"X-Auth-Token": token})
        self.args = MultiDict({"watch": ""})
        self.body = self._nothing()

    async def _nothing(self) -> AsyncIterator[bytes]:
        return
        yield b""


async def test_the_natural_end_of_a_token_ends_a_watch(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the second, in virtual time, though nothing happens and no heartbeat is due; and the client is told why."""
    monkeypatch.setattr(watch, "HEARTBEAT_S", 10 * LIFETIME_S)
    async with open_cloud(tmp_path, clock=VirtualClock(mock_clock)) as cloud:
        ann = await cloud.add_user("ann", "p1")
        answer = await cloud.gate.answer(NoSocket(ann.token), cloud.gate.find(SERVERS_PATH))  # type: ignore[arg-type]
        heard: list[bytes] = []
        over = trio.Event()

        async def listen() -> None:
            async for part in answer.body:  # type: ignore[union-attr]
                heard.append(part)
            over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            while len(heard) < 2:
                await wait_all_tasks_blocked()
            mock_clock.jump(LIFETIME_S - 1)
            await wait_all_tasks_blocked()
            assert not over.is_set() and not any(b"event:" in part for part in heard)
            mock_clock.jump(1.001)
            await over.wait()
        assert heard[-1].startswith(b"event: end\ndata: ")
        assert orjson.loads(heard[-1].split(b"data: ")[1]) == UNAUTHENTICATED
        assert cloud.gate.shedder.patient.active == 0, "its place is free again"
        assert (await ann.get(SERVERS_PATH)).status == 401


@pytest.fixture
async def served(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(watch, "RECHECK_S", 0.05)
    async with serve_cloud(cloud) as running:
        yield running


async def begin(client: ApiClient, raw: RawClient) -> None:
    """A watch on this connection."""
    headers = {"X-Auth-Token": client.token}
    await raw.send(head("GET", f"{SERVERS_PATH}?watch=", headers))
    for _ in range(2):
        assert await raw.event() is not None


async def _ids(cloud: TestCloud, ann: ApiClient) -> tuple[str, str]:
    actor = await cloud.cloud.tokens.validate(ann.token)
    return actor.user_id, actor.project_id


async def revoke(cloud: TestCloud, ann: ApiClient) -> None:
    gone = await cloud.as_admin.delete(f"{V3}/auth/tokens", headers={"X-Subject-Token": ann.token})
    assert gone.status == 204


async def disable_user(cloud: TestCloud, ann: ApiClient) -> None:
    user, _ = await _ids(cloud, ann)
    assert (await cloud.as_admin.patch(f"{V3}/users/{user}", {"user": {"enabled": False}})).status == 200


async def disable_project(cloud: TestCloud, ann: ApiClient) -> None:
    _, project = await _ids(cloud, ann)
    assert (await cloud.as_admin.patch(f"{V3}/projects/{project}", {"project": {"enabled": False}})).status == 200


async def take_role(cloud: TestCloud, ann: ApiClient) -> None:
    user, project = await _ids(cloud, ann)
    (role,) = (await cloud.as_admin.get(f"{V3}/roles?name=member")).json["roles"]
    path = f"{V3}/projects/{project}/users/{user}/roles/{role['id']}"
    assert (await cloud.as_admin.delete(path)).status == 204


async def change_password(cloud: TestCloud, ann: ApiClient) -> None:
    user, _ = await _ids(cloud, ann)
    assert (await cloud.as_admin.patch(f"{V3}/users/{user}", {"user": {"password": "another"}})).status == 200


@pytest.mark.parametrize("end", [revoke, disable_user, disable_project, take_role, change_password])
async def test_who_may_no_longer_look_is_told_so(
    cloud: TestCloud, served: Served, end: Callable[[TestCloud, ApiClient], Awaitable[None]]
) -> None:
    ann, bob = await cloud.add_user("ann", "p1"), await cloud.add_user("bob", "p2")
    async with served.connect() as raw, served.connect() as other:
        await begin(ann, raw)
        await begin(bob, other)
        await end(cloud, ann)
        (event,) = await raw.events(1)
        assert (event.name, event.data) == ("end", UNAUTHENTICATED)
        assert await raw.event() is None
        _, project = await _ids(cloud, bob)
        await cloud.db.run(put_server, id="s", project_id=project)
        assert [event.name for event in await other.events(1)] == ["changed"], "nobody else's"
        await cloud.db.run(lambda tx: SERVERS.delete(tx, "s"))


async def test_a_project_cant_take_every_place(cloud: TestCloud, served: Served) -> None:
    """Nor one that waits: the others' watches and waits go on. A place is free again when its watch has ended."""
    cloud.gate.shedder.patient = Places(active_most=3, each_most=2)
    ann, bob = await cloud.add_user("ann", "p1"), await cloud.add_user("bob", "p2")
    async with served.connect() as first, served.connect() as second, served.connect() as third:
        await begin(ann, first)
        await begin(ann, second)
        for more in ({"path": f"{SERVERS_PATH}?watch="}, {"path": SERVERS_PATH, "headers": {"Prefer": "wait=1"}}):
            refused = await ann.get(**more)
            assert refused.status == 429 and int(refused.headers["Retry-After"]) > 0
            assert refused.json["overLimit"]["message"] == TOO_MANY_WAITING
        assert (await ann.get(SERVERS_PATH)).status == 200, "what doesn't wait has other places"
        await begin(bob, third)
        assert (await bob.get(f"{SERVERS_PATH}?watch=")).status == 429, "the process has no more"
    with trio.fail_after(PATIENCE_S):
        while cloud.gate.shedder.patient.active:
            await trio.lowlevel.checkpoint()
    async with served.connect() as again:
        await begin(ann, again)


async def test_a_watch_that_is_refused_holds_no_place(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.get(f"{SERVERS_PATH}?watch=x")).status == 400
    assert (await cloud.as_admin.get(f"{SERVERS_PATH}?watch=999999999999999999")).status == 410
    assert (await cloud.as_admin.get(f"{SERVERS_PATH}/none?watch=")).status == 404
    assert cloud.gate.shedder.patient.active == 0
