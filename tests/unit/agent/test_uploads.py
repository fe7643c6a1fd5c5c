"""Images of volumes as an agent makes them, and the link that carries their bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from ostro.agent.drivers.block.fake import FAKE_BYTES
from ostro.agent.http_client import HttpClient
from ostro.agent.link import HttpLink, LinkConfig
from ostro.model.errors import Invalid, NoCapacity, Unavailable
from ostro.model.wishes import Noun, Phase, UploadWish, VolumeWish
from ostro.runtime.world import World
from ostro.testing.host import VOLUME, SimulatedHost

UPLOAD = "0b000000-0000-4000-8000-000000000001"
WISH = UploadWish(UPLOAD, VOLUME, "raw")
REFUSAL = b'{"error": {"code": %d, "title": "No", "message": "because"}}'


async def test_an_image_is_made_once(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 3))
        await host.control.reported(Noun.VOLUME, VOLUME, Phase.READY)
        host.control.wish(Noun.UPLOAD, UPLOAD, WISH)
        report = await host.control.reported(Noun.UPLOAD, UPLOAD, Phase.READY)
        assert report.size_gb == 3 and host.control.uploads.pop(UPLOAD) == FAKE_BYTES
        host.control.wish(Noun.UPLOAD, UPLOAD, WISH)
        await trio.sleep(120)
        assert host.control.uploads == {}
        gone = host.control.wish_absence(Noun.UPLOAD, UPLOAD)
        await host.control.reported(Noun.UPLOAD, UPLOAD, Phase.ABSENT, gone)


async def test_a_volume_that_is_not_there_becomes_no_image(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.control.wish(Noun.UPLOAD, UPLOAD, WISH)
        report = await host.control.reported(Noun.UPLOAD, UPLOAD, Phase.FAILED)
        assert "not there" in report.reason


async def test_it_goes_on_when_the_control_plane_was_away(host: SimulatedHost, clock: MockClock) -> None:
    async with host.agent():
        host.control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 3))
        await host.control.reported(Noun.VOLUME, VOLUME, Phase.READY)
        host.control.wish(Noun.UPLOAD, UPLOAD, WISH)
        host.control.lose_contact()
        await trio.sleep(60)
        assert host.control.uploads == {}
        host.control.away = False
        await host.control.reported(Noun.UPLOAD, UPLOAD, Phase.READY)
        assert host.control.uploads == {UPLOAD: FAKE_BYTES}


async def many(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield bytes(1 << 16)


async def receiver(answer: bytes, read_all: bool, got: list[int], *, task_status: trio.TaskStatus[str]) -> None:
    """Takes one request, all of it or only its beginning, answers, and closes the connection."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            size = 0
            while read_all or not size:
                data = await stream.receive_some(1 << 16)
                size += len(data)
                if data.endswith(b"end"):
                    break
            got.append(size)
            if answer:
                await stream.send_all(answer)
                await stream.send_eof()
                # Who closes while there is something to read takes its answer back.
                while await stream.receive_some(1 << 16):
                    pass

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    await trio.serve_listeners(handle, listeners)


def answering(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def test_a_body_is_sent_as_it_comes(nursery: trio.Nursery) -> None:
    got: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in many(40):
            yield chunk
        yield b"end"

    url = await nursery.start(receiver, answering(200, b"ok"), True, got)
    answer = await HttpClient(url, {"X-Key": "k"}).send("PUT", "/x", (40 << 16) + 3, chunks(), 30)
    assert (answer.status, answer.body) == (200, b"ok") and got[0] > 40 << 16


@pytest.mark.parametrize(
    ("status", "error"),
    [(409, Invalid), (410, Invalid), (415, Invalid), (413, NoCapacity), (404, Unavailable), (503, Unavailable)],
)
async def test_an_answer_may_come_before_the_end(nursery: trio.Nursery, status: int, error: type[Exception]) -> None:
    """Whoever refuses what is sent reads no further, and says why."""
    url = await nursery.start(receiver, answering(status, REFUSAL % status), False, [])
    link = HttpLink(World(), LinkConfig((url,), "one", "key"))
    with pytest.raises(error, match="control plane" if error is Unavailable else "because"):
        await link.send_upload("x", 1 << 40, many(1 << 24))


async def test_a_connection_that_breaks_is_unavailable(nursery: trio.Nursery) -> None:
    url = await nursery.start(receiver, b"", False, [])
    with pytest.raises(Unavailable):
        await HttpClient(url, {}).send("PUT", "/x", 1 << 40, many(1 << 24), 30)


async def test_a_source_that_breaks_off_breaks_the_request_off(nursery: trio.Nursery) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise Invalid("The disk is broken.")

    url = await nursery.start(receiver, b"", True, [])
    with pytest.raises(Invalid):
        await HttpClient(url, {}).send("PUT", "/x", 1 << 20, broken(), 30)


async def test_who_takes_nothing_is_given_up_on(nursery: trio.Nursery) -> None:
    async def sleep(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async def hang(*, task_status: trio.TaskStatus[str]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        await trio.serve_listeners(sleep, listeners)

    url = await nursery.start(hang)
    with pytest.raises(Unavailable):
        await HttpClient(url, {}).send("PUT", "/x", 1 << 40, many(1 << 24), 0.2)
