"""Local storage on real disks: what qemu-img makes of our files, and a disk that is full."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ostro.agent.drivers.block import GIB, Contents
from ostro.agent.drivers.block.local import LocalBlock, LocalConfig, open_
from ostro.model.errors import NoCapacity
from ostro.model.wishes import VolumeWish
from ostro.runtime.world import World
from ostro.testing.contracts.block import DATA, EMPTY, IMAGE, SERVER, VOLUME, image_wish, in_chunks


@pytest.fixture
async def block(tmp_path: Path) -> AsyncIterator[LocalBlock]:
    async with open_(World(), LocalConfig(tmp_path)) as driver:
        yield driver


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "ostro-test", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def qemu_img(*arguments: str) -> Any:
    done = subprocess.run(["qemu-img", *arguments, "--output=json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def convert(*arguments: str) -> None:
    subprocess.run(["qemu-img", "convert", *arguments], check=True)


@pytest.mark.parametrize("size_gb", [1, 20, 5000])
async def test_a_root_disk_is_a_sound_overlay(block: LocalBlock, size_gb: int) -> None:
    await block.put_image(image_wish(), in_chunks(DATA))
    made = await block.make_root(SERVER, IMAGE, size_gb)
    info = qemu_img("info", "-f", "qcow2", made.path)
    assert (info["virtual-size"], info["backing-filename"], info["backing-filename-format"]) == (
        size_gb * GIB,
        "base",
        "raw",
    )
    assert qemu_img("check", "-f", "qcow2", made.path)["check-errors"] == 0
    assert info["actual-size"] < 1 << 18


async def test_a_guest_sees_the_image_on_its_root_disk_and_on_a_volume(block: LocalBlock, tmp_path: Path) -> None:
    source = tmp_path / "image.raw"
    source.write_bytes(DATA)
    convert("-c", "-f", "raw", "-O", "qcow2", str(source), str(tmp_path / "image.qcow2"))
    data = (tmp_path / "image.qcow2").read_bytes()
    await block.put_image(image_wish(data, "qcow2"), in_chunks(data))
    root = await block.make_root(SERVER, IMAGE, 1)
    flat = tmp_path / "flat.raw"
    convert("-f", "qcow2", "-O", "raw", root.path, str(flat))
    volume = await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
    for path in (flat, Path(volume.path)):
        with path.open("rb") as file:
            assert file.read(len(DATA)) == DATA
            assert file.read(4096) == bytes(4096)
        assert path.stat().st_size == GIB


async def test_a_full_disk_is_told_and_nothing_is_left_half(small_disk: Path) -> None:
    async with open_(World(), LocalConfig(small_disk)) as block:
        large = DATA * 3
        with pytest.raises(NoCapacity, match="full"):
            await block.put_image(image_wish(large), in_chunks(large))
        assert await block.contents() == EMPTY
        await block.put_image(image_wish(), in_chunks(DATA))
        with pytest.raises(NoCapacity, match="free"):
            await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
        assert await block.contents() == Contents(frozenset({IMAGE}), frozenset(), frozenset())
        assert list((small_disk / "unfinished").iterdir()) == []
