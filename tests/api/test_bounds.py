"""Bounds of requests hold through both ways in: the express lane and Hypercorn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
import trio

from ostro.http import app as http_app
from ostro.http import connection as http_connection
from ostro.http import dispatch
from ostro.http.schema import BODY_MOST_BYTES, DEPTH_MOST
from ostro.testing.cloud import TestCloud
from ostro.testing.served import Served, head, serve_cloud

QUICK_S = 0.2
"""Bounds that are a minute and more in earnest."""
DRIP_S = 0.01
TOKENS = "/identity/v3/auth/tokens"
WAYS = pytest.mark.parametrize("expect", ["", "100-continue"], ids=["lane", "hypercorn"])
"""A request that expects something is handed over to Hypercorn."""


@pytest.fixture
async def served(cloud: TestCloud) -> AsyncIterator[Served]:
    async with serve_cloud(cloud) as running:
        yield running


@WAYS
async def test_nesting(served: Served, expect: str) -> None:
    body = b'{"auth":' + b"[" * DEPTH_MOST + b"]" * DEPTH_MOST + b"}"
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Expect": expect}
    async with served.connect() as client:
        await client.send(head("POST", TOKENS, headers) + body)
        answer = await client.answer()
    assert answer.status == 400
    assert b"nested" in answer.body


@WAYS
async def test_body(served: Served, expect: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(BODY_MOST_BYTES + 1), "Expect": expect}
    async with served.connect() as client:
        await client.send(head("POST", TOKENS, headers))
        assert (await client.answer()).status == 413


@WAYS
async def test_a_body_that_drips(served: Served, monkeypatch: pytest.MonkeyPatch, expect: str) -> None:
    monkeypatch.setattr(dispatch, "BODY_TIMEOUT_S", QUICK_S)
    monkeypatch.setattr(http_connection, "LINGER_S", DRIP_S)
    monkeypatch.setattr(http_connection, "CLOSE_MOST_S", QUICK_S)
    headers = {"Content-Type": "application/json", "Content-Length": "1000", "Expect": expect}
    async with served.connect() as client:
        await client.send(head("POST", TOKENS, headers))
        if expect:
            assert (await client.closed()) is False, "it is told to go on"
        await client.drip(b" ", DRIP_S)
        assert b" 408 " in await client.everything()


@WAYS
async def test_pages(cloud: TestCloud, served: Served, expect: str) -> None:
    headers = {"X-Auth-Token": cloud.as_admin.token, "Expect": expect, "Connection": "close"}
    async with served.connect() as client:
        await client.send(head("GET", "/image/v2/images?limit=1000000000", headers))
        answer = await client.answer()
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert "limit=1000000000" not in str(orjson.loads(answer.body).get("next"))


@WAYS
async def test_heads_that_drip(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch, expect: str) -> None:
    """Also the second one on a connection."""
    monkeypatch.setattr(http_app, "KEEP_ALIVE_S", QUICK_S)
    async with serve_cloud(cloud) as served, served.connect() as client:
        await client.send(head("GET", "/healthz", {"Expect": expect}))
        assert (await client.answer()).status == 200
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Slow: ")
        with trio.fail_after(20):
            await client.drip(b"a", DRIP_S)
            assert await client.closed()
