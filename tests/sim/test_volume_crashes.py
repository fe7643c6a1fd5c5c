"""The control plane dies at every named point of a volume's life and is started again: it converges, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import Noun
from ostro.services.block.types import ensure_ceph_type
from ostro.services.image.uploads import free_deleted_images, sweep_images
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.crashes import Life, Sites, crash_at_every_point, each_point_once
from ostro.testing.hosts import SimHost, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks
from ostro.testing.postgres import PostgresServer

COMPUTE = "/compute/v2.1"
VOLUMES = "/volume/v3/volumes"


def client_of(cloud: TestCloud) -> ApiClient:
    return cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")


async def prepare(cloud: TestCloud, host: SimHost) -> None:
    """An image and a flavor."""
    await cloud.db.run(put_image)
    flavor = {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}
    await client_of(cloud).post(f"{COMPUTE}/flavors", {"flavor": flavor})


async def boot(cloud: TestCloud, **more: Any) -> None:
    body = {"name": "s", "flavorRef": "f", "networks": "none", "imageRef": IMAGE_ID, **more}
    assert (await client_of(cloud).post(f"{COMPUTE}/servers", {"server": body})).status == 202


async def list_servers(cloud: TestCloud) -> list[dict[str, Any]]:
    return list((await client_of(cloud).get(f"{COMPUTE}/servers/detail")).json["servers"])


async def list_volumes(cloud: TestCloud) -> list[dict[str, Any]]:
    return list((await client_of(cloud).get(f"{VOLUMES}/detail")).json["volumes"])


async def make_volume(cloud: TestCloud, **more: Any) -> None:
    assert (await client_of(cloud).post(VOLUMES, {"volume": {"size": 1, "imageRef": IMAGE_ID, **more}})).status == 202


async def delete_everything(cloud: TestCloud, host: SimHost) -> None:
    for server in await list_servers(cloud):
        await client_of(cloud).delete(f"{COMPUTE}/servers/{server['id']}")
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        await client_of(cloud).delete(f"{VOLUMES}/{volume['id']}?cascade=true")
    await converge(cloud, host)


async def grow(cloud: TestCloud, host: SimHost) -> None:
    """Made, extended, deleted."""
    await make_volume(cloud)
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        await client_of(cloud).post(f"{VOLUMES}/{volume['id']}/action", {"os-extend": {"new_size": 3}})
    await converge(cloud, host)
    await delete_everything(cloud, host)


async def come_to_nothing(cloud: TestCloud, host: SimHost) -> None:
    """Made, given up by the host, deleted."""
    await make_volume(cloud)
    for volume in await list_volumes(cloud):
        host.failing[volume["id"]] = "No room."
    await converge(cloud, host)
    await delete_everything(cloud, host)


async def stop_growing(cloud: TestCloud, host: SimHost) -> None:
    """Made, extended in vain, deleted."""
    await make_volume(cloud)
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        host.failing[volume["id"]] = "No room."
        await client_of(cloud).post(f"{VOLUMES}/{volume['id']}/action", {"os-extend": {"new_size": 3}})
    await converge(cloud, host)
    host.failing.clear()
    await delete_everything(cloud, host)


async def be_lent(cloud: TestCloud, host: SimHost) -> None:
    """Made, attached to a running server, detached, deleted."""
    await boot(cloud)
    await make_volume(cloud)
    await converge(cloud, host)
    (server,), (volume,) = await list_servers(cloud), await list_volumes(cloud)
    path = f"{COMPUTE}/servers/{server['id']}/os-volume_attachments"
    await client_of(cloud).post(path, {"volumeAttachment": {"volumeId": volume["id"]}})
    await converge(cloud, host)
    await client_of(cloud).delete(f"{path}/{volume['id']}")
    await converge(cloud, host)
    await delete_everything(cloud, host)


async def carry_a_server(cloud: TestCloud, host: SimHost) -> None:
    """Made with a server that boots from it, gone with it."""
    root = {"source_type": "image", "destination_type": "volume", "boot_index": 0, "uuid": IMAGE_ID}
    mapping = {**root, "volume_size": 2, "delete_on_termination": True}
    await boot(cloud, imageRef="", block_device_mapping_v2=[mapping])
    await converge(cloud, host)
    await delete_everything(cloud, host)


async def upload(cloud: TestCloud, volume_id: str) -> None:
    body = {"os-volume_upload_image": {"image_name": "made"}}
    assert (await client_of(cloud).post(f"{VOLUMES}/{volume_id}/action", body)).status == 202


async def become_an_image(cloud: TestCloud, host: SimHost) -> None:
    """Made, made an image of, deleted."""
    await make_volume(cloud)
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        await upload(cloud, volume["id"])
    await converge(cloud, host)
    await delete_everything(cloud, host)


async def become_no_image(cloud: TestCloud, host: SimHost) -> None:
    """Made, an image of it begun and deleted half-way, deleted."""
    await make_volume(cloud)
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        await upload(cloud, volume["id"])
        await host.read_wishes()
    await delete_images(cloud)
    await converge(cloud, host)
    await delete_everything(cloud, host)


async def delete_images(cloud: TestCloud) -> None:
    """All that were made of volumes."""
    for image in (await client_of(cloud).get("/image/v2/images?name=made")).json["images"]:
        assert (await client_of(cloud).delete(f"/image/v2/images/{image['id']}")).status == 204


async def be_reverted(cloud: TestCloud, host: SimHost) -> None:
    """Made, a snapshot made of it, reverted to that, and once more in vain; deleted."""
    await make_volume(cloud)
    await converge(cloud, host)
    client = cloud.as_admin.with_headers(OpenStack_API_Version="volume 3.40")
    for volume in await list_volumes(cloud):
        made = await client.post("/volume/v3/snapshots", {"snapshot": {"volume_id": volume["id"]}})
        await converge(cloud, host)
        revert = {"revert": {"snapshot_id": made.json["snapshot"]["id"]}}
        for reason in ("", "It is broken."):
            if reason:
                host.failing[volume["id"]] = reason
            await client.post(f"{VOLUMES}/{volume['id']}/action", revert)
            await converge(cloud, host)
    host.failing.clear()
    await delete_everything(cloud, host)


async def change_storage(cloud: TestCloud, host: SimHost) -> None:
    """Made in files, moved to Ceph, and back in vain; deleted."""
    await cloud.db.run(ensure_ceph_type, 1)
    await host.register(traits=[storage_trait(CEPH), storage_trait(LOCAL)])
    await make_volume(cloud, volume_type=LOCAL)
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        for name, reason in ((CEPH, ""), (LOCAL, "No room.")):
            if reason:
                host.failing[volume["id"]] = reason
            retype = {"os-retype": {"new_type": name, "migration_policy": "on-demand"}}
            await client_of(cloud).post(f"{VOLUMES}/{volume['id']}/action", retype)
            await host.sync()
            host.failing.clear()
            await converge(cloud, host)
    await delete_everything(cloud, host)


async def be_no_snapshot(cloud: TestCloud, host: SimHost) -> None:
    """Made, a snapshot of it made in vain, deleted with that."""
    await make_volume(cloud)
    await converge(cloud, host)
    for volume in await list_volumes(cloud):
        made = await client_of(cloud).post("/volume/v3/snapshots", {"snapshot": {"volume_id": volume["id"]}})
        host.failing[made.json["snapshot"]["id"]] = "No room."
        await converge(cloud, host)
    host.failing.clear()
    await delete_everything(cloud, host)


LIVES: tuple[Life, ...] = (
    grow,
    come_to_nothing,
    stop_growing,
    be_lent,
    carry_a_server,
    become_an_image,
    become_no_image,
    be_reverted,
    be_no_snapshot,
    change_storage,
)
_LIFE = {"volume.create.committed", "saga.volume.create.committed", "volume.delete.committed"} | {
    f"saga.volume.delete.{step}" for step in ("wish", "forget", "committed")
}
EXPECTED = {
    "grow": _LIFE | {"saga.volume.create.wish", "volume.extend.committed", "saga.volume.extend.wish"},
    "come_to_nothing": _LIFE | {"saga.volume.create.wish.undone"},
    "stop_growing": _LIFE | {"saga.volume.extend.wish.undone"},
    "be_lent": _LIFE | {"volume.attach.committed", "volume.detach.committed", "reports.committed"},
    "become_an_image": _LIFE
    | {"volume.upload.committed", "saga.volume.upload.wish", "saga.volume.upload.made", "saga.volume.upload.let_go"},
    "become_no_image": _LIFE | {"volume.upload.committed", "saga.volume.upload.wish.undone"},
    "be_reverted": _LIFE
    | {
        "volume.revert.committed",
        "saga.snapshot.create.wish",
        "saga.snapshot.delete.forget",
        "saga.volume.revert.reverted",
        "saga.volume.revert.done",
        "saga.volume.revert.wish.undone",
    },
    "be_no_snapshot": _LIFE | {"saga.snapshot.create.wish.undone", "saga.snapshot.delete.forget"},
    "change_storage": _LIFE | {"volume.retype.committed", "saga.volume.retype.wish", "saga.volume.retype.wish.undone"},
    "carry_a_server": {"server.create.committed", "saga.server.delete.buried", "saga.volume.delete.forget"},
}
"""Points that each life must at least pass, or the test tests less than it says."""


async def settle_and_check(cloud: TestCloud, host: SimHost) -> None:
    """Whatever was going on comes to its end, and then everything can be deleted without a trace."""
    await converge(cloud, host)
    assert {server["status"] for server in await list_servers(cloud)} <= {"ACTIVE", "ERROR"}
    at_rest = {"available", "in-use", "error", "error_extending"}
    assert {volume["status"] for volume in await list_volumes(cloud)} <= at_rest
    host.failing.clear()
    images = (await client_of(cloud).get("/image/v2/images?name=made")).json["images"]
    assert {image["status"] for image in images} <= {"active"}
    await delete_everything(cloud, host)
    await delete_images(cloud)
    await sweep_images(cloud.cloud)
    await free_deleted_images(cloud.cloud)
    assert cloud.cloud.images.list() == set()
    assert (await list_servers(cloud), await list_volumes(cloud)) == ([], [])
    assert await cloud.db.read(find_leaks) == {}
    assert [key for key in host.things if key[0] in (Noun.SERVER, Noun.VOLUME, Noun.UPLOAD, Noun.IMAGE)] == []


@pytest.mark.parametrize("life", LIVES)
async def test_crash_at_every_point(tmp_path: Path, life: Life) -> None:
    sites = Sites(tmp_path)
    await sites.prepare(prepare)
    assert EXPECTED[life.__name__] <= await crash_at_every_point(sites, life, settle_and_check)


async def test_crash_on_postgres(tmp_path: Path, postgres: PostgresServer, postgres_template: str) -> None:
    sites = Sites(tmp_path, postgres, postgres_template)
    await sites.prepare(prepare)
    for life in (be_lent, become_an_image):
        assert EXPECTED[life.__name__] <= await crash_at_every_point(sites, life, settle_and_check, each_point_once)
    sites.close()
