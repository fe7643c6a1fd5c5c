"""The link to the control plane: registration, the change feed, reports and image bytes, over HTTP.

The feed, the reports and the images use a connection each, so that a long poll or a download doesn't hold up a report. Every
request may be repeated: reports carry generations, and the feed is asked for by revision.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

import msgspec
import trio

from ostro.agent.http_client import Answer, HttpClient
from ostro.model.errors import Invalid, NotFound, Unauthenticated, Unavailable
from ostro.model.wishes import Feed, Noun, Registered, Registration, Report, Wish

T = TypeVar("T")

REPORT_DEADLINE_S = 30.0
ANSWER_GRACE_S = 15.0
"""How much longer than asked a long poll may take before the control plane counts as hung."""

IMAGE_CHUNK_DEADLINE_S = 60.0


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

    async def volume_key(self, volume_id: str) -> str:
        """What opens an encrypted volume. Raises Unavailable also while the volume isn't for this host, NotFound when it isn't encrypted."""
        ...


class Client(Protocol):
    """What a link asks of an HTTP client; see `HttpClient`."""

    async def close(self) -> None: ...

    async def exchange(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer: ...

    def stream(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]: ...


Connect = Callable[[str, Mapping[str, str]], Client]
"""Makes a client of a base URL that sends these headers."""


class HttpLink:
    """The real link. ``url`` is the endpoint without path."""

    def __init__(self, url: str, agent_key: str, incarnation: str, connect: Connect = HttpClient) -> None:
        self._url = url.rstrip("/") + "/agent/v1"
        self._headers = {"X-Agent-Key": agent_key, "X-Agent-Incarnation": incarnation, "Accept": "application/json"}
        self._host_id = ""
        self._connect = connect
        self._feed = connect(self._url, self._headers)
        self._reports = connect(self._url, self._headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._feed.close()
        await self._reports.close()

    async def register(self, registration: Registration) -> Registered:
        with _deadline(REPORT_DEADLINE_S):
            answer = await self._feed.exchange("POST", "/hosts", msgspec.json.encode(registration))
        registered = _decode(answer, Registered)
        self._headers["X-Agent-Epoch"] = str(registered.epoch)
        self._host_id = registered.host_id
        return registered

    async def read_wishes(self, host_id: str, since: int, wait_s: int) -> Feed:
        with _deadline(wait_s + ANSWER_GRACE_S):
            answer = await self._feed.exchange("GET", f"/hosts/{host_id}/wishes?since={since}&wait_s={wait_s}")
        wire = _decode(answer, _WireFeed)
        wishes = [
            Wish(w.noun, w.id, w.generation, None if bytes(w.body) == b"null" else w.body, w.request_id)
            for w in wire.wishes
        ]
        return Feed(wire.revision, wire.full, wishes)

    async def report(self, host_id: str, reports: Sequence[Report]) -> None:
        body = msgspec.json.encode({"reports": reports})
        with _deadline(REPORT_DEADLINE_S):
            answer = await self._reports.exchange("POST", f"/hosts/{host_id}/reports", body)
        if answer.status in (400, 413):
            raise Invalid(
                "The control plane can't take these reports.", detail=answer.body[:500].decode(errors="replace")
            )
        _check(answer)

    async def volume_key(self, volume_id: str) -> str:
        client = self._connect(self._url, self._headers)
        try:
            with _deadline(REPORT_DEADLINE_S):
                answer = await client.exchange("GET", f"/hosts/{self._host_id}/volumes/{volume_id}/key")
        finally:
            with trio.CancelScope(shield=True):
                await client.close()
        return _decode(answer, _VolumeKey).passphrase

    async def image(self, image_id: str) -> AsyncGenerator[bytes, None]:
        client = self._connect(self._url, self._headers)
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


@asynccontextmanager
async def open_(url: str, agent_key: str, incarnation: str) -> AsyncIterator[HttpLink]:
    """A link that is closed when the block ends. Connects when first used."""
    link = HttpLink(url, agent_key, incarnation)
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
