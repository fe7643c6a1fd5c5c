"""Image files: fetched, checked against what they were said to be, and copied by qemu-img. Shared by the drivers that keep real bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import trio

from ostro.agent.drivers.block import BlockFacts, Stored
from ostro.agent.drivers.block.qcow2 import HEADER_BYTES, read_header
from ostro.model.errors import Invalid, NoCapacity, Unavailable, Unsupported
from ostro.model.wishes import ImageWish, VolumeWish
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

P = ParamSpec("P")
T = TypeVar("T")

FORMATS = {"qcow2": "qcow2", "raw": "raw", "iso": "raw"}
"""Image formats that disks are made from, and what QEMU is told they are."""

COPY_DEADLINE_S = 1800.0
CALL_DEADLINE_S = 60.0


class FileCalls:
    """Runs blocking functions on files in at most ``workers`` threads. A full disk is NoCapacity."""

    def __init__(self, world: World, workers: int) -> None:
        self._world = world
        self._pool = Pool("disk", workers)

    async def __call__(self, fn: Callable[P, T], *args: P.args, **_: P.kwargs) -> T:
        """Run ``fn(*args)``. Raises what it raises, NoCapacity, and Unavailable at the deadline."""
        with _full_disk_is_no_capacity():
            return await self._world.threads.run(self._pool, fn, *args, deadline_s=CALL_DEADLINE_S)


def qemu_format(image: ImageWish) -> str:
    """What QEMU is told that the image's bytes are. Raises Unsupported."""
    found = FORMATS.get(image.disk_format)
    if found is None:
        raise Unsupported(f"No disk can be made from an image in format {image.disk_format}.")
    return found


async def fetch_image(call: FileCalls, image: ImageWish, chunks: AsyncIterable[bytes], part: Path) -> None:
    """Write the image's bytes to the file ``part``, flushed.

    Raises:
        Invalid: they aren't those that the wish describes, or the image refers to other files. The file may be there nevertheless.
    """
    digest = hashlib.sha512()

    def take(chunk: bytes) -> None:
        file.write(chunk)
        digest.update(chunk)

    # Closing writes what is still held, so it too may find the disk full.
    with _full_disk_is_no_capacity(), await call(part.open, "wb") as file:
        async for chunk in chunks:
            await call(take, chunk)
        await call(file.flush)
        await call(os.fsync, file.fileno())
    if digest.hexdigest() != image.sha512:
        raise Invalid(f"The bytes received for image {image.id} do not have its SHA-512.")
    await call(_check_image, part, qemu_format(image))


def check_backend(volume: VolumeWish, facts: BlockFacts) -> None:
    """Raise Unsupported for a volume in a kind of storage that isn't here."""
    if volume.backend and volume.backend not in facts.backends:
        raise Unsupported(f"This host has no storage of the kind {volume.backend}, only {', '.join(facts.backends)}.")


def for_qemu(disk: Stored) -> str:
    """The disk as QEMU's own tools name it."""
    if disk.ceph is None:
        return disk.path
    conf = disk.ceph.conf
    for sign in "\\:@":
        conf = conf.replace(sign, f"\\{sign}")
    return f"{disk.path}:id={disk.ceph.user}:conf={conf}"


def check_fits(source: Stored, size_bytes: int) -> None:
    """Raise Invalid when a disk of ``size_bytes`` can't hold what the source does."""
    if source.size_bytes > size_bytes:
        raise Invalid(f"What the volume is made from needs {source.size_bytes} bytes and does not fit in it.")


def guest_size(path: Path, format_: str) -> int:
    """How large a guest sees the file. Blocks."""
    if format_ == "raw":
        return path.stat().st_size
    with path.open("rb") as file:
        return read_header(file.read(HEADER_BYTES)).size_bytes


async def copy_disk(source: Stored, target: str, *, onto: bool = False) -> None:
    """Copy what a guest sees in ``source`` to the raw disk ``target``, as QEMU names it, and flush it; zeros are left out.

    ``onto`` copies to a disk that is there and is known to be blank; else the target is a file to be made.

    Raises:
        NoCapacity: the target's disk is full.
        Unavailable: it failed or took too long.
    """
    # By itself qemu-img never flushes what it writes.
    command = ["qemu-img", "convert", "-U", "-t", "writeback", "-f", source.format, "-O", "raw"]
    command += ["-n", "--target-is-zero", "-W"] if onto else []
    with trio.move_on_after(COPY_DEADLINE_S):
        done = await trio.run_process(
            [*command, for_qemu(source), target], check=False, capture_stderr=True, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return
        words = done.stderr.decode(errors="replace").strip()[-300:]
        if os.strerror(errno.ENOSPC) in words:
            raise NoCapacity("The disk is full.", detail=words)
        raise Unavailable(f"qemu-img could not copy: {words}", retry_after_s=10)
    raise Unavailable(f"Copying {source.path} took more than {COPY_DEADLINE_S:g} s.")


@contextmanager
def _full_disk_is_no_capacity() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoCapacity("The host's disk is full.", detail=str(error)) from error
        raise


def _check_image(path: Path, format_: str) -> None:
    """Refuse an image whose header doesn't agree with its format or leads out of the file."""
    if format_ != "qcow2":
        return
    with path.open("rb") as file:
        header = read_header(file.read(HEADER_BYTES))
    if header.refers_elsewhere:
        raise Invalid("The image refers to other files (a backing file or an external data file).")
    if header.encrypted:
        raise Invalid("The image is encrypted by qcow2's own means, which is not supported.")
