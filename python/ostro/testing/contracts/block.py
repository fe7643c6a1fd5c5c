"""The contract of `ostro.agent.drivers.block.Block`. A subclass gives the fixture ``block``, opened and empty."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from ostro.agent.drivers.block import GIB, Block, Contents
from ostro.model.errors import Invalid, NoCapacity, NotFound, Unsupported
from ostro.model.wishes import EncryptionWish, ImageWish, RevertWish, SnapshotWish, UploadWish, VolumeWish

IMAGE = "1a000000-0000-4000-8000-000000000001"
SERVER = "5e000000-0000-4000-8000-000000000001"
VOLUME = "70000000-0000-4000-8000-000000000001"
COPY = "70000000-0000-4000-8000-000000000002"
OTHER = "70000000-0000-4000-8000-000000000004"
THIRD = "70000000-0000-4000-8000-000000000005"
UPLOAD = "0b000000-0000-4000-8000-000000000001"
SNAPSHOT = "50000000-0000-4000-8000-000000000001"
PASSPHRASE = "0123456789abcdef" * 4
LUKS_WISH = EncryptionWish("luks", "aes-xts-plain64", 512)
DATA = bytes(range(256)) * 4096
EMPTY = Contents(frozenset(), frozenset(), frozenset())


def image_wish(data: bytes = DATA, disk_format: str = "raw") -> ImageWish:
    """The wish that describes ``data``."""
    return ImageWish(IMAGE, disk_format, len(data), hashlib.sha512(data).hexdigest())


async def in_chunks(data: bytes) -> AsyncIterator[bytes]:
    """The data as a download gives it."""
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


class BlockContract:
    """What every block driver must do."""

    finds_any_root = False
    """Whether the driver finds a root disk for every server, because there is nothing in it."""

    async def test_it_is_empty_at_first_and_knows_its_size(self, block: Block) -> None:
        assert await block.contents() == EMPTY
        assert block.facts.disk_gb > 0 and block.facts.why

    async def test_an_image_is_kept_and_dropped(self, block: Block) -> None:
        await block.put_image(image_wish(), in_chunks(DATA))
        assert (await block.contents()).images == {IMAGE}
        await block.put_image(image_wish(), in_chunks(b"these are not read"))
        for _twice in range(2):
            await block.drop_image(IMAGE)
            assert await block.contents() == EMPTY

    async def test_a_root_disk_is_made_from_an_image_and_outlives_it(self, block: Block) -> None:
        with pytest.raises(NotFound):
            await block.make_root(SERVER, IMAGE, 1)
        await block.put_image(image_wish(), in_chunks(DATA))
        made = await block.make_root(SERVER, IMAGE, 1)
        assert made.size_bytes == GIB
        await block.drop_image(IMAGE)
        assert await block.make_root(SERVER, IMAGE, 1) == made
        assert await block.contents() == Contents(frozenset(), frozenset({SERVER}), frozenset())
        for _twice in range(2):
            await block.drop_root(SERVER)
            assert await block.contents() == EMPTY

    async def test_a_root_disk_of_size_0_is_as_large_as_its_image(self, block: Block) -> None:
        await block.put_image(image_wish(), in_chunks(DATA))
        assert (await block.make_root(SERVER, IMAGE, 0)).size_bytes == len(DATA)

    async def test_a_root_disk_is_found_and_grows(self, block: Block) -> None:
        await block.put_image(image_wish(), in_chunks(DATA))
        with pytest.raises(NotFound):
            await block.extend_root(SERVER, 1)
        if not self.finds_any_root:
            assert await block.find_root(SERVER) is None
        assert await block.root_file(SERVER) == ""
        made = await block.make_root(SERVER, IMAGE, 1)
        assert await block.find_root(SERVER) == made
        for size_gb in (1, 3, 3, 2, 0):
            grown = await block.extend_root(SERVER, size_gb)
            assert grown == msgspec.structs.replace(made, size_bytes=GIB if size_gb == 1 else 3 * GIB)
            assert await block.find_root(SERVER) == grown
        assert await block.make_root(SERVER, IMAGE, 1) == grown

    async def test_a_root_disk_can_be_handed_over_again_and_again(self, block: Block) -> None:
        for _twice in range(2):
            await block.hand_over_root(SERVER, "heir")
        made = await block.make_root(SERVER, "", 1)
        for _twice in range(2):
            await block.hand_over_root(SERVER, "heir")
        if made.ceph is not None:
            assert await block.contents() == EMPTY
            await block.drop_root(SERVER)
        if not self.finds_any_root:
            assert await block.find_root(SERVER) == made, (
                "what hosts share is the heir's, what they don't goes with the server's absence"
            )
        assert await block.make_root(SERVER, "", 1) == made, "the server has come back"
        await block.drop_root(SERVER)
        assert await block.contents() == EMPTY

    async def test_a_root_disk_that_is_there_is_not_received(self, block: Block) -> None:
        made = await block.make_root(SERVER, "", 1)
        assert await block.receive_root(SERVER, "", in_chunks(b"these are not a disk")) == made
        if made.ceph is not None:
            assert await block.root_file(SERVER) == "", "hosts share it"
            await block.drop_root(SERVER)
            await block.put_image(image_wish(), in_chunks(DATA))
            with pytest.raises(Unsupported):
                await block.receive_root(SERVER, IMAGE, in_chunks(DATA))
            assert await block.find_root(SERVER) is None

    async def test_disks_that_nobody_else_has_are_taken_over(self, block: Block) -> None:
        await block.take_over(SERVER, [VOLUME])
        made = await block.make_root(SERVER, "", 1)
        await block.take_over(SERVER, [VOLUME])
        assert await block.make_root(SERVER, "", 1) == made

    async def test_a_root_disk_can_be_blank(self, block: Block) -> None:
        assert (await block.make_root(SERVER, "", 2)).size_bytes == 2 * GIB

    async def test_a_volume_is_made_grown_and_deleted(self, block: Block) -> None:
        assert await block.find_volume(VOLUME) is None
        made = await block.make_volume(VolumeWish(VOLUME, 1))
        assert made.size_bytes == GIB
        assert await block.find_volume(VOLUME) == made
        assert await block.make_volume(VolumeWish(VOLUME, 1)) == made
        for _twice in range(2):
            await block.extend_volume(VOLUME, 2)
            found = await block.find_volume(VOLUME)
            assert found is not None and found.size_bytes == 2 * GIB
        await block.extend_volume(VOLUME, 1)
        assert await block.find_volume(VOLUME) == found
        assert await block.make_volume(VolumeWish(VOLUME, 1)) == found
        for _twice in range(2):
            await block.drop_volume(VOLUME)
            assert await block.find_volume(VOLUME) is None
        with pytest.raises(NotFound):
            await block.extend_volume(VOLUME, 3)

    async def test_a_volume_is_made_from_an_image_or_a_volume(self, block: Block) -> None:
        with pytest.raises(NotFound):
            await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
        with pytest.raises(NotFound):
            await block.make_volume(VolumeWish(COPY, 1, source_volume_id=VOLUME))
        await block.put_image(image_wish(), in_chunks(DATA))
        await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
        await block.make_volume(VolumeWish(COPY, 2, source_volume_id=VOLUME))
        found = await block.find_volume(COPY)
        assert found is not None and found.size_bytes == 2 * GIB
        assert (await block.contents()).volumes == {VOLUME, COPY}

    async def test_a_snapshot_is_kept_and_volumes_are_made_from_it(self, block: Block) -> None:
        wish, copy = SnapshotWish(SNAPSHOT, VOLUME), VolumeWish(COPY, 2, "", VOLUME, source_snapshot_id=SNAPSHOT)
        with pytest.raises(NotFound):
            await block.make_snapshot(wish)
        assert await block.find_snapshot(SNAPSHOT) is None
        await block.make_volume(VolumeWish(VOLUME, 1))
        with pytest.raises(NotFound):
            await block.make_volume(copy)
        for _twice in range(2):
            await block.make_snapshot(wish)
            found = await block.find_snapshot(SNAPSHOT)
            assert found is not None and found.size_bytes == GIB
            assert (await block.contents()).snapshots == {SNAPSHOT}
        await block.extend_volume(VOLUME, 2)
        assert await block.find_snapshot(SNAPSHOT) == found
        made = await block.make_volume(copy)
        assert made.size_bytes == 2 * GIB
        for _twice in range(2):
            await block.drop_snapshot(SNAPSHOT)
            assert await block.find_snapshot(SNAPSHOT) is None
        assert await block.find_volume(COPY) == made
        for volume_id in (VOLUME, COPY):
            await block.drop_volume(volume_id)
        assert await block.contents() == EMPTY

    @pytest.mark.parametrize("encryption", [None, LUKS_WISH])
    async def test_a_volume_is_reverted_to_a_snapshot(self, block: Block, encryption: EncryptionWish | None) -> None:
        revert = RevertWish("one", SNAPSHOT)
        with pytest.raises(NotFound):
            await block.revert_volume(VOLUME, revert)
        made = await block.make_volume(VolumeWish(VOLUME, 1, encryption=encryption), PASSPHRASE)
        with pytest.raises(NotFound):
            await block.revert_volume(VOLUME, revert)
        assert await block.find_volume(VOLUME) == made
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        snapshot = await block.find_snapshot(SNAPSHOT)
        for wish in (revert, revert, RevertWish("two", SNAPSHOT)):
            await block.revert_volume(VOLUME, wish)
            assert await block.find_volume(VOLUME) == msgspec.structs.replace(made, reverted=wish.id)
        assert await block.find_snapshot(SNAPSHOT) == snapshot
        await block.drop_snapshot(SNAPSHOT)
        await block.revert_volume(VOLUME, wish)
        await block.drop_volume(VOLUME)
        assert await block.contents() == EMPTY
        assert (await block.make_volume(VolumeWish(VOLUME, 1))).reverted == "", "it is another one"
        again = await block.find_volume(VOLUME)
        assert again is not None and again.reverted == ""

    async def test_a_volume_may_go_before_its_snapshots(self, block: Block) -> None:
        await block.make_volume(VolumeWish(VOLUME, 1))
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        await block.drop_volume(VOLUME)
        await block.drop_snapshot(SNAPSHOT)
        assert await block.contents() == EMPTY

    async def test_an_encrypted_volume_is_as_large_for_its_guest_as_any_other(self, block: Block) -> None:
        await block.put_image(image_wish(), in_chunks(DATA))
        blank = await block.make_volume(VolumeWish(VOLUME, 1, encryption=LUKS_WISH), PASSPHRASE)
        assert (blank.format, blank.size_bytes) == ("luks", GIB)
        assert await block.find_volume(VOLUME) == blank
        assert await block.make_volume(VolumeWish(VOLUME, 1, encryption=LUKS_WISH)) == blank
        await block.extend_volume(VOLUME, 2)
        found = await block.find_volume(VOLUME)
        assert found is not None and (found.format, found.size_bytes) == ("luks", 2 * GIB)
        of_image = await block.make_volume(VolumeWish(COPY, 1, IMAGE, encryption=LUKS_WISH), PASSPHRASE)
        assert (of_image.format, of_image.size_bytes) == ("luks", GIB)
        await block.make_snapshot(SnapshotWish(SNAPSHOT, COPY))
        snapshot = await block.find_snapshot(SNAPSHOT)
        assert snapshot is not None and (snapshot.format, snapshot.size_bytes) == ("luks", GIB)
        for wish in (
            VolumeWish(OTHER, 2, "", COPY, encryption=LUKS_WISH),
            VolumeWish(THIRD, 2, "", COPY, source_snapshot_id=SNAPSHOT, encryption=LUKS_WISH),
        ):
            made = await block.make_volume(wish)
            assert (made.format, made.size_bytes) == ("luks", 2 * GIB)
            assert await block.find_volume(wish.id) == made
        await block.drop_snapshot(SNAPSHOT)
        for volume_id in (VOLUME, COPY, OTHER, THIRD):
            await block.drop_volume(volume_id)
        await block.drop_image(IMAGE)
        assert await block.contents() == EMPTY

    async def test_a_volume_is_held_to_limits_where_the_storage_can(self, block: Block) -> None:
        with pytest.raises(NotFound):
            await block.limit_volume(VOLUME, {})
        limits = {"total_iops_sec": 100, "read_bytes_sec": 1 << 20}
        made = await block.make_volume(VolumeWish(VOLUME, 1, limits=limits))
        assert made.limits in (None, limits)
        assert await block.find_volume(VOLUME) == made
        for others in ({"total_iops_sec": 7, "write_iops_sec": 5}, {}):
            await block.limit_volume(VOLUME, others)
            found = await block.find_volume(VOLUME)
            assert found is not None and found.limits in (None, others)

    async def test_a_volume_that_could_never_be_filled_is_refused(self, block: Block) -> None:
        with pytest.raises(NoCapacity):
            await block.make_volume(VolumeWish(VOLUME, 1 << 20))
        assert await block.contents() == EMPTY
        await block.make_volume(VolumeWish(VOLUME, 1))
        with pytest.raises(NoCapacity):
            await block.extend_volume(VOLUME, 1 << 20)
        found = await block.find_volume(VOLUME)
        assert found is not None and found.size_bytes == GIB

    async def test_what_does_not_fit_is_refused(self, block: Block) -> None:
        await block.put_image(self.too_large_for_1_gb(), self.chunks_of_too_large())
        with pytest.raises(Invalid):
            await block.make_root(SERVER, IMAGE, 1)
        with pytest.raises(Invalid):
            await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
        assert await block.contents() == Contents(frozenset({IMAGE}), frozenset(), frozenset())

    def too_large_for_1_gb(self) -> ImageWish:
        """An image whose guest sees more than 1 GiB."""
        raise NotImplementedError

    def chunks_of_too_large(self) -> AsyncIterator[bytes]:
        """Its bytes."""
        raise NotImplementedError

    # -- images of volumes ---------------------------------------------------------------------------------------

    async def test_a_volume_is_exported_and_nothing_is_left(self, block: Block) -> None:
        await block.put_image(image_wish(), in_chunks(DATA))
        await block.make_volume(VolumeWish(VOLUME, 1, IMAGE))
        for disk_format in ("raw", "qcow2"):
            upload = UploadWish(UPLOAD, VOLUME, disk_format)
            assert not await block.publish(upload), "its images are not shared with a control plane"
            async with block.exported(upload) as export:
                size_bytes = 0
                begin = b""
                async for chunk in export.chunks:
                    begin = begin or chunk[: len(DATA)]
                    size_bytes += len(chunk)
                assert size_bytes == export.size_bytes
                self.check_export(disk_format, begin, size_bytes)
            for _twice in range(2):
                await block.drop_upload(UPLOAD)
            assert (await block.contents()).uploads == frozenset()
        await block.drop_volume(VOLUME)

    def check_export(self, disk_format: str, begin: bytes, size_bytes: int) -> None:
        """Whether this can be an image of a volume that begins with DATA."""
        if disk_format == "raw":
            assert (size_bytes, begin) == (GIB, DATA)
        else:
            assert begin.startswith(b"QFI\xfb") and size_bytes < GIB

    async def test_no_image_is_made_of_a_volume_that_is_not_there_or_encrypted(self, block: Block) -> None:
        with pytest.raises(NotFound):
            async with block.exported(UploadWish(UPLOAD, VOLUME, "raw")):
                pass
        await block.make_volume(VolumeWish(VOLUME, 1, encryption=LUKS_WISH), PASSPHRASE)
        for disk_format in ("raw", "qcow2"):
            with pytest.raises(Unsupported):
                async with block.exported(UploadWish(UPLOAD, VOLUME, disk_format)):
                    pass
        await block.drop_volume(VOLUME)
        assert await block.contents() == EMPTY
