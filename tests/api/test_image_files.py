"""Image bytes over HTTP: upload, download, refusal, and what is left behind."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ostro.model.registration import Inventory, Registration
from ostro.model.wishes import Noun
from ostro.services.agents.hosts import register_host
from ostro.services.agents.joining import Speaker
from ostro.services.image import files, uploads
from ostro.services.image.holds import drop_image, hold_image
from ostro.services.image.uploads import free_deleted_images, receive_image, sweep_images
from ostro.store.hosts import HOSTS
from ostro.store.wishes import hosts_wishing
from ostro.testing.cloud import ApiClient, TestCloud

IMAGES = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}


async def make(client: ApiClient, **more: Any) -> str:
    """A queued image; its path."""
    answer = await client.post(IMAGES, {"name": "one", "disk_format": "raw", "container_format": "bare", **more})
    assert answer.status == 201, answer.body
    return f"{IMAGES}/{answer.json['id']}"


async def upload(client: ApiClient, path: str, data: bytes) -> int:
    return (await client.put(f"{path}/file", data=data, headers=OCTETS)).status


def files_of(cloud: TestCloud) -> list[Path]:
    return [path for path in (cloud.cloud.config.state_dir / "images").rglob("*") if path.is_file()]


def qcow2(size_bytes: int, *, backing: bytes = b"") -> bytes:
    """A qcow2 header, version 2, followed by nothing."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        2,
        72 if backing else 0,
        len(backing),
        16,
        size_bytes,
        0,
        1,
        0x30000,
        0x10000,
        1,
        0,
        0,
    )
    return (header + backing).ljust(0x40000, b"\0")


async def test_upload_and_download(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    data = bytes(range(256)) * 8192
    assert (await cloud.as_admin.get(f"{path}/file")).status == 204
    assert await upload(cloud.as_admin, path, data) == 204
    image = (await cloud.as_admin.get(path)).json
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", len(data), len(data))
    assert image["checksum"] == hashlib.md5(data).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    got = await cloud.as_admin.get(f"{path}/file")
    assert (got.status, got.body) == (200, data)
    assert got.headers["Content-MD5"] == image["checksum"]
    assert got.headers["Content-Length"] == str(len(data))


async def test_ranges(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    await upload(cloud.as_admin, path, b"0123456789")
    for header, wanted, shown in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ):
        answer = await cloud.as_admin.get(f"{path}/file", headers={"Range": header})
        assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, wanted, shown)
    assert (await cloud.as_admin.get(f"{path}/file", headers={"Range": "bytes=10-"})).status == 416
    assert (await cloud.as_admin.get(f"{path}/file", headers={"Range": "nonsense"})).status == 416
    assert (await cloud.as_admin.get(f"{path}/file", headers={"Range": "bytes=0-1,4-5"})).status == 400
    older = await cloud.as_admin.get(f"{path}/file", headers={"Content-Range": "bytes 1-2/*"})
    assert (older.status, older.headers["Content-Range"]) == (206, "bytes 1-2/10")
    assert (await cloud.as_admin.get(f"{path}/file", headers={"Content-Range": "bytes 20-21/*"})).status == 416


async def test_an_empty_image(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    assert await upload(cloud.as_admin, path, b"") == 204
    assert (await cloud.as_admin.get(path)).json["size"] == 0
    assert (await cloud.as_admin.get(f"{path}/file")).body == b""


async def test_an_image_is_uploaded_once(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    assert await upload(cloud.as_admin, path, b"first") == 204
    assert await upload(cloud.as_admin, path, b"second") == 409
    assert (await cloud.as_admin.get(f"{path}/file")).body == b"first"


async def test_formats_come_first(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin, disk_format=None)
    assert await upload(cloud.as_admin, path, b"x") == 400


async def test_wrong_media_type(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    assert (await cloud.as_admin.put(f"{path}/file", data=b"x", headers={"Content-Type": "text/plain"})).status == 415


@pytest.mark.parametrize(
    ("disk_format", "data", "word"),
    [
        ("raw", qcow2(1 << 30), "does not match"),
        ("qcow2", b"plain bytes" * 100, "does not match"),
        ("qcow2", qcow2(1 << 30, backing=b"/etc/shadow"), "backing file"),
        ("qcow2", b"", "does not match"),
    ],
    ids=["qcow2 as raw", "raw as qcow2", "backing file", "empty as qcow2"],
)
async def test_content_that_is_refused(cloud: TestCloud, disk_format: str, data: bytes, word: str) -> None:
    path = await make(cloud.as_admin, disk_format=disk_format)
    answer = await cloud.as_admin.put(f"{path}/file", data=data, headers=OCTETS)
    assert answer.status == 415
    assert word in answer.body.decode()
    assert (await cloud.as_admin.get(path)).json["status"] == "queued"
    assert files_of(cloud) == []


async def test_the_header_says_the_virtual_size(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin, disk_format="qcow2")
    assert await upload(cloud.as_admin, path, qcow2(5 << 30)) == 204
    assert (await cloud.as_admin.get(path)).json["virtual_size"] == 5 << 30


async def test_a_wrong_announced_size(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    answer = await cloud.as_admin.put(f"{path}/file", data=b"123", headers={**OCTETS, "x-openstack-image-size": "4"})
    assert answer.status == 400
    assert (await cloud.as_admin.get(path)).json["status"] == "queued"
    assert files_of(cloud) == []


async def test_too_large(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IMAGE_MOST_BYTES", 4)
    path = await make(cloud.as_admin)
    assert await upload(cloud.as_admin, path, b"12345") == 413
    assert files_of(cloud) == []


async def test_a_full_disk(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SPARE_BYTES", 1 << 60)
    path = await make(cloud.as_admin)
    answer = await cloud.as_admin.put(f"{path}/file", data=b"12345", headers=OCTETS)
    assert answer.status == 413
    assert "full" in answer.body.decode()
    assert (await cloud.as_admin.get(path)).json["status"] == "queued"
    assert files_of(cloud) == []


class Gate:
    """A body that stops after its first part until it is opened."""

    def __init__(self) -> None:
        self.taken = trio.Event()
        self.opened = trio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        yield b"first"
        self.taken.set()
        await self.opened.wait()
        yield b"second"


async def test_two_uploads_at_once(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    gate = Gate()
    context = cloud.admin_context()
    async with trio.open_nursery() as nursery:

        async def first() -> None:
            await receive_image(cloud.cloud, context, path.rsplit("/")[-1], gate.body(), length_bytes=None)

        nursery.start_soon(first)
        await gate.taken.wait()
        assert (await cloud.as_admin.get(path)).json["status"] == "saving"
        assert await upload(cloud.as_admin, path, b"other") == 409
        # Neither a sweep nor a refused rival harms the one under way.
        await sweep_images(cloud.cloud)
        gate.opened.set()
    assert (await cloud.as_admin.get(f"{path}/file")).body == b"firstsecond"


async def test_an_upload_cut_off_leaves_a_queued_image_and_no_file(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_receive, cloud, path, gate)
        await gate.taken.wait()
        assert len(files_of(cloud)) == 1
        nursery.cancel_scope.cancel()
    assert (await cloud.as_admin.get(path)).json["status"] == "queued"
    assert files_of(cloud) == []
    assert await upload(cloud.as_admin, path, b"again") == 204


async def _receive(cloud: TestCloud, path: str, gate: Gate) -> None:
    await receive_image(cloud.cloud, cloud.admin_context(), path.rsplit("/")[-1], gate.body(), length_bytes=None)


async def test_an_image_deleted_while_it_is_uploaded(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    gate = Gate()
    with pytest.raises(ExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive, cloud, path, gate)
            await gate.taken.wait()
            assert (await cloud.as_admin.delete(path)).status == 204
            gate.opened.set()
    assert raised.group_contains(uploads.Gone)
    assert files_of(cloud) == []


async def test_what_a_crash_leaves_is_swept(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    upload_id = cloud.admin_context().new_id()
    await cloud.db.run(uploads.begin_upload, cloud.admin_context(), path.rsplit("/")[-1], upload_id)
    folder = cloud.cloud.config.state_dir / "images"
    folder.mkdir(exist_ok=True)
    (folder / f"{upload_id}.part").write_bytes(b"half")
    (folder / cloud.admin_context().new_id()).write_bytes(b"nobody's")
    await sweep_images(cloud.cloud)
    assert files_of(cloud) == []
    assert (await cloud.as_admin.get(path)).json["status"] == "queued"


PUBLIC = [{"op": "replace", "path": "/visibility", "value": "public"}]
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


async def test_deactivate(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "red")
    path = await make(alice)
    assert (await cloud.as_admin.post(f"{path}/actions/deactivate")).status == 400
    await upload(alice, path, b"x")
    for verb in ("deactivate", "reactivate"):
        assert (await cloud.as_admin.patch(path, PUBLIC, headers=PATCH)).status == 200
        bob = await cloud.add_user(f"bob-{verb}", "blue")
        assert (await bob.post(f"{path}/actions/{verb}")).status == 403, "it is seen, and somebody else's"
        assert (await alice.post(f"{path}/actions/{verb}")).status == 204
    assert (await cloud.as_admin.post(f"{path}/actions/deactivate")).status == 204
    assert (await alice.get(f"{path}/file")).status == 403
    assert (await cloud.as_admin.get(f"{path}/file")).body == b"x"
    assert (await cloud.as_admin.post(f"{path}/actions/reactivate")).status == 204
    assert (await alice.get(f"{path}/file")).body == b"x"


async def test_formats_of_an_active_image_stay(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    await upload(cloud.as_admin, path, b"x")
    patch = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    assert (await cloud.as_admin.patch(path, patch, headers=headers)).status == 403


async def add_host(cloud: TestCloud) -> str:
    inventory = Inventory(vcpus=4, ram_mb=4096, disk_gb=100, hypervisor_type="fake", hypervisor_version=1, cpu_info="")
    registration = Registration(name="h1", incarnation="i1", tunnel_ip="", inventory=inventory)
    return (
        await cloud.db.run(register_host, cloud.admin_context(), cloud.cloud.placement, Speaker(), registration, "test")
    ).host_id


async def test_bytes_stay_while_a_host_needs_them(cloud: TestCloud) -> None:
    path = await make(cloud.as_admin)
    image_id = path.rsplit("/")[-1]
    await upload(cloud.as_admin, path, b"0123456789")
    host_id = await add_host(cloud)
    await cloud.db.run(hold_image, host_id, image_id, "server-1")
    await cloud.db.run(hold_image, host_id, image_id, "server-2")
    assert await cloud.db.read(hosts_wishing, Noun.IMAGE, image_id) == [host_id]
    assert (await cloud.as_admin.delete(path)).status == 204
    assert (await cloud.as_admin.get(path)).status == 404
    data = f"/agent/v1/images/{image_id}/data"
    got = await cloud.as_agent.get(data, headers={"Range": "bytes=4-"})
    assert (got.status, got.body, got.headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    await cloud.db.run(drop_image, host_id, image_id, "server-1")
    await cloud.db.run(drop_image, host_id, image_id, "server-1")
    await free_deleted_images(cloud.cloud)
    assert (await cloud.as_agent.get(data)).body == b"0123456789"
    revision = await cloud.db.read(lambda tx: HOSTS.get(tx, host_id).revision)
    await cloud.db.run(drop_image, host_id, image_id, "server-2")
    assert await cloud.db.read(hosts_wishing, Noun.IMAGE, image_id) == []
    assert await cloud.db.read(lambda tx: HOSTS.get(tx, host_id).revision) > revision
    await free_deleted_images(cloud.cloud)
    assert (await cloud.as_agent.get(data)).status == 404
    assert files_of(cloud) == []


async def test_image_data_wants_the_agent_key(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.get("/agent/v1/images/x/data")).status == 401
