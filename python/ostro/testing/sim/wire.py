"""The network between everybody and the control plane: it takes time, and what it carries may be lost, repeated, late or cut off."""

from __future__ import annotations

import random
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import trio
from werkzeug.datastructures import Headers, MultiDict

from ostro.agent.http_client import Answer
from ostro.model.errors import Unavailable
from ostro.testing.sim.trace import Trace

QUICK_S = (0.0002, 0.002)
SLOW_S = (0.1, 8.0)
BREAK_S = 0.05
"""How long it takes to notice that nobody listens."""


@dataclass(frozen=True)
class Weather:
    """How often, of one, a request or its reply is lost, delivered twice, or late."""

    lost: float = 0.0
    repeated: float = 0.0
    late: float = 0.0


CALM = Weather()


class Parcel:
    """A request as the gate takes it (`ostro.http.exchange.Incoming`), and its answer when there is one."""

    scheme = "http"
    host = "control"
    remote_addr = "127.0.0.1"
    peer = None

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        self.method = method
        self.raw_path = path.encode()
        self.path = unquote(path)
        self.query_string = query.encode()
        self.headers = Headers(list(headers.items()))
        self.content_length = len(body) if body else None
        self.mimetype = "application/json" if body else ""
        self.answer: Answer | None = None
        self.answer_headers: Mapping[str, str] = {}
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self._data = body

    @property
    def bodiless(self) -> bool:
        """Whether there is no body."""
        return not self._data

    def has_gone(self) -> bool:
        """Never while it waits for a place."""
        return False

    async def gone(self) -> None:
        """Never return: whoever goes away has its ``scope`` cancelled."""
        await trio.sleep_forever()

    @property
    def args(self) -> MultiDict[str, str]:
        return MultiDict(parse_qsl(self.query_string.decode(), keep_blank_values=True))

    @property
    def body(self) -> AsyncIterator[bytes]:
        return _once(self._data)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


class Receiver(Protocol):
    """Where parcels go."""

    def deliver(self, parcel: Parcel) -> None:
        """Begin to answer. ``done`` is set when there is an answer, or when there will be none."""
        ...

    def waits(self, parcel: Parcel) -> bool:
        """Whether answering ends when whoever asked goes away."""
        ...


class Wire:
    """Everybody's connections to the control plane."""

    def __init__(self, trace: Trace, rng: random.Random, receiver: Receiver) -> None:
        self.weather = CALM
        self._trace = trace
        self._rng = rng
        self._receiver = receiver
        self._cut_to: set[str] = set()
        self._cut_from: set[str] = set()
        self.slow: set[str] = set()

    def cut(self, who: str, *, there: bool, back: bool) -> None:
        """Let nothing through from ``who``, or to, or both."""
        for cut, on in ((self._cut_to, there), (self._cut_from, back)):
            if on:
                cut.add(who)

    def mend(self, who: str) -> None:
        """Let everything through again. What is already waiting for an answer will not get one."""
        self._cut_to.discard(who)
        self._cut_from.discard(who)

    def is_cut(self, who: str) -> bool:
        """Whether anything is cut between the control plane and ``who``."""
        return who in self._cut_to or who in self._cut_from

    async def exchange(self, who: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Parcel:
        """One request and its answer. Raises Unavailable when the connection breaks; across a cut it waits for ever."""
        await self._travel(who)
        if who in self._cut_to:
            await trio.sleep_forever()
        if self._happens(self.weather.lost):
            self._break(who, method, target, "lost")
        parcel = Parcel(method, target, headers, body)
        self._receiver.deliver(parcel)
        if self._happens(self.weather.repeated) and not self._receiver.waits(parcel):
            self._trace.note("repeated", who, method, target)
            self._receiver.deliver(Parcel(method, target, headers, body))
        try:
            await parcel.done.wait()
        except trio.Cancelled:
            if self._receiver.waits(parcel):
                parcel.scope.cancel()
            raise
        if who in self._cut_from:
            await trio.sleep_forever()
        if parcel.answer is None:
            await trio.sleep(BREAK_S)
            self._break(who, method, target, "nobody")
        if self._happens(self.weather.lost):
            self._break(who, method, target, "reply lost")
        await self._travel(who)
        self._trace.note("answer", who, method, target, parcel.answer.status if parcel.answer else 0)
        return parcel

    def _break(self, who: str, method: str, target: str, why: str) -> None:
        self._trace.note("broken", who, method, target, why)
        raise Unavailable("The control plane does not answer.", detail=why)

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

    async def _travel(self, who: str) -> None:
        late = who in self.slow or self._happens(self.weather.late)
        await trio.sleep(self._rng.uniform(*(SLOW_S if late else QUICK_S)))


class WireClient:
    """What an agent's link has instead of an HTTP client."""

    def __init__(self, wire: Wire, who: str, base_url: str, headers: Mapping[str, str]) -> None:
        self._wire = wire
        self._who = who
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._headers = headers

    async def close(self) -> None:
        """There is nothing to close."""

    async def exchange(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and read the whole answer."""
        sent = {**self._headers, **(headers or {})}
        parcel = await self._wire.exchange(self._who, method, self._prefix + path, sent, body)
        assert parcel.answer is not None, "else it would have raised"
        return parcel.answer

    async def send(
        self, method: str, path: str, size_bytes: int, chunks: AsyncIterable[bytes], deadline_s: float
    ) -> Answer:
        """Send a body, in one piece, and read the whole answer."""
        body = b"".join([chunk async for chunk in chunks])
        with trio.move_on_after(deadline_s):
            return await self.exchange(method, path, body, {"Content-Length": str(size_bytes)})
        raise Unavailable("The control plane does not answer.")

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """The same, in one piece."""
        answer = await self.exchange(method, path, body, headers)
        yield answer.status, _once(answer.body)
