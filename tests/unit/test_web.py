"""Calls to other people's web servers: whole, bounded, and only to whom they are meant."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from ostro.model.errors import Unavailable
from ostro.runtime import web
from ostro.runtime.web import Web
from ostro.testing.certificates import make_certificate

Server = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port of localhost."""

    async def answer(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True) if context else stream
        try:
            await handler(secured)
            await secured.aclose()
        except (trio.BrokenResourceError, ssl.SSLError):
            return

    async with trio.open_nursery() as nursery:
        (listener, *_more) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="localhost"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def saying(text: str, got: list[bytes] | None = None) -> Server:
    async def handler(stream: trio.abc.Stream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        if got is not None:
            got.append(data)
        await stream.send_all(text.encode())

    return handler


OK = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'


async def test_a_call() -> None:
    got: list[bytes] = []
    async with serving(saying(OK, got)) as port:
        answer = await Web().call("POST", f"http://localhost:{port}/x?y=1", form={"b": "c d"})
    assert (answer.status, answer.json) == (200, {"a": 1})
    assert got[0].startswith(b"POST /x?y=1 HTTP/1.1\r\n") and b"Content-Length: 5" in got[0]


async def test_redirects_are_not_followed() -> None:
    text = "HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n"
    async with serving(saying(text)) as port:
        assert (await Web().call("GET", f"http://localhost:{port}/")).status == 302


async def test_tls_minds_whose_certificate_it_is(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with serving(saying(OK), context) as port:
        caller = Web()
        answer = await caller.call("GET", f"https://localhost:{port}/", ca_file=str(certificate))
        assert answer.json == {"a": 1}
        with pytest.raises(Unavailable):
            await caller.call("GET", f"https://localhost:{port}/")
        with pytest.raises(Unavailable):
            await caller.call("GET", f"https://127.0.0.1:{port}/", ca_file=str(certificate))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "",
        "HTTP/1.1 200 OK\r\nA" + "a" * 200_000,
    ],
)
async def test_what_is_no_answer(text: str) -> None:
    async with serving(saying(text)) as port:
        with pytest.raises(Unavailable):
            await Web().call("GET", f"http://localhost:{port}/")


async def test_an_endless_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ANSWER_MOST_BYTES", 1000)
    async with serving(saying("HTTP/1.1 200 OK\r\n\r\n" + "x" * 5000)) as port:
        with pytest.raises(Unavailable):
            await Web().call("GET", f"http://localhost:{port}/")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "file:///etc/passwd", "gopher://x/", "http://[", ""])
async def test_nobody_is_there(url: str) -> None:
    with pytest.raises(Unavailable):
        await Web().call("GET", url)


async def test_one_that_hangs_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "AT_ONCE", 1)

    async def hang(stream: trio.abc.Stream) -> None:
        hanging.set()
        await trio.sleep_forever()

    hanging = trio.Event()
    async with serving(hang) as dead, serving(saying(OK)) as alive, trio.open_nursery() as nursery:
        caller = Web()
        nursery.start_soon(caller.call, "GET", f"http://localhost:{dead}/")
        await hanging.wait()
        assert (await caller.call("GET", f"http://localhost:{alive}/")).status == 200
        nursery.cancel_scope.cancel()
    monkeypatch.setattr(web, "DEADLINE_S", 0.1)
    async with serving(hang) as dead:
        with pytest.raises(Unavailable, match="does not answer"):
            await caller.call("GET", f"http://localhost:{dead}/")
