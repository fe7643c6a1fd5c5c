"""Reading a provider's documents: what counts as a failure of the provider, and what doesn't."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial

import orjson
import pytest
import trio

from ostro.model.errors import Unavailable
from ostro.runtime.web import Web
from ostro.runtime.world import World
from ostro.services.identity.oidc import Oidc
from ostro.services.identity.settings import OidcProvider

Handler = Callable[[trio.SocketStream], Awaitable[None]]


async def listen(nursery: trio.Nursery, handler: Handler) -> str:
    """The issuer's address; each connection is for the handler."""
    listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"


def provider_at(issuer: str) -> OidcProvider:
    return OidcProvider(issuer=issuer, client_id="ostro", client_secret="hush")


async def answer(stream: trio.SocketStream, issuer: str) -> None:
    """A discovery document."""
    body = orjson.dumps({"issuer": issuer, "authorization_endpoint": f"{issuer}/authorize"})
    await stream.receive_some(65_536)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))


async def test_a_fetch_whose_client_went_away_is_no_failure_of_the_provider(nursery: trio.Nursery) -> None:
    """The next one asks at once, and isn't told that the provider didn't answer a moment ago."""
    asked = trio.Event()
    quick = False

    async def serve(stream: trio.SocketStream) -> None:
        asked.set()
        if quick:
            await answer(stream, issuer)
        else:
            await trio.sleep_forever()

    issuer = await listen(nursery, serve)
    oidc, provider = Oidc(World(random=random.Random(1)), Web()), provider_at(issuer)
    async with trio.open_nursery() as client:
        client.start_soon(oidc.authorization_url, provider, {})
        await asked.wait()
        client.cancel_scope.cancel()
    quick = True
    assert (await oidc.authorization_url(provider, {})).startswith(f"{issuer}/authorize?")


async def test_a_provider_that_failed_is_left_alone_for_a_moment(nursery: trio.Nursery) -> None:
    asked = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal asked
        asked += 1
        await stream.aclose()

    issuer = await listen(nursery, serve)
    oidc, provider = Oidc(World(random=random.Random(1)), Web()), provider_at(issuer)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await oidc.authorization_url(provider, {})
    assert asked == 1
