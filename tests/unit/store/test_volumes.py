"""Volume rows and their attachments, on both engines."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ostro.model.errors import NotFound
from ostro.model.volumes import AttachmentStatus, VolumeStatus
from ostro.store.attachments import ATTACHMENTS, Attachment
from ostro.store.block_devices import BLOCK_DEVICES, BlockDevice, list_block_devices
from ostro.store.database import Database, Tx
from ostro.store.volume_types import VOLUME_TYPES
from ostro.store.volumes import VOLUMES, Volume, count_sizes
from ostro.testing.rows import insert_row
from ostro.testing.servers import put_server

VOLUME = Volume(
    id="v1",
    project_id="p1",
    user_id="u",
    name="näme",
    description="",
    size_gb=1,
    wished_size_gb=2,
    status=VolumeStatus.EXTENDING,
    built=True,
    reserved=False,
    deleting=False,
    fault="",
    host_id="h",
    availability_zone="nova",
    volume_type_id="t",
    bootable=True,
    metadata={"a": "b"},
    image_id="",
    image_metadata={},
    source_volume_id="",
    created_at_us=1,
    updated_at_us=2,
    backend="local",
    wished_backend="local",
    snapshot_id="",
)


def add_volume(tx: Tx, /, **changes: Any) -> Volume:
    """A volume of the type that the migrations make."""
    kind = VOLUME_TYPES.find(tx, name="local")
    assert kind is not None
    return VOLUMES.insert(tx, msgspec.structs.replace(VOLUME, volume_type_id=kind.id, **changes))


async def test_a_row_comes_back_as_it_was(db: Database) -> None:
    made = await db.run(add_volume)
    assert await db.read(lambda tx: VOLUMES.get(tx, "v1")) == made
    await db.run(lambda tx: VOLUMES.update(tx, "v1", status=VolumeStatus.IN_USE, metadata={}))
    changed = msgspec.structs.replace(made, status=VolumeStatus.IN_USE, metadata={})
    assert await db.read(lambda tx: VOLUMES.get(tx, "v1")) == changed
    with pytest.raises(NotFound):
        await db.read(lambda tx: VOLUMES.get(tx, "v2"))


async def test_sizes_by_project_and_of_all(db: Database) -> None:
    assert await db.read(count_sizes, None) == (0, 0)
    for number, (project_id, size_gb) in enumerate((("p1", 1), ("p1", 16_384), ("p2", 3))):
        changes = {"id": f"v{number}", "project_id": project_id, "size_gb": size_gb}
        await db.run(add_volume, **changes)
    assert await db.read(count_sizes, "p1") == (2, 16_385)
    assert await db.read(count_sizes, "nobody") == (0, 0)
    assert await db.read(count_sizes, None) == (3, 16_388)


async def test_attachments_are_found_by_volume_and_server(db: Database) -> None:
    await db.run(add_volume)
    made = Attachment("a", "v1", "p1", "s", "h", "/dev/vdb", "rw", AttachmentStatus.ATTACHING, {"ip": "x"}, 5, 0)
    await db.run(lambda tx: ATTACHMENTS.insert(tx, made))
    assert await db.read(lambda tx: ATTACHMENTS.list(tx, server_id=["s", "t"])) == [made]
    await db.run(lambda tx: ATTACHMENTS.update(tx, "a", status=AttachmentStatus.ATTACHED, attached_at_us=9))
    found = await db.read(lambda tx: ATTACHMENTS.find(tx, volume_id="v1", status=AttachmentStatus.ATTACHED))
    assert found is not None and found.attached_at_us == 9


async def test_block_devices_by_server_in_their_order(db: Database) -> None:
    for server_id in ("s", "t"):
        await db.run(put_server, id=server_id)
    for number, (server_id, device, at_us) in enumerate(
        (("s", "/dev/vdc", 1), ("s", "/dev/vdb", 1), ("t", "/dev/vdb", 0))
    ):
        row = BlockDevice(f"d{number}", server_id, f"v{number}", f"a{number}", device, -1, True, None, at_us)
        await db.run(insert_row, BLOCK_DEVICES, row)
    found = await db.read(list_block_devices, ["s", "t", "u"])
    assert {id_: [d.device for d in devices] for id_, devices in found.items()} == {
        "s": ["/dev/vdb", "/dev/vdc"],
        "t": ["/dev/vdb"],
    }
    assert await db.read(list_block_devices, []) == {}
