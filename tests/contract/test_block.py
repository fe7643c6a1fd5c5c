"""Both block drivers against the contract, and what only files promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from ostro.agent.drivers.block import GIB, Block, fake, local
from ostro.agent.drivers.block.local import LocalBlock, LocalConfig
from ostro.agent.drivers.block.qcow2 import CLUSTER_BYTES, HEADER_BYTES, overlay, read_header
from ostro.model.errors import Invalid, NotFound, Unsupported
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import ImageWish
from ostro.runtime.world import World
from ostro.testing.contracts.block import DATA, EMPTY, IMAGE, SERVER, BlockContract, image_wish, in_chunks


def as_bytes(backing_file: str, backing_format: str, size_bytes: int) -> bytes:
    """A whole overlay file."""
    content = overlay(backing_file, backing_format, size_bytes)
    data = bytearray(content.size_bytes)
    for offset, piece in content.pieces.items():
        data[offset : offset + len(piece)] = piece
    return bytes(data)


class Empty:
    """What the fake's images hold."""

    def check_export(self, disk_format: str, begin: bytes, size_bytes: int) -> None:
        assert size_bytes == len(begin) == 512


class TestFakeBlock(Empty, BlockContract):
    finds_any_root = True

    @pytest.fixture
    async def block(self) -> AsyncIterator[Block]:
        async with fake.open_(World(), fake.FakeConfig(disk_gb=1000)) as driver:
            yield driver

    def too_large_for_1_gb(self) -> ImageWish:
        return ImageWish(IMAGE, "raw", 2 * GIB, "")

    def chunks_of_too_large(self) -> AsyncIterator[bytes]:
        return in_chunks(b"")


class TestFakeBlockInPool(Empty, BlockContract):
    """What several fake hosts share."""

    @pytest.fixture
    def pool(self) -> fake.FakePool:
        return fake.FakePool()

    @pytest.fixture
    async def block(self, pool: fake.FakePool) -> AsyncIterator[Block]:
        async with fake.open_(World(), fake.FakeConfig(1000, (CEPH, LOCAL), pool, "one")) as driver:
            yield driver

    def too_large_for_1_gb(self) -> ImageWish:
        return ImageWish(IMAGE, "raw", 2 * GIB, "")

    def chunks_of_too_large(self) -> AsyncIterator[bytes]:
        return in_chunks(b"")

    async def test_a_disk_is_deleted_by_its_owner_alone(self, block: Block, pool: fake.FakePool) -> None:
        other = fake.FakeBlock(fake.FakeConfig(1000, (CEPH, LOCAL), pool, "two"))
        made = await block.make_root(SERVER, "", 1)
        await block.hand_over_root(SERVER, "two")
        await block.drop_root(SERVER)
        assert await other.find_root(SERVER) == made and await block.contents() == EMPTY
        assert await other.make_root(SERVER, "", 1) == made
        await other.drop_root(SERVER)
        assert await block.find_root(SERVER) is None


class TestLocalBlock(BlockContract):
    @pytest.fixture
    async def block(self, tmp_path: Path) -> AsyncIterator[Block]:
        async with local.open_(World(), LocalConfig(tmp_path)) as driver:
            yield driver
        assert list((tmp_path / "unfinished").iterdir()) == []

    def too_large_for_1_gb(self) -> ImageWish:
        return image_wish(as_bytes("", "", 2 * GIB), "qcow2")

    def chunks_of_too_large(self) -> AsyncIterator[bytes]:
        return in_chunks(as_bytes("", "", 2 * GIB))

    @pytest.mark.parametrize(
        ("data", "disk_format"),
        [
            pytest.param(as_bytes("/etc/passwd", "raw", GIB), "qcow2", id="backing file"),
            pytest.param(
                as_bytes("", "", GIB)[:72] + b"\0\0\0\0\0\0\0\4" + bytes(CLUSTER_BYTES), "qcow2", id="data file"
            ),
            pytest.param(as_bytes("", "", GIB)[:32] + b"\0\0\0\1" + bytes(CLUSTER_BYTES), "qcow2", id="encrypted"),
            pytest.param(DATA, "qcow2", id="not qcow2"),
            pytest.param(b"QFI", "qcow2", id="short"),
        ],
    )
    async def test_a_dangerous_image_is_refused(self, block: Block, data: bytes, disk_format: str) -> None:
        with pytest.raises(Invalid):
            await block.put_image(image_wish(data, disk_format), in_chunks(data))
        assert await block.contents() == EMPTY

    async def test_other_bytes_than_those_promised_are_refused(self, block: Block) -> None:
        with pytest.raises(Invalid):
            await block.put_image(image_wish(), in_chunks(DATA[:-1]))
        assert await block.contents() == EMPTY

    async def test_a_format_that_no_disk_can_be_made_from(self, block: Block) -> None:
        with pytest.raises(Unsupported):
            await block.put_image(image_wish(disk_format="vmdk"), in_chunks(DATA))

    async def test_a_download_that_breaks_off_leaves_nothing(self, block: Block) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield DATA[:1000]
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await block.put_image(image_wish(), broken())
        assert await block.contents() == EMPTY

    @pytest.mark.parametrize("image_id", [IMAGE, ""])
    async def test_a_root_disk_goes_to_another_host_as_a_file(
        self, block: LocalBlock, tmp_path: Path, image_id: str
    ) -> None:
        """With what was written to it; the bytes of its image are there already."""
        await block.put_image(image_wish(), in_chunks(DATA))
        made = await block.make_root(SERVER, image_id, 1)
        command = ["qemu-io", "-c", "write -P 0x77 1M 4096", made.path]
        await trio.run_process(command, capture_stdout=True)
        sent = await trio.Path(await block.root_file(SERVER)).read_bytes()
        assert await block.root_file(SERVER) == made.path
        async with local.open_(World(), LocalConfig(tmp_path / "other")) as other:
            if image_id:
                with pytest.raises(NotFound):
                    await other.receive_root(SERVER, image_id, in_chunks(sent))
                await other.put_image(image_wish(), in_chunks(DATA))
            for bad in (DATA, b"", as_bytes("", "", GIB) if image_id else as_bytes("base", "raw", GIB)):
                with pytest.raises(Invalid):
                    await other.receive_root(SERVER, image_id, in_chunks(bad))
                assert await other.find_root(SERVER) is None
            for _twice in range(2):
                received = await other.receive_root(SERVER, image_id, in_chunks(sent))
                assert (received.size_bytes, received.format) == (GIB, "qcow2")
            await block.drop_root(SERVER)
            seen = tmp_path / "seen.raw"
            await trio.run_process(["qemu-img", "convert", "-O", "raw", received.path, str(seen)])
            with seen.open("rb") as file:
                begin = file.read(len(DATA) + 4096)
            assert begin == (DATA if image_id else bytes(len(DATA))) + b"\x77" * 4096
            assert list((tmp_path / "other" / "unfinished").iterdir()) == []

    async def test_what_was_left_unfinished_is_thrown_away(self, tmp_path: Path) -> None:
        for name in ("image-x", "root-x/base"):
            path = tmp_path / "unfinished" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        async with local.open_(World(), LocalConfig(tmp_path)) as driver:
            assert await driver.contents() == EMPTY
        assert list((tmp_path / "unfinished").iterdir()) == []

    async def test_a_cancelled_download_can_be_repeated(self, block: LocalBlock) -> None:
        async def endless() -> AsyncIterator[bytes]:
            yield DATA[:1000]
            await trio.sleep_forever()

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(block.put_image, image_wish(), endless())
                await trio.testing.wait_all_tasks_blocked(0.05)
                scope.cancel()
        await block.put_image(image_wish(), in_chunks(DATA))
        assert (await block.contents()).images == {IMAGE}


@pytest.mark.parametrize("size_gb", [0, 1, 20, 5000, 40_000])
def test_an_overlays_header_says_what_was_asked(size_gb: int) -> None:
    data = overlay("base", "raw", size_gb * GIB)
    header = read_header(data.pieces[0].ljust(HEADER_BYTES, b"\0"))
    assert (header.size_bytes, header.refers_elsewhere, header.encrypted) == (size_gb * GIB, True, False)
    assert not read_header(overlay("", "", GIB).pieces[0].ljust(HEADER_BYTES, b"\0")).refers_elsewhere
