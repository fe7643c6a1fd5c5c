"""Bodies that are too large, too deep, too slow or of the wrong type."""

from __future__ import annotations

import pytest
import trio

from ostro.http import connection as http_connection
from ostro.http import dispatch
from ostro.http.schema import BODY_MOST_BYTES, DEPTH_MOST
from ostro.testing.cloud import TestCloud

PATH = "/identity/v3/auth/tokens"
JSON = {"Content-Type": "application/json"}


async def test_oversized_is_413(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.request("POST", PATH, data=b" " * (BODY_MOST_BYTES + 1), headers=JSON)
    assert answer.status == 413


async def test_nested_too_deep_is_400(cloud: TestCloud) -> None:
    body = b'{"auth":' + b"[" * DEPTH_MOST + b"]" * DEPTH_MOST + b"}"
    answer = await cloud.anonymous.request("POST", PATH, data=body, headers=JSON)
    assert answer.status == 400
    assert "nested" in answer.json["error"]["message"]


async def test_wrong_content_type_is_415(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.request("POST", PATH, data=b"a=b", headers={"Content-Type": "text/plain"})
    assert answer.status == 415


async def test_body_that_never_ends_is_refused(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BODY_TIMEOUT_S", 0.01)
    monkeypatch.setattr(http_connection, "LINGER_S", 0.01)
    async with cloud.app.test_client().request(PATH, method="POST", headers=JSON) as connection:
        await connection.send(b'{"auth"')
        with trio.fail_after(5):
            body = await connection.receive()
        await connection.disconnect()
    assert b"did not arrive" in body
