"""The agent's link against the real agent API on a socket, and against a server that behaves badly."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import pytest
import trio
import trio.testing

from ostro.agent import link as links
from ostro.agent.http_client import HttpClient
from ostro.agent.link import HttpLink, Link
from ostro.http.app import serve
from ostro.model.errors import Invalid, NotFound, Unauthenticated, Unavailable
from ostro.model.registration import Inventory, Registration
from ostro.model.wishes import AskWish, Feed, Noun, Phase, Report
from ostro.runtime.world import World
from ostro.store.hosts import HOSTS
from ostro.store.reports import find_report
from ostro.store.wishes import set_wish, wish_absence
from ostro.testing.cloud import AGENT_KEY, TestCloud
from ostro.testing.control import MemoryControl

REGISTRATION = Registration("host-a", "one", "127.0.0.1", Inventory(4, 8192, 100, "fake", 1, "{}"))
ASK = AskWish("ask-1", "console_log", "server-1")


def open_link(url: str, incarnation: str, key: str = AGENT_KEY) -> AbstractAsyncContextManager[HttpLink]:
    return links.open_(World(random=random.Random(1)), links.LinkConfig((url,), incarnation, key))


class Plane(Protocol):
    """A control plane, the link to it, and ways to change its mind about ASK on the registered host."""

    @property
    def link(self) -> Link: ...

    async def wish(self) -> None: ...

    async def wish_absence(self) -> int: ...

    async def forget_host(self) -> None: ...


@dataclass
class MemoryPlane:
    control: MemoryControl = field(default_factory=MemoryControl)

    @property
    def link(self) -> Link:
        return self.control

    async def wish(self) -> None:
        self.control.wish(Noun.ASK, ASK.id, ASK)

    async def wish_absence(self) -> int:
        return self.control.wish_absence(Noun.ASK, ASK.id)

    async def forget_host(self) -> None:
        self.control.knows_host = False
        self.control.ring()


@dataclass
class HttpPlane:
    cloud: TestCloud
    url: str
    link: HttpLink

    async def host_id(self) -> str:
        host = await self.cloud.db.read(lambda tx: HOSTS.find(tx, name=REGISTRATION.name))
        assert host is not None, "register first"
        return host.id

    async def wish(self) -> None:
        await self.cloud.db.run(set_wish, await self.host_id(), Noun.ASK, ASK.id, ASK)

    async def wish_absence(self) -> int:
        return await self.cloud.db.run(wish_absence, await self.host_id(), Noun.ASK, ASK.id)

    async def forget_host(self) -> None:
        async with open_link(self.url, "two") as other:
            await other.register(Registration("host-a", "two", "127.0.0.1", REGISTRATION.inventory))


@pytest.fixture
async def http_plane(cloud: TestCloud) -> AsyncIterator[HttpPlane]:
    async with trio.open_nursery() as nursery:
        [url] = await nursery.start(serve, cloud.gate, ["127.0.0.1:0"])
        async with open_link(url, "one") as link:
            yield HttpPlane(cloud, url, link)
        nursery.cancel_scope.cancel()


class LinkContract:
    """What both the real link and the control plane in memory do."""

    async def test_the_feed_is_full_at_first_and_then_tells_changes(self, plane: Plane) -> None:
        link = plane.link
        host_id = (await link.register(REGISTRATION)).host_id
        empty = await link.read_wishes(host_id, 0, 0)
        assert (empty.full, empty.wishes) == (True, [])
        again = await link.read_wishes(host_id, empty.revision, 0)
        assert again == Feed(empty.revision, False, [])
        await plane.wish()
        news = await link.read_wishes(host_id, empty.revision, 5)
        assert not news.full and [(wish.noun, wish.id) for wish in news.wishes] == [(Noun.ASK, ASK.id)]
        assert (await link.read_wishes(host_id, 0, 0)).wishes == news.wishes
        assert (await link.read_wishes(host_id, news.revision, 0)).wishes == []

    async def test_a_poll_waits_for_a_change(self, plane: Plane) -> None:
        host_id = (await plane.link.register(REGISTRATION)).host_id
        since = (await plane.link.read_wishes(host_id, 0, 0)).revision
        feeds: list[Feed] = []

        async def poll() -> None:
            feeds.append(await plane.link.read_wishes(host_id, since, 60))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert feeds == []
                await plane.wish()
        assert len(feeds[0].wishes) == 1

    async def test_a_reported_absence_is_forgotten(self, plane: Plane) -> None:
        link = plane.link
        host_id = (await link.register(REGISTRATION)).host_id
        await plane.wish()
        generation = await plane.wish_absence()
        [wish] = (await link.read_wishes(host_id, 0, 0)).wishes
        assert (wish.generation, wish.body) == (generation, None)
        await link.report(host_id, [Report(Noun.ASK, ASK.id, generation, Phase.ABSENT)])
        assert (await link.read_wishes(host_id, 0, 0)).wishes == []

    async def test_an_incarnation_that_was_replaced_is_told_so(self, plane: Plane) -> None:
        host_id = (await plane.link.register(REGISTRATION)).host_id
        await plane.forget_host()
        with pytest.raises(NotFound):
            await plane.link.read_wishes(host_id, 0, 0)
        with pytest.raises(NotFound):
            await plane.link.report(host_id, [])

    async def test_an_image_that_does_not_exist(self, plane: Plane) -> None:
        with pytest.raises(NotFound):
            async with aclosing(plane.link.image("1a000000-0000-4000-8000-000000000001")) as chunks:
                await anext(chunks)


class TestMemoryControl(LinkContract):
    @pytest.fixture
    def plane(self) -> Plane:
        return MemoryPlane()


class TestHttpLink(LinkContract):
    @pytest.fixture
    def plane(self, http_plane: HttpPlane) -> Plane:
        return http_plane


async def test_a_report_is_kept(http_plane: HttpPlane) -> None:
    host_id = (await http_plane.link.register(REGISTRATION)).host_id
    await http_plane.wish()
    [wish] = (await http_plane.link.read_wishes(host_id, 0, 0)).wishes
    await http_plane.link.report(host_id, [Report(Noun.ASK, ASK.id, wish.generation, Phase.READY, answer="42")])
    kept = await http_plane.cloud.db.read(find_report, host_id, Noun.ASK, ASK.id)
    assert kept is not None and kept.answer == "42"


async def test_a_wrong_key_is_told(http_plane: HttpPlane) -> None:
    async with open_link(http_plane.url, "one", "wrong") as other:
        with pytest.raises(Unauthenticated):
            await other.register(REGISTRATION)


OK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def server_saying(answers: list[bytes], *, task_status: trio.TaskStatus[str]) -> None:
    """Gives each connection the next of ``answers`` when it has asked, and closes it. An empty one: without a word."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            answer = answers.pop(0)
            if answer:
                await stream.send_all(answer)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    task_status.started(f"http://127.0.0.1:{port}")
    await trio.serve_listeners(handle, listeners)


async def test_a_connection_closed_while_idle_is_opened_again(nursery: trio.Nursery) -> None:
    url = await nursery.start(partial(server_saying, [OK_ANSWER, OK_ANSWER]))
    client = HttpClient(url, {})
    for _ in range(2):
        assert (await client.exchange("GET", "/")).body == b"ok"
    await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", id="cut off"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="not http"),
    ],
)
async def test_a_broken_answer_is_unavailable(nursery: trio.Nursery, answer: bytes) -> None:
    client = HttpClient(await nursery.start(partial(server_saying, [answer])), {})
    with pytest.raises(Unavailable):
        await client.exchange("GET", "/")


async def test_nobody_listens() -> None:
    with trio.socket.socket() as reserved:
        await reserved.bind(("127.0.0.1", 0))
        client = HttpClient(f"http://127.0.0.1:{reserved.getsockname()[1]}", {})
        with pytest.raises(Unavailable):
            await client.exchange("GET", "/")


async def test_a_cancelled_exchange_leaves_the_client_usable(nursery: trio.Nursery) -> None:
    url = await nursery.start(partial(server_saying, [OK_ANSWER]))
    client = HttpClient(url, {})
    with trio.CancelScope() as scope:
        scope.cancel()
        await client.exchange("GET", "/")
    assert (await client.exchange("GET", "/")).status == 200


async def test_a_refusal_reaches_who_sends_much(http_plane: HttpPlane) -> None:
    """The control plane says no at once, and is heard although it reads no further."""

    async def much() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield bytes(1 << 18)

    await http_plane.link.register(REGISTRATION)
    for _ in range(5):
        with pytest.raises(Invalid, match="Nobody waits"):
            await http_plane.link.send_upload("no-such", 64 << 20, much())
