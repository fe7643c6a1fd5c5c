"""Images made of volumes: what the API answers, what becomes of both, and what comes between."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ostro.agent.drivers.block.qcow2 import overlay
from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import Noun
from ostro.services.block.attachments import mark_attached, release, reserve
from ostro.services.block.settings import BlockSettings
from ostro.services.block.types import ensure_ceph_type
from ostro.services.block.uploads import UploadDraft, upload_volume
from ostro.services.identity.catalog import seed_limits
from ostro.services.image.uploads import free_deleted_images, sweep_images
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.leaks import find_leaks

VOLUMES = "/volume/v3/volumes"
IMAGES = "/image/v2/images"
BOTH = [storage_trait(CEPH), storage_trait(LOCAL)]
NEWER = {"OpenStack-API-Version": "volume 3.1"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    await cloud.db.run(ensure_ceph_type, 1)
    return await add_host(cloud, traits=BOTH)


async def make(cloud: TestCloud, host: SimHost, client: ApiClient | None = None, **more: Any) -> str:
    body = {"size": 2, "volume_type": LOCAL, **more}
    answer = await (client or cloud.as_admin).post(VOLUMES, {"volume": body})
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    return str(answer.json["volume"]["id"])


async def act(client: ApiClient, volume_id: str, action: str, given: Any, **headers: str) -> Answer:
    return await client.post(f"{VOLUMES}/{volume_id}/action", {action: given}, headers=headers)


async def upload(client: ApiClient, volume_id: str, *, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    body = {"os-volume_upload_image": {"image_name": "made", **more}}
    return await client.post(f"{VOLUMES}/{volume_id}/action", body, headers=headers)


async def status(cloud: TestCloud, volume_id: str) -> str:
    return str((await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).json["volume"]["status"])


async def show_image(cloud: TestCloud, image_id: str) -> dict[str, Any]:
    answer = await cloud.as_admin.get(f"{IMAGES}/{image_id}")
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.json
    return shown


def image_of(answer: Answer) -> str:
    assert answer.status == 202, answer.body
    return str(answer.json["os-volume_upload_image"]["image_id"])


async def test_a_volume_becomes_an_image(cloud: TestCloud, host: SimHost) -> None:
    member = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, member, description="mine")
    answer = await upload(member, volume_id)
    shown = answer.json["os-volume_upload_image"]
    image_id = image_of(answer)
    assert shown.pop("updated_at") and shown.pop("volume_type")["name"] == LOCAL
    assert shown == {
        "id": volume_id,
        "status": "uploading",
        "display_description": "mine",
        "size": 2,
        "image_id": image_id,
        "container_format": "bare",
        "disk_format": "raw",
        "image_name": "made",
        "protected": False,
        "visibility": "shared",
    }
    assert (await status(cloud, volume_id), (await show_image(cloud, image_id))["status"]) == ("uploading", "saving")
    await converge(cloud, host)
    image = await show_image(cloud, image_id)
    assert (image["status"], image["size"], image["min_disk"]) == ("active", len(host.volume_bytes), 2)
    assert image["checksum"] and image["os_hash_value"]
    assert await status(cloud, volume_id) == "available"
    assert (await member.get(f"{IMAGES}/{image_id}/file")).body == host.volume_bytes
    assert [key for key in host.things if key[0] is Noun.UPLOAD] == []


async def test_a_volume_in_ceph_becomes_one_without_its_bytes_passing_through(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host, volume_type=CEPH)
    context = cloud.admin_context()
    made = await cloud.db.run(upload_volume, context, volume_id, UploadDraft("made"), CEPH)
    image_id = made.image.id
    await sweep_images(cloud.cloud)
    await converge(cloud, host)
    image = await show_image(cloud, image_id)
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", 2 << 30, 2 << 30)
    assert image["checksum"] is None and host.sent == {}
    other = await cloud.db.run(upload_volume, context, volume_id, UploadDraft("made", "qcow2"), CEPH)
    host.volume_bytes = QCOW2
    await converge(cloud, host)
    assert (await show_image(cloud, other.image.id))["size"] == len(QCOW2)


def qcow2(size_bytes: int) -> bytes:
    """A blank image."""
    content = overlay("", "", size_bytes)
    data = bytearray(content.size_bytes)
    for offset, piece in content.pieces.items():
        data[offset : offset + len(piece)] = piece
    return bytes(data)


QCOW2 = qcow2(2 << 30)


async def test_what_is_asked_of_the_image(cloud: TestCloud, host: SimHost) -> None:
    member = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, member)
    kept = {"hw_disk_bus": "scsi", "image_name": "old", "image_id": "x", "checksum": "y", "min_disk": "9"}
    assert (await act(member, volume_id, "os-set_image_metadata", {"metadata": kept})).status == 200
    host.volume_bytes = QCOW2
    asked = {"disk_format": "qcow2", "visibility": "community", "protected": True, "force": False}
    image_id = image_of(await upload(member, volume_id, headers=NEWER, **asked))
    await converge(cloud, host)
    image = await show_image(cloud, image_id)
    assert (image["disk_format"], image["container_format"]) == ("qcow2", "bare")
    assert (image["visibility"], image["protected"], image["virtual_size"]) == ("community", True, 2 << 30)
    assert image["hw_disk_bus"] == "scsi" and not image.keys() & {"image_name", "image_id"}
    private = image_of(await upload(member, volume_id, headers=NEWER, disk_format="qcow2"))
    assert (await show_image(cloud, private))["visibility"] == "private"


@pytest.mark.parametrize(
    ("asked", "headers", "expected"),
    [
        ({"disk_format": "iso"}, {}, 400),
        ({"container_format": "tin"}, {}, 400),
        ({"image_name": ""}, {}, 400),
        ({"image_name": "x" * 256}, {}, 400),
        ({"image_name": None}, {}, 400),
        ({"force": "perhaps"}, {}, 400),
        ({"size": 3}, {}, 400),
        ({"visibility": "private"}, {}, 400),
        ({"protected": True}, {}, 400),
        ({"visibility": "secret"}, NEWER, 400),
        ({"visibility": "public"}, NEWER, 403),
    ],
)
async def test_what_is_refused(
    cloud: TestCloud, host: SimHost, asked: dict[str, Any], headers: dict[str, str], expected: int
) -> None:
    member = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, member)
    answer = await upload(member, volume_id, headers=headers, **asked)
    assert answer.status == expected, answer.body
    assert await status(cloud, volume_id) == "available"
    assert (await cloud.as_admin.get(IMAGES)).json["images"] == []


async def test_others_volumes_and_readers(cloud: TestCloud, host: SimHost) -> None:
    member = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, cloud.as_admin)
    assert (await upload(member, volume_id)).status == 404
    assert (await upload(member, "no-such")).status == 404


async def test_only_what_is_at_rest_becomes_an_image(cloud: TestCloud, host: SimHost) -> None:
    member = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, member)
    image_of(await upload(member, volume_id))
    for action, given in (
        ("os-volume_upload_image", {"image_name": "again"}),
        ("os-extend", {"new_size": 5}),
        ("os-retype", {"new_type": CEPH, "migration_policy": "on-demand"}),
        ("os-reserve", {}),
    ):
        assert (await act(member, volume_id, action, given)).status == 400, action
    assert (await member.delete(f"{VOLUMES}/{volume_id}")).status == 400
    await converge(cloud, host)
    assert await status(cloud, volume_id) == "available"


@pytest.mark.parametrize("allowed", [False, True])
async def test_force_counts_where_it_is_allowed(cloud: TestCloud, host: SimHost, allowed: bool) -> None:
    settings = BlockSettings(enable_force_upload=allowed)
    object.__setattr__(cloud.cloud, "block", settings)
    context = cloud.admin_context()
    for kind, expected in ((CEPH, 202 if allowed else 400), (LOCAL, 400)):
        volume_id = await make(cloud, host, cloud.as_admin, volume_type=kind)
        await cloud.db.run(reserve, context, volume_id, "server-1", "/dev/vdb", host.host_id)
        await cloud.db.run(mark_attached, "server-1", [volume_id], 5)
        assert (await upload(cloud.as_admin, volume_id)).status == 400
        answer = await upload(cloud.as_admin, volume_id, force=True)
        assert answer.status == expected, answer.body
        await converge(cloud, host)
        assert await status(cloud, volume_id) == "in-use"
        await cloud.db.run(release, volume_id, "server-1", 6)
        assert await status(cloud, volume_id) == "available"


async def test_an_encrypted_volume_is_refused(cloud: TestCloud, host: SimHost) -> None:
    kind = await cloud.as_admin.post("/volume/v3/types", {"volume_type": {"name": "sealed"}})
    path = f"/volume/v3/types/{kind.json['volume_type']['id']}/encryption"
    body = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
    assert (await cloud.as_admin.post(path, {"encryption": body})).status == 200
    volume_id = await make(cloud, host, cloud.as_admin, volume_type="sealed")
    answer = await upload(cloud.as_admin, volume_id)
    assert answer.status == 400 and b"encrypted" in answer.body


async def test_the_image_is_deleted_half_way(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    image_id = image_of(await upload(cloud.as_admin, volume_id))
    await host.read_wishes()
    assert (await cloud.as_admin.delete(f"{IMAGES}/{image_id}")).status == 204
    await host.report()
    assert list(host.sent.values()) == [409], "nobody waits for the bytes"
    await converge(cloud, host)
    assert await status(cloud, volume_id) == "available"
    assert (await cloud.as_admin.delete(f"{VOLUMES}/{volume_id}")).status == 202
    await converge(cloud, host)
    await sweep_images(cloud.cloud)
    assert cloud.cloud.images.list() == set()
    assert await cloud.db.read(find_leaks) == {}


async def test_the_volume_is_deleted_half_way(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    image_id = image_of(await upload(cloud.as_admin, volume_id))
    assert (await act(cloud.as_admin, volume_id, "os-force_delete", {})).status == 202
    host.failing[next(iter(await _uploads(cloud)))] = "The volume is not there."
    await converge(cloud, host)
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).status == 404
    assert (await cloud.as_admin.get(f"{IMAGES}/{image_id}")).status == 404
    await free_deleted_images(cloud.cloud)
    assert await cloud.db.read(find_leaks) == {}


async def _uploads(cloud: TestCloud) -> list[str]:
    return [row[0] for row in await cloud.db.read(lambda tx: tx.all("SELECT id FROM volume_uploads"))]


async def test_a_host_that_gives_up_leaves_the_volume_as_it_was(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    image_id = image_of(await upload(cloud.as_admin, volume_id, headers=NEWER, protected=True))
    host.failing[(await _uploads(cloud))[0]] = "The host's disk is full."
    await converge(cloud, host)
    assert await status(cloud, volume_id) == "available"
    assert (await cloud.as_admin.get(f"{IMAGES}/{image_id}")).status == 404


async def test_bytes_that_are_not_what_was_asked_for(cloud: TestCloud, host: SimHost) -> None:
    """Such as from a host that is not what it should be: its image never becomes active."""
    volume_id = await make(cloud, host)
    image_id = image_of(await upload(cloud.as_admin, volume_id, disk_format="qcow2"))
    await converge(cloud, host)
    assert list(host.sent.values()) == [415]
    assert await status(cloud, volume_id) == "available"
    assert (await cloud.as_admin.get(f"{IMAGES}/{image_id}")).status == 404


async def test_an_administrator_resets_a_volume(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    image_id = image_of(await upload(cloud.as_admin, volume_id))
    assert (await act(cloud.as_admin, volume_id, "os-reset_status", {"status": "available"})).status == 202
    await cloud.sagas.step()
    assert await status(cloud, volume_id) == "available"
    assert (await cloud.as_admin.get(f"{IMAGES}/{image_id}")).status == 404


async def test_an_attempt_that_breaks_off_is_followed_by_another(cloud: TestCloud, host: SimHost) -> None:
    """Whoever came first is swept; only the last one gives the bytes."""
    volume_id = await make(cloud, host)
    image_id = image_of(await upload(cloud.as_admin, volume_id))
    (upload_id,) = await _uploads(cloud)
    path = f"/agent/v1/hosts/{host.host_id}/uploads/{upload_id}/data"
    short = await host.client.put(path, data=b"half", headers={"Content-Length": "8"})
    assert short.status in (400, 204)
    await sweep_images(cloud.cloud)
    if short.status == 400:
        assert (await show_image(cloud, image_id))["status"] == "saving"
        assert cloud.cloud.images.list() == set()
    await converge(cloud, host)
    assert (await show_image(cloud, image_id))["status"] == "active"
    assert len(cloud.cloud.images.list()) == 1


async def test_only_the_volumes_host_may_send(cloud: TestCloud, host: SimHost) -> None:
    member = await cloud.add_user("ann", "red")
    other = await add_host(cloud, "host-b")
    volume_id = await make(cloud, host, member)
    owner = str((await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")).json["volume"]["os-vol-host-attr:host"])
    stranger, keeper = (other, host) if owner.startswith("host-a") else (host, other)
    image_of(await upload(member, volume_id))
    (upload_id,) = await _uploads(cloud)
    path = f"/agent/v1/hosts/{stranger.host_id}/uploads/{upload_id}/data"
    assert (await stranger.client.put(path, data=b"mine")).status == 409
    assert (await member.put(path, data=b"mine")).status == 401
    await converge(cloud, keeper, stranger)


async def test_quota(cloud: TestCloud, host: SimHost) -> None:
    """A limit that the bytes would pass is told before anything begins."""
    await cloud.db.run(seed_limits, cloud.world)
    admin = cloud.as_admin
    volume_id = await make(cloud, host)
    (service,) = (await admin.get("/identity/v3/services?type=image")).json["services"]
    (project,) = (await admin.get("/identity/v3/projects?name=admin")).json["projects"]
    limit = {"service_id": service["id"], "project_id": project["id"]}
    limit |= {"resource_name": "image_size_total", "resource_limit": 1024}
    assert (await admin.post("/identity/v3/limits", {"limits": [limit]})).status == 201
    answer = await upload(admin, volume_id)
    assert answer.status == 413, answer.body
    assert await status(cloud, volume_id) == "available"
    assert (await admin.get(IMAGES)).json["images"] == []
    assert (await upload(admin, volume_id, disk_format="qcow2")).status == 202, "how large that will be nobody knows"


async def test_two_at_once(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud, host)
    answers: list[int] = []

    async def one() -> None:
        answers.append((await upload(cloud.as_admin, volume_id)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    assert sorted(answers) == [202, 400, 400, 400]
    await converge(cloud, host)
    assert len((await cloud.as_admin.get(IMAGES)).json["images"]) == 1
