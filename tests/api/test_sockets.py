"""Bad clients on a real socket: slow, silent, gone, too large, malformed. Others never notice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

from ostro.http import app as http_app
from ostro.http import connection as http_connection
from ostro.http import dispatch
from ostro.http import request as http_request
from ostro.http.schema import BODY_MOST_BYTES
from ostro.services.object.limits import CHUNK_BYTES
from ostro.services.object.sweeps import sweep_objects
from ostro.store.objects import OBJECTS
from ostro.testing.cloud import Answer, TestCloud
from ostro.testing.served import PATIENCE_S, Served, head, serve_cloud
from ostro.testing.swift import open_swift

QUICK_S = 0.2
"""Bounds that are a minute and more in earnest."""
DRIP_S = 0.01
IMAGE = {"name": "i", "disk_format": "raw", "container_format": "bare"}
TOKENS = "/identity/v3/auth/tokens"


@pytest.fixture
async def served(cloud: TestCloud) -> AsyncIterator[Served]:
    async with serve_cloud(cloud) as running:
        yield running


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for clients are short."""
    monkeypatch.setattr(http_request, "WINDOW_S", QUICK_S)
    monkeypatch.setattr(dispatch, "BODY_TIMEOUT_S", QUICK_S)
    monkeypatch.setattr(http_connection, "LINGER_S", DRIP_S)
    monkeypatch.setattr(http_connection, "CLOSE_MOST_S", QUICK_S)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until it is so."""
    with trio.fail_after(PATIENCE_S):
        while not await check():
            await trio.lowlevel.checkpoint()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks"]


class Upload:
    """A queued image and a container, and where bytes for them go."""

    def __init__(self, cloud: TestCloud, path: str, image: str = "") -> None:
        self.cloud = cloud
        self.path = path
        self.image = image

    def head(self, **more: str) -> bytes:
        """The head of the upload's request, with a length that is far away."""
        headers = {"X-Auth-Token": self.cloud.as_admin.token, "Content-Type": "application/octet-stream"}
        return head("PUT", self.path, {**headers, "Content-Length": str(64 << 20), **more})

    async def shown(self) -> Answer:
        return await self.cloud.as_admin.get(self.image or self.path)

    async def has_begun(self) -> bool:
        folder = "images" if self.image else "chunks"
        return bool(files_below(self.cloud.cloud.config.state_dir / folder))

    async def left_nothing(self) -> bool:
        """Whether all is as it was before."""
        shown = await self.shown()
        state_dir = self.cloud.cloud.config.state_dir
        if self.image:
            return shown.json["status"] == "queued" and not files_below(state_dir / "images")
        await sweep_objects(self.cloud.cloud)
        rows = await self.cloud.db.read(lambda tx: OBJECTS.count(tx))
        return shown.status == 404 and rows == 0 and not files_below(state_dir / "chunks")


@pytest.fixture(params=["image", "object"])
async def upload(cloud: TestCloud, request: pytest.FixtureRequest) -> Upload:
    """Something to upload to."""
    if request.param == "object":
        return Upload(cloud, (await open_swift(cloud)).root + "/c/o")
    answer = await cloud.as_admin.post("/image/v2/images", IMAGE)
    image = f"/image/v2/images/{answer.json['id']}"
    return Upload(cloud, f"{image}/file", image)


PART = b"x" * (CHUNK_BYTES + (1 << 20))
"""More than a chunk, so that the object store has written one."""


async def test_an_upload_whose_client_goes_away_leaves_nothing(served: Served, upload: Upload) -> None:
    async with served.connect() as client:
        await client.send(upload.head() + PART)
        await until(upload.has_begun)
    await until(upload.left_nothing)


async def test_an_upload_cut_off_by_the_end_of_the_stream_leaves_nothing(served: Served, upload: Upload) -> None:
    chunked = upload.head(**{"Content-Length": "", "Transfer-Encoding": "chunked"})
    async with served.connect() as client:
        await client.send(chunked + b"%x\r\n" % len(PART) + PART + b"\r\n")
        await until(upload.has_begun)
        await client.end()
        await client.answer()
    await until(upload.left_nothing)


@pytest.mark.usefixtures("hasty")
async def test_an_upload_that_stops_coming_is_given_up(served: Served, upload: Upload) -> None:
    async with served.connect() as client:
        await client.send(upload.head() + PART)
        answer = await client.answer()
    assert answer.status == 408
    await until(upload.left_nothing)


@pytest.mark.usefixtures("hasty")
async def test_an_upload_that_drips_is_given_up(served: Served, upload: Upload) -> None:
    async with served.connect() as client:
        await client.send(upload.head() + PART)
        await client.drip(b"x", DRIP_S)
        answer = await client.answer()
    assert answer.status == 408
    await until(upload.left_nothing)


async def test_slow_uploads_hold_up_nobody(cloud: TestCloud, served: Served, upload: Upload) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            client = await nursery.start(_hold_open, served)
            await client.send(upload.head() + b"x")
        await until(upload.has_begun) if upload.image else None
        for path in ("/image/v2/images", "/compute/v2.1/servers", "/identity/v3/projects"):
            assert (await served.call("GET", path, cloud.as_admin.token)).status == 200
        nursery.cancel_scope.cancel()
    await until(upload.left_nothing)


async def _hold_open(served: Served, *, task_status: trio.TaskStatus[Any]) -> None:
    async with served.connect() as client:
        task_status.started(client)
        await trio.sleep_forever()


@pytest.mark.usefixtures("hasty")
async def test_a_json_body_that_drips_is_given_up(served: Served) -> None:
    async with served.connect() as client:
        await client.send(head("POST", TOKENS, {"Content-Type": "application/json", "Content-Length": "1000"}))
        await client.drip(b" ", DRIP_S)
        answer = await client.answer()
    assert answer.status == 408
    assert orjson.loads(answer.body)["error"]["code"] == 408


async def test_headers_that_drip_are_cut_off(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_app, "KEEP_ALIVE_S", QUICK_S)
    async with serve_cloud(cloud) as served, served.connect() as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Slow: ")
        await client.drip(b"a", DRIP_S)
        assert await client.closed()
        assert (await served.call("GET", "/healthz")).status == 200


async def test_headers_that_are_too_large(served: Served) -> None:
    async with served.connect() as client:
        await client.send(head("GET", "/healthz", {"X-Large": "a" * (3 * http_app.HEADERS_MOST_BYTES)}))
        assert (await client.answer()).status == 431
    assert (await served.call("GET", "/healthz")).status == 200


@pytest.mark.parametrize("path", ["/image/v2/images", "/compute/v2.1/servers", "/networking/v2.0/networks"])
async def test_a_body_that_is_too_large(cloud: TestCloud, served: Served, path: str) -> None:
    headers = {"X-Auth-Token": cloud.as_admin.token, "Content-Type": "application/json"}
    async with served.connect() as client:
        await client.send(head("POST", path, {**headers, "Content-Length": str(BODY_MOST_BYTES + 1)}))
        assert (await client.answer()).status == 413
    async with served.connect() as client:
        # Its length isn't said: it is refused where it passes the bound.
        await client.send(head("POST", path, {**headers, "Transfer-Encoding": "chunked"}))
        for _ in range(3):
            await client.send(b"80000\r\n" + b" " * 0x80000 + b"\r\n")
        assert (await client.answer()).status == 413


@pytest.mark.parametrize("body", [b"{", b"[1", b"\xff", b'{"a":1}}', b"nul", b""])
@pytest.mark.parametrize("path", ["/compute/v2.1/servers", "/networking/v2.0/networks", "/volume/v3/volumes", TOKENS])
async def test_malformed_json(cloud: TestCloud, served: Served, path: str, body: bytes) -> None:
    answer = await served.call("POST", path, cloud.as_admin.token, body)
    assert answer.status == 400, answer.body
    assert b"message" in answer.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/compute/v2.1/flavors", {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "colour": "red"}}),
        ("/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "colour": "red"}}),
        ("/networking/v2.0/networks", {"network": {"name": "n", "colour": "red"}}),
        ("/image/v2/images", {"name": 5}),
        ("/identity/v3/projects", {"project": {"colour": "red"}}),
        ("/placement/resource_providers", {"name": "p", "colour": "red"}),
    ],
)
async def test_unknown_or_wrong_fields(cloud: TestCloud, served: Served, path: str, body: Any) -> None:
    answer = await served.call("POST", path, cloud.as_admin.token, orjson.dumps(body))
    assert answer.status == 400, answer.body


async def test_what_is_no_http(served: Served) -> None:
    async with served.connect() as client:
        await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert (await client.answer()).status in (0, 400)
    assert (await served.call("GET", "/healthz")).status == 200


async def test_a_client_that_never_reads_its_answer(cloud: TestCloud, served: Served) -> None:
    async with served.connect() as client:
        await client.send(head("GET", "/image/v2/images", {"X-Auth-Token": cloud.as_admin.token}))
    assert (await served.call("GET", "/healthz")).status == 200
