"""Calls to other people's web servers: HTTP/1.1 by h11 over trio's sockets, one connection a call.

Every call has a deadline, and its answer a bound. Redirects are not followed and proxies are not used: whom we speak to is what the operator wrote
down, or what a document of theirs says. At most ``AT_ONCE`` calls to one server run at once, so that one that hangs holds few sockets and nobody else up.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import h11
import orjson
import trio

from ostro.model.errors import Unavailable

DEADLINE_S = 10.0
ANSWER_MOST_BYTES = 1 << 20
AT_ONCE = 16
RECEIVE_BYTES = 1 << 16
CLOSE_S = 1.0


@dataclass(frozen=True)
class WebAnswer:
    """An answer, read whole."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class Web:
    """Makes calls, for one process."""

    def __init__(self) -> None:
        self._limiters: dict[str, trio.CapacityLimiter] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        ca_file: str = "",
    ) -> WebAnswer:
        """One call; ``form`` becomes its body. ``ca_file`` says whose certificates count, where the system's don't.

        Raises Unavailable when there is no whole answer within the deadline.
        """
        where = url
        try:
            where = urlsplit(url).netloc
            limiter = self._limiters.setdefault(where, trio.CapacityLimiter(AT_ONCE))
            with trio.fail_after(DEADLINE_S):
                async with limiter:
                    return await self._call(method, url, dict(headers or {}), form, ca_file)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, h11.ProtocolError, ValueError) as error:
            raise Unavailable(f"{where} does not answer.", retry_after_s=5, detail=f"{url}: {error!r}") from error

    async def _call(
        self, method: str, url: str, headers: dict[str, str], form: Mapping[str, str] | None, ca_file: str
    ) -> WebAnswer:
        parts = urlsplit(url)
        body = urlencode(form).encode() if form is not None else b""
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Accept": "application/json",
            "Connection": "close",
        } | headers
        if form is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        stream = await self._open(parts.scheme, parts.hostname or "", parts.port, ca_file)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection = h11.Connection(h11.CLIENT)
            request = h11.Request(method=method, target=target, headers=list(headers.items()))
            await stream.send_all(connection.send(request) or b"")
            await stream.send_all(
                (connection.send(h11.Data(body)) or b"") + (connection.send(h11.EndOfMessage()) or b"")
            )
            return await _read_answer(connection, stream)
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await trio.aclose_forcefully(stream)

    async def _open(self, scheme: str, host: str, port: int | None, ca_file: str) -> trio.abc.Stream:
        if scheme == "http":
            return await trio.open_tcp_stream(host, port or 80)
        if scheme != "https":
            raise ValueError(f"not a web address: {scheme}:")
        if ca_file not in self._contexts:
            self._contexts[ca_file] = ssl.create_default_context(cafile=str(Path(ca_file)) if ca_file else None)
        return await trio.open_ssl_over_tcp_stream(
            host, port or 443, ssl_context=self._contexts[ca_file], https_compatible=True
        )


async def _read_answer(connection: h11.Connection, stream: trio.abc.Stream) -> WebAnswer:
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(RECEIVE_BYTES)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > ANSWER_MOST_BYTES:
                raise ValueError("the answer is too long")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return WebAnswer(status, bytes(body))
