"""Lists without a limit are whole, as Keystone's are: its clients don't follow links to further pages.

A list of at most a page is answered as any other. A longer one is read page by page and sent as it is read, so it costs the memory of a page however
long it is. Who gives a ``limit`` gets that page and a link to the next.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from werkzeug.datastructures import MultiDict

from ostro.http.request import Request
from ostro.http.route import Handler, Reply


def whole(handler: Handler) -> Handler:
    """The handler of a list, which goes on to the list's end where no limit was given."""

    @functools.wraps(handler)
    async def answer(req: Request) -> Reply:
        reply = await handler(req)
        if "limit" in req.query or _next_of(reply) is None:
            return reply
        return replace(reply, body=_send(handler, req, reply))

    return answer


def _next_of(reply: Reply) -> str | None:
    """The marker of the next page, if there is one."""
    link = reply.body["links"]["next"]
    return None if link is None else parse_qs(urlsplit(link).query)["marker"][0]


async def _send(handler: Handler, req: Request, first: Reply) -> AsyncIterator[bytes]:
    """The list as JSON, page by page."""
    (name,) = (key for key in first.body if key not in ("links", "truncated"))
    links = {**first.body["links"], "next": None}
    yield b'{"%b":[' % name.encode()
    page, before = first, b""
    while True:
        items: list[Any] = page.body[name]
        if items:
            yield before + orjson.dumps(items)[1:-1]
            before = b","
        marker = _next_of(page)
        if marker is None:
            break
        query = MultiDict([*((k, v) for k, v in req.query.items(multi=True) if k != "marker"), ("marker", marker)])
        page = await handler(replace(req, query=query))
    yield b'],"links":%b}' % orjson.dumps(links)
