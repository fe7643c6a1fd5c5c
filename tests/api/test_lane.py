"""The express lane: the same answers as by Hypercorn, on connections that go on, and hand over where they must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
import trio

from ostro.http import wire
from ostro.http.app import serve
from ostro.http.faults import identity_shape
from ostro.http.gate import Gate
from ostro.http.lane import Lane
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Service
from ostro.http.schema import ANY_OBJECT
from ostro.http.wire import Wire
from ostro.testing.cloud import Answer, TestCloud
from ostro.testing.served import PATIENCE_S, Served, head, serve_cloud

TOKENS = "/identity/v3/auth/tokens"
VARYING = {"date", "x-openstack-request-id", "x-compute-request-id", "x-trans-id", "connection", "openstack-request-id"}
LARGE_BYTES = 64 << 20
"""More than the kernel holds for a connection."""
PROBES = ("/probe", "/probe/", "/probe/stream", "/probe/sized", "/probe/nothing", "/probe/fault", "/nowhere", "/%C3%A9")


@pytest.fixture
async def served(cloud: TestCloud) -> AsyncIterator[Served]:
    async with serve_cloud(cloud) as running:
        yield running


class Probe:
    """A service whose routes do what the lane must cope with."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.cancelled = trio.Event()
        self.stream_ended = trio.Event()
        self.service = service = Service("probe", ("/probe",), identity_shape)
        public = {"policy": "probe", "rule": Rule.PUBLIC, "summary": "", "response": ANY_OBJECT}

        @service.route("GET", "", **public)  # type: ignore[arg-type]
        async def show(req: Request) -> Reply:
            names = sorted(name for name, _ in req.headers.items() if name.startswith("X-"))
            return Reply(
                {"query": dict(req.query), "names": names, "url": req.url("/x"), "twice": req.headers.getlist("X-A")}
            )

        @service.route("POST", "", body=ANY_OBJECT, **public)  # type: ignore[arg-type]
        async def echo(req: Request) -> Reply:
            return Reply(req.body)

        @service.route("GET", "/stream", **public)  # type: ignore[arg-type]
        async def stream(req: Request) -> Reply:
            return Reply(self._parts(), content_type="text/plain")

        @service.route("GET", "/sized", **public)  # type: ignore[arg-type]
        async def sized(req: Request) -> Reply:
            return Reply(self._parts(), headers=[("Content-Length", "6")], content_type="text/plain")

        @service.route("GET", "/large", **public)  # type: ignore[arg-type]
        async def large(req: Request) -> Reply:
            return Reply(b"x" * LARGE_BYTES, content_type="text/plain")

        @service.route("GET", "/nothing", status=204, **public)  # type: ignore[arg-type]
        async def nothing(req: Request) -> Reply:
            return Reply(None)

        @service.route("GET", "/fault", **public)  # type: ignore[arg-type]
        async def fault(req: Request) -> Reply:
            raise ValueError("nobody foresaw this")

        @service.route("GET", "/split", **public)  # type: ignore[arg-type]
        async def split(req: Request) -> Reply:
            return Reply({}, headers=[("X-Input", "a\r\nX-Forged: b")])

        @service.route("GET", "/wait", waits=True, **public)  # type: ignore[arg-type]
        async def wait(req: Request) -> Reply:
            self.entered.set()
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled.set()

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            for part in (b"ab", b"", b"cdef"):
                yield part
        finally:
            self.stream_ended.set()


@asynccontextmanager
async def serve_probe(cloud: TestCloud, probe: Probe) -> AsyncIterator[Served]:
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, Gate(cloud.cloud, [probe.service]), ["127.0.0.1:0"])
        yield Served("127.0.0.1", int(url.rpartition(":")[2]))
        nursery.cancel_scope.cancel()


async def ask(served: Served, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """One request with these headers on a connection of its own."""
    async with served.connect() as client:
        await client.send(head(method, path, {"X-A": "1", **headers}) + body)
        answer = await client.answer()
        if "close" in headers.get("Connection", ""):
            assert await client.closed()
        return answer


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """What must not depend on the way."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status, {name: value for name, value in headers.items() if name not in VARYING}, answer.body


@pytest.mark.parametrize("path", [*PROBES, "/probe?a=1&b=%20c&b=2&d"])
async def test_a_plain_request_is_answered_as_by_hypercorn(cloud: TestCloud, path: str) -> None:
    async with serve_probe(cloud, Probe()) as served:
        plain = await ask(served, "GET", path, Connection="close")
        # An upgrade that nobody offers is ignored, but it is not plain.
        other = await ask(served, "GET", path, Connection="upgrade, close", Upgrade="nothing")
    assert comparable(plain) == comparable(other)
    assert plain.status == {"/probe/fault": 500, "/nowhere": 404, "/%C3%A9": 404, "/probe/nothing": 204}.get(path, 200)


async def test_a_body_by_either_way(cloud: TestCloud) -> None:
    body = orjson.dumps({"a": "é" * 100_000})
    async with serve_probe(cloud, Probe()) as served:
        plain = await ask(served, "POST", "/probe", body, **{"Content-Length": str(len(body))})
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        other = await ask(served, "POST", "/probe", chunked, **{"Transfer-Encoding": "chunked", "Connection": "close"})
    assert comparable(plain) == comparable(other)
    assert plain.body == body


async def test_a_large_body_that_comes_with_its_head_is_no_reason_to_hand_over(
    cloud: TestCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[Wire] = []

    async def hand_over(self: Lane, wire: Wire) -> None:
        handed_over.append(wire)

    monkeypatch.setattr(Lane, "_hand_over", hand_over)
    body = orjson.dumps({"a": "é" * 50_000})
    async with serve_probe(cloud, Probe()) as served:
        answer = await ask(served, "POST", "/probe", body, **{"Content-Length": str(len(body))})
        assert answer.body == body
        assert not handed_over


async def test_head_has_the_length_and_no_body(cloud: TestCloud) -> None:
    async with serve_probe(cloud, Probe()) as served, served.connect() as client:
        await client.send(head("HEAD", "/probe", {}) + head("GET", "/probe", {"Connection": "close"}))
        received = await client.everything()
    first, _, rest = received.partition(b"\r\n\r\n")
    length = int(first.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert length > 0
    assert rest.startswith(b"HTTP/1.1 200 OK")


async def test_requests_come_one_after_another_and_at_once(cloud: TestCloud) -> None:
    body = b'{"n": 1}'
    post = head("POST", "/probe", {"Content-Length": str(len(body))}) + body
    async with serve_probe(cloud, Probe()) as served, served.connect() as client:
        await client.send(
            post * 3 + head("GET", "/probe/stream", {}) + head("GET", "/probe/nothing", {"Connection": "close"})
        )
        received = await client.everything()
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert received.count(b'{"n":1}') == 3
    assert b"2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n" in received
    assert received.count(b"HTTP/1.1 204 No Content") == 1


async def test_large_bodies_follow_one_another(cloud: TestCloud) -> None:
    """After a large one the server takes a head alone: whole, in parts, larger than it looks at, with more behind it."""
    body = orjson.dumps({"a": "x" * 300_000})
    length = {"Content-Length": str(len(body))}
    short = orjson.dumps({"b": 1})
    first, long = head("POST", "/probe", length), head("POST", "/probe", {**length, "X-Long": "l" * 10_000})
    async with serve_probe(cloud, Probe()) as served, served.connect() as client:

        async def send() -> None:
            for part in (first, body, first[:20], first[20:], body, first + body, long, body):
                await client.send(part)
            await client.send(head("POST", "/probe", {"Content-Length": str(len(short))}) + short)
            await client.send(head("GET", "/probe", {"Connection": "close"}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            received = await client.everything()
    assert received.count(b"HTTP/1.1 200 OK") == 6
    assert received.count(body) == 4
    assert received.count(short) == 1


async def test_a_connection_is_handed_over_with_what_was_read(cloud: TestCloud) -> None:
    chunked = head("POST", "/probe", {"Transfer-Encoding": "chunked", "Connection": "close"})
    async with serve_probe(cloud, Probe()) as served, served.connect() as client:
        await client.send(head("GET", "/probe", {}) + chunked + b'8\r\n{"n": 1}\r\n0\r\n\r\n')
        received = await client.everything()
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.endswith(b'{"n":1}')


@pytest.mark.parametrize(
    "lines",
    [
        [b"GET /probe HTTP/1.1"],
        [b"GET /probe HTTP/1.1", b"Host: a", b"Content-Length: 1", b"Content-Length: 2"],
        [b"POST /probe HTTP/1.1", b"Host: a", b"Content-Length: -1"],
        [b"POST /probe HTTP/1.1", b"Host: a", b"Content-Length: 1_0"],
        [b"GET /pro be HTTP/1.1", b"Host: a"],
        [b"GET /probe HTTP/1.1", b"Host: a", b"Na me: x"],
        [b"POST /probe HTTP/1.1", b"Host: a", b"Content-Length: 4", b"Transfer-Encoding: chunked, identity"],
    ],
)
async def test_what_is_malformed_is_refused_and_ends_the_connection(cloud: TestCloud, lines: list[bytes]) -> None:
    async with serve_probe(cloud, Probe()) as served, served.connect() as client:
        await client.send(b"\r\n".join(lines) + b"\r\n\r\n")
        answer = await client.answer()
    assert 400 <= answer.status < 600, answer


async def test_a_handler_that_waits_ends_when_its_client_goes(cloud: TestCloud) -> None:
    probe = Probe()
    async with serve_probe(cloud, probe) as served:
        async with served.connect() as client:
            await client.send(head("GET", "/probe/wait", {}))
            await probe.entered.wait()
            assert not probe.cancelled.is_set()
        with trio.fail_after(PATIENCE_S):
            await probe.cancelled.wait()


async def test_a_large_answer_is_read_slowly_or_given_up(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve_probe(cloud, Probe()) as served:
        assert len((await ask(served, "GET", "/probe/large", Connection="close")).body) == LARGE_BYTES
        monkeypatch.setattr(wire, "PIECE_MOST_S", 0.0)
        async with serve_probe(cloud, Probe()) as hasty, hasty.connect() as client:
            await client.send(head("GET", "/probe/large", {}))
            assert len(await client.everything()) < LARGE_BYTES


async def test_a_stream_ends_with_its_answer(cloud: TestCloud) -> None:
    probe = Probe()
    async with serve_probe(cloud, probe) as served:
        async with served.connect() as client:
            await client.send(head("HEAD", "/probe/stream", {"Connection": "close"}))
            assert (await client.everything()).endswith(b"\r\n\r\n")
        assert not probe.stream_ended.is_set()
        answer = await ask(served, "GET", "/probe/stream", Connection="close")
        with trio.fail_after(PATIENCE_S):
            await probe.stream_ended.wait()
    assert answer.body == b"abcdef"


async def test_a_header_with_a_line_break_forges_nothing(cloud: TestCloud) -> None:
    async with serve_probe(cloud, Probe()) as served, served.connect() as client:
        await client.send(head("GET", "/probe/split", {}))
        received = await client.everything()
    assert b"X-Forged" not in received


async def test_a_token_and_a_page_on_one_connection(cloud: TestCloud, served: Served) -> None:
    headers = {"X-Auth-Token": cloud.as_admin.token, "X-Subject-Token": cloud.as_admin.token}
    async with served.connect() as client:
        await client.send(
            head("GET", TOKENS, headers) + head("GET", "/networking/v2.0/networks", {**headers, "Connection": "close"})
        )
        received = await client.everything()
    assert received.count(b"HTTP/1.1 200 OK") == 2
