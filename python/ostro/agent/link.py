"""The link to the control plane: registration, the change feed, reports and image bytes, over HTTP.

The feed, the reports and the images use a connection each, so that a long poll or a download doesn't hold up a report. Every
request may be repeated: reports carry generations, and the feed is asked for by revision.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import trio

from ostro.agent.http_client import Answer, HttpClient
from ostro.model.errors import Invalid, NoCapacity, NotFound, Unauthenticated, Unavailable
from ostro.model.registration import Registered, Registration
from ostro.model.wishes import Feed, Noun, Report, Wish
from ostro.runtime.certificates import CONTROLLER_NAME
from ostro.runtime.world import World

T = TypeVar("T")

REPORT_DEADLINE_S = 30.0
ANSWER_GRACE_S = 15.0
"""How much longer than asked a long poll may take before the control plane counts as hung."""

IMAGE_CHUNK_DEADLINE_S = 60.0
SEND_DEADLINE_S = 660.0
"""Longer than the control plane takes to flush what it was sent."""
PREFIX = "/agent/v1"
FEED, REPORTS = "feed", "reports"
"""The lines: a long poll must not hold up a report."""


class _Renewed(msgspec.Struct, frozen=True):
    """A renewed certificate as it is decoded."""

    certificate: str


class _WireWish(msgspec.Struct, frozen=True):
    """A Wish as it is decoded: msgspec can't decode ``Raw | None``, and shows null as a Raw."""

    noun: Noun
    id: str
    generation: int
    body: msgspec.Raw
    request_id: str = ""


class _WireFeed(msgspec.Struct, frozen=True):
    """A Feed as it is decoded."""

    revision: int
    full: bool
    wishes: list[_WireWish]


class _Reason(msgspec.Struct, frozen=True):
    """Why, as an error's body says it."""

    message: str


class _Refusal(msgspec.Struct, frozen=True):
    """An error's body."""

    error: _Reason


class _VolumeKey(msgspec.Struct, frozen=True):
    """The answer to the question for a volume's key."""

    passphrase: str


class Link(Protocol):
    """What an agent asks of the control plane. All methods raise Unavailable while it can't be reached, Unauthenticated when it
    doesn't take the key, and all but `register` NotFound when it doesn't know the host, or this incarnation of it."""

    async def register(self, registration: Registration) -> Registered:
        """Say who this host is."""
        ...

    async def read_wishes(self, host_id: str, since: int, wait_s: int) -> Feed:
        """What changed after revision ``since`` (0: everything), waiting up to ``wait_s`` for something to have."""
        ...

    async def report(self, host_id: str, reports: Sequence[Report]) -> None:
        """Tell what was found. Returns when it has been kept. Raises Invalid for what will never be taken."""
        ...

    def image(self, image_id: str) -> AsyncGenerator[bytes, None]:
        """The image's bytes. Nothing is asked before the first chunk is; breaks off with an error, never silently."""
        ...

    async def send_upload(self, upload_id: str, size_bytes: int, chunks: AsyncIterable[bytes]) -> None:
        """Send the bytes of an image that is made of a volume. Returns when the image has them. Raises Invalid when it never will, NoCapacity
        when there is no room for them."""
        ...

    async def volume_key(self, volume_id: str) -> str:
        """What opens an encrypted volume. Raises Unavailable also while the volume isn't for this host, NotFound when it isn't encrypted."""
        ...


class Client(Protocol):
    """What a link asks of an HTTP client; see `HttpClient`."""

    async def close(self) -> None: ...

    async def exchange(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer: ...

    async def send(
        self, method: str, path: str, size_bytes: int, chunks: AsyncIterable[bytes], deadline_s: float
    ) -> Answer: ...

    def stream(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]: ...


Connect = Callable[[str, Mapping[str, str]], Client]
"""Makes a client of a base URL that sends these headers."""


@dataclass(frozen=True)
class LinkConfig:
    """Where the control plane answers (``urls``, endpoints without path) and how this host shows who it is: by a key, or by the certificate in ``tls``."""

    urls: tuple[str, ...]
    incarnation: str
    agent_key: str = ""
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context


class HttpLink:
    """The real link. Each of its connections goes on to the next controller when the one that it talks to doesn't answer, or not well."""

    def __init__(self, world: World, config: LinkConfig, connect: Connect | None = None) -> None:
        server_name = "" if config.agent_key else CONTROLLER_NAME
        self._connect = connect or partial(HttpClient, tls=config.tls, server_name=server_name)
        self._urls = list(config.urls)
        # Not all hosts shall begin with the same one.
        world.random.shuffle(self._urls)
        self._headers = {"X-Agent-Incarnation": config.incarnation, "Accept": "application/json"}
        if config.agent_key:
            self._headers["X-Agent-Key"] = config.agent_key
        self._host_id = ""
        self._clients: dict[str, tuple[str, Client]] = {}
        self._outdated: set[str] = set()
        """Lines whose connections began with a certificate that has been renewed since."""

    @property
    def urls(self) -> list[str]:
        """Where this host knows that the control plane answers."""
        return list(self._urls)

    async def close(self) -> None:
        """Close the connections."""
        for _url, client in self._clients.values():
            await client.close()

    async def register(self, registration: Registration) -> Registered:
        async with self._asking(FEED, REPORT_DEADLINE_S) as client:
            answer = await client.exchange("POST", "/hosts", msgspec.json.encode(registration))
            registered = _decode(answer, Registered)
        self._headers["X-Agent-Epoch"] = str(registered.epoch)
        self._host_id = registered.host_id
        self._urls += [url for url in registered.urls if url not in self._urls]
        return registered

    async def read_wishes(self, host_id: str, since: int, wait_s: int) -> Feed:
        async with self._asking(FEED, wait_s + ANSWER_GRACE_S) as client:
            answer = await client.exchange("GET", f"/hosts/{host_id}/wishes?since={since}&wait_s={wait_s}")
            wire = _decode(answer, _WireFeed)
        wishes = [
            Wish(w.noun, w.id, w.generation, None if bytes(w.body) == b"null" else w.body, w.request_id)
            for w in wire.wishes
        ]
        return Feed(wire.revision, wire.full, wishes)

    async def report(self, host_id: str, reports: Sequence[Report]) -> None:
        body = msgspec.json.encode({"reports": reports})
        async with self._asking(REPORTS, REPORT_DEADLINE_S) as client:
            answer = await client.exchange("POST", f"/hosts/{host_id}/reports", body)
            if answer.status in (400, 413):
                raise Invalid(
                    "The control plane can't take these reports.", detail=answer.body[:500].decode(errors="replace")
                )
            _check(answer)

    async def renew(self, request_pem: str) -> str:
        """A new certificate for this host. Later exchanges are by connections that begin with what the host shows then."""
        client = self._client()
        try:
            with _deadline(REPORT_DEADLINE_S):
                answer = await client.exchange("POST", "/certificate", msgspec.json.encode({"request": request_pem}))
            renewed = _decode(answer, _Renewed).certificate
        finally:
            await client.close()
        self._outdated.update(self._clients)
        return renewed

    async def volume_key(self, volume_id: str) -> str:
        client = self._client()
        try:
            with _deadline(REPORT_DEADLINE_S):
                answer = await client.exchange("GET", f"/hosts/{self._host_id}/volumes/{volume_id}/key")
        finally:
            with trio.CancelScope(shield=True):
                await client.close()
        return _decode(answer, _VolumeKey).passphrase

    async def send_upload(self, upload_id: str, size_bytes: int, chunks: AsyncIterable[bytes]) -> None:
        client = self._client()
        try:
            path = f"/hosts/{self._host_id}/uploads/{upload_id}/data"
            answer = await client.send("PUT", path, size_bytes, chunks, SEND_DEADLINE_S)
        finally:
            with trio.CancelScope(shield=True):
                await client.close()
        if answer.status == 413:
            raise NoCapacity(f"The image service has no room for the image: {_words(answer)}")
        if answer.status in (400, 409, 410, 415):
            raise Invalid(f"The image service does not take the image: {_words(answer)}")
        if answer.status == 404:
            raise Unavailable("The control plane does not know this host now.")
        _check(answer)

    async def image(self, image_id: str) -> AsyncGenerator[bytes, None]:
        client = self._client()
        try:
            async with client.stream("GET", f"/images/{image_id}/data") as (status, chunks):
                if status != 200:
                    _check(Answer(status, b"".join([chunk async for chunk in chunks])))
                iterator = aiter(chunks)
                while True:
                    with _deadline(IMAGE_CHUNK_DEADLINE_S):
                        try:
                            chunk = await anext(iterator)
                        except StopAsyncIteration:
                            return
                    yield chunk
        finally:
            with trio.CancelScope(shield=True):
                await client.close()

    def _client(self) -> Client:
        return self._connect(self._urls[0] + PREFIX, self._headers)

    @asynccontextmanager
    async def _asking(self, line: str, timeout_s: float) -> AsyncIterator[Client]:
        """The client of one of the two lines. Where it gets no good answer, that line's next exchange is with the next controller."""
        if line in self._outdated:
            self._outdated.discard(line)
            await self._drop(line)
        if line not in self._clients:
            self._clients[line] = (self._urls[0], self._client())
        url, client = self._clients[line]
        try:
            with _deadline(timeout_s):
                yield client
        except Unauthenticated:
            # A connection stays that of the certificate that it began with.
            await self._drop(line)
            raise
        except Unavailable:
            await self._drop(line)
            if self._urls[0] == url:
                self._urls.append(self._urls.pop(0))
            raise

    async def _drop(self, line: str) -> None:
        """Close a line's connection; its next exchange makes another."""
        _url, client = self._clients.pop(line)
        await client.close()


@asynccontextmanager
async def open_(world: World, config: LinkConfig) -> AsyncIterator[HttpLink]:
    """A link that is closed when the block ends. Connects when first used."""
    link = HttpLink(world, config)
    try:
        yield link
    finally:
        await link.close()


def _decode(answer: Answer, type_: type[T]) -> T:
    _check(answer)
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except msgspec.MsgspecError as error:
        raise Unavailable("The control plane's answer can't be read.", detail=str(error)) from error


def _words(answer: Answer) -> str:
    """What an answer says of why not."""
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(answer.body, type=_Refusal).error.message
    return f"status {answer.status}"


def _check(answer: Answer) -> None:
    """Raise what the status means for an agent."""
    if answer.status < 300:
        return
    detail = answer.body[:500].decode(errors="replace")
    match answer.status:
        case 401 | 403:
            raise Unauthenticated("The control plane does not take this agent's key.", detail=detail)
        case 404:
            raise NotFound("host", "", "The control plane does not know this.")
        case _:
            raise Unavailable(f"The control plane answered {answer.status}.", detail=detail)


@contextmanager
def _deadline(timeout_s: float) -> Iterator[None]:
    with trio.move_on_after(timeout_s) as scope:
        yield
    if scope.cancelled_caught:
        raise Unavailable(f"The control plane did not answer in {timeout_s:g} s.")
