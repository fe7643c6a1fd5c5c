"""What a handler sees of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import trio
from werkzeug.datastructures import MultiDict

from ostro.http.exchange import Incoming, RequestHeaders
from ostro.http.route import Reply, Route
from ostro.http.versions import Version
from ostro.model.context import Context
from ostro.model.errors import Invalid
from ostro.services.audit.events import Trail
from ostro.services.cloud import Cloud
from ostro.store.database import Tx

T = TypeVar("T")
P = ParamSpec("P")

_TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "f", "no", "n", "off"))


WINDOW_S = 60.0
WINDOW_LEAST_BYTES = 4096
"""A client may be slow, but neither silent nor dripping: so much must come for each ``WINDOW_S`` that we wait for it."""


class SlowBody(Invalid):
    """The client stopped sending its body."""

    status = 408


async def read_parts(raw: Incoming) -> AsyncIterator[bytes]:
    """The parts of a body. Raises SlowBody when waiting for ``WINDOW_LEAST_BYTES`` of it has taken ``WINDOW_S``.

    Only waiting for the client counts, not what is done with a part: a slow disk is not the client's fault.
    """
    parts = aiter(raw.body)
    left_s, came_bytes = WINDOW_S, 0
    while True:
        asked_s = trio.current_time()
        with trio.move_on_after(max(0.0, left_s)) as scope:
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                return
        if scope.cancelled_caught:
            raise SlowBody("The request's body stopped coming, or came too slowly.")
        left_s -= trio.current_time() - asked_s
        came_bytes += len(part)
        if came_bytes >= WINDOW_LEAST_BYTES:
            left_s, came_bytes = WINDOW_S, 0
        yield part


@dataclass(slots=True)
class Request:
    """One call of one route. ``body`` is the validated JSON, None where the route has no body schema."""

    cloud: Cloud
    context: Context
    route: Route
    params: Mapping[str, str]
    query: MultiDict[str, str]
    headers: RequestHeaders
    body: Any
    version: Version | None
    base_url: str
    """Scheme and authority as the client sees them, without a path."""
    path: str
    raw: Incoming
    trail: Trail | None = None
    """What its changes are recorded by; None for what changes nothing, or nothing of users'."""

    @property
    def keyed(self) -> bool:
        """Whether the request shall be done once however often it comes (``http/idempotency.py``)."""
        return False

    async def run(self, fn: Callable[Concatenate[Tx, Context, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One writing transaction: ``fn(tx, context, ...)``."""
        if self.trail is None:
            return await self.cloud.db.run(fn, self.context, *args, **kwargs)
        result = await self.cloud.db.run(lambda tx: self.record(tx, fn(tx, self.context, *args, **kwargs)))
        self.cloud.audit.written(self.trail)
        return result

    def record(self, tx: Tx, result: T) -> T:
        """Record, in its own transaction, a change that has this result."""
        if self.trail is not None:
            self.cloud.audit.write(tx, self.trail, result)
        return result

    async def read(self, fn: Callable[Concatenate[Tx, Context, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One reading transaction: ``fn(tx, context, ...)``."""
        return await self.cloud.db.read(fn, self.context, *args, **kwargs)

    def at_least(self, major: int, minor: int) -> bool:
        """Whether the negotiated microversion is this or newer."""
        assert self.version is not None, "the service has no microversions"
        return self.version >= (major, minor)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean query parameter. Raises Invalid."""
        text = self.query.get(name)
        if text is None:
            return default
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise Invalid(f"Invalid value for {name}: {text}")

    def integer(self, name: str, default: int, low: int = 0, high: int = 2**31) -> int:
        """An integer query parameter within bounds. Raises Invalid."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise Invalid(f"Invalid value for {name}: {text}")
        return value

    def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes, for routes with ``streams``.

        Raises SlowBody when hardly anything comes for a while. When the client goes away the handler is cancelled.
        """
        return read_parts(self.raw)

    def url(self, path: str) -> str:
        """An absolute URL of this endpoint; ``path`` starts with a slash."""
        return self.base_url + path


__all__ = ["Reply", "Request"]
