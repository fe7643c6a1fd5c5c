"""Image files: fetched, checked against what they were said to be, and copied by qemu-img. Shared by the drivers that keep real bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import ParamSpec, TypeVar

import trio

from ostro.agent.drivers.block import BlockFacts, Export, Stored
from ostro.agent.drivers.block.luks import HEADER_BYTES as LUKS_BYTES
from ostro.agent.drivers.block.luks import make_header
from ostro.agent.drivers.block.qcow2 import HEADER_BYTES, read_header
from ostro.model.errors import Invalid, NoCapacity, Unavailable, Unsupported
from ostro.model.volumes import LUKS
from ostro.model.wishes import ImageWish, VolumeWish
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

P = ParamSpec("P")
T = TypeVar("T")

FORMATS = {"qcow2": "qcow2", "raw": "raw", "iso": "raw"}
"""Image formats that disks are made from, and what QEMU is told they are."""

EXPORTS = {
    "raw": "raw",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "ploop": "parallels",
}
"""Image formats that volumes are made into, and what QEMU calls them."""

COPY_DEADLINE_S = 1800.0
EXPORT_CHUNK_BYTES = 1 << 20
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


async def write_chunks(call: FileCalls, chunks: AsyncIterable[bytes], path: Path) -> None:
    """Write a new file, flushed. A full disk is NoCapacity."""
    with _full_disk_is_no_capacity(), await call(path.open, "wb") as file:
        async for chunk in chunks:
            await call(file.write, chunk)
        await call(file.flush)
        await call(os.fsync, file.fileno())


@asynccontextmanager
async def opened_export(call: FileCalls, path: Path) -> AsyncIterator[Export]:
    """The bytes of a file."""
    with await call(path.open, "rb") as file:

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await call(file.read, EXPORT_CHUNK_BYTES):
                yield chunk

        yield Export((await call(os.fstat, file.fileno())).st_size, chunks())


async def convert_disk(source: Stored, disk_format: str, path: Path) -> None:
    """Write what a guest sees in ``source`` to a new file as an image in the format. Raises Unsupported, and as `copy_disk`."""
    format_ = export_format(source, disk_format)
    await _convert(source, ["-f", source.format, "-O", format_, for_qemu(source), str(path)])


def export_format(source: Stored, disk_format: str) -> str:
    """What QEMU calls the format of an image that is to be made of a disk. Raises Unsupported."""
    found = EXPORTS.get(disk_format)
    if found is None or source.format == LUKS:
        raise Unsupported(f"No image in format {disk_format} can be made of this volume.")
    return found


async def grow_disk(disk: Stored, size_bytes: int) -> None:
    """Make a disk that nobody has open larger, as guests see it.

    Raises:
        Unavailable: it failed or took too long.
    """
    with trio.move_on_after(CALL_DEADLINE_S):
        command = ["qemu-img", "resize", "-f", disk.format, for_qemu(disk), str(size_bytes)]
        done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
        if done.returncode == 0:
            return
        words = done.stderr.decode(errors="replace").strip()[-300:]
        raise Unavailable(f"qemu-img could not make the disk larger: {words}", retry_after_s=10)
    raise Unavailable(f"Making {disk.path} larger took more than {CALL_DEADLINE_S:g} s.")


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
    if format_ != "qcow2":
        return path.stat().st_size - header_bytes(format_)
    with path.open("rb") as file:
        return read_header(file.read(HEADER_BYTES)).size_bytes


def header_bytes(format_: str) -> int:
    """How much of a disk in this format is not the guest's."""
    return LUKS_BYTES if format_ == LUKS else 0


def volume_format(volume: VolumeWish) -> str:
    """The format of the volume's bytes. Raises Unsupported."""
    if volume.encryption is None:
        return "raw"
    if volume.encryption.format != LUKS:
        raise Unsupported(f"This host can't encrypt with {volume.encryption.format}.")
    return LUKS


def is_encrypted_anew(volume: VolumeWish, source: Stored | None) -> bool:
    """Whether the volume gets a key of its own. A copy of one that is encrypted has its bytes, and so its key."""
    return volume.encryption is not None and (source is None or source.format != LUKS)


def luks_header(volume: VolumeWish, passphrase: str, random: Random) -> bytes:
    """What the volume's bytes begin with."""
    assert volume.encryption is not None and passphrase, "an encrypted volume is made with its passphrase"
    return make_header(passphrase, volume.encryption.key_bits, volume.id, random)


async def copy_disk(source: Stored, target: str, *, onto: bool = False) -> None:
    """Copy what a guest sees in ``source`` to the raw disk ``target``, as QEMU names it, and flush it; zeros are left out.

    Of an encrypted source the encrypted bytes are copied, header and all. ``onto`` copies to a disk that is there and is known to be blank; else
    the target is a file to be made.

    Raises:
        NoCapacity: the target's disk is full.
        Unavailable: it failed or took too long.
    """
    format_ = "raw" if source.format == LUKS else source.format
    more = ["-n", "--target-is-zero", "-W"] if onto else []
    await _convert(source, [*more, "-f", format_, "-O", "raw", for_qemu(source), target])


async def copy_encrypted(source: Stored, target: Stored, passphrase: str) -> None:
    """Copy what a guest sees in ``source`` to a disk that is there and has a LUKS header, encrypting it. Zeros are written too. Raises as `copy_disk`."""
    options = f"driver=luks,key-secret=key,{node_options(target, 'file')}"
    with _in_memory(passphrase) as file:
        secret = ["--object", f"secret,id=key,file=/dev/fd/{file}"]
        words = ["-n", "-W", "-f", source.format, *secret, "--target-image-opts", for_qemu(source), options]
        await _convert(source, words, file)


def node_options(disk: Stored, node: str) -> str:
    """The disk as QEMU's options for the node of this name below another."""
    if disk.ceph is None:
        words = {"driver": "file", "filename": disk.path}
    else:
        pool, _, image = disk.path.removeprefix("rbd:").partition("/")
        words = {"driver": "rbd", "pool": pool, "image": image, "conf": disk.ceph.conf, "user": disk.ceph.user}
    return ",".join(f"{node}.{name}={value.replace(',', ',,')}" for name, value in words.items())


@contextmanager
def _in_memory(secret: str) -> Iterator[int]:
    """A file that is on no disk, with the secret in it."""
    file = os.memfd_create("ostro-secret")
    try:
        os.write(file, secret.encode())
        yield file
    finally:
        os.close(file)


async def _convert(source: Stored, words: list[str], file: int | None = None) -> None:
    # By itself qemu-img never flushes what it writes.
    command = ["qemu-img", "convert", "-U", "-t", "writeback", *words]
    passed = () if file is None else (file,)
    with trio.move_on_after(COPY_DEADLINE_S):
        done = await trio.run_process(
            command, check=False, capture_stderr=True, stdin=subprocess.DEVNULL, pass_fds=passed
        )
        if done.returncode == 0:
            return
        complaint = done.stderr.decode(errors="replace").strip()[-300:]
        if os.strerror(errno.ENOSPC) in complaint:
            raise NoCapacity("The disk is full.", detail=complaint)
        raise Unavailable(f"qemu-img could not copy: {complaint}", retry_after_s=10)
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
