"""Builds the tiny guest's disk image; the package's docstring tells what is in it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import tempfile
from pathlib import Path

from ostro.guest.cpio import Archive
from ostro.guest.packages import BuildError, run, unpacked_packages

VARIANTS = ("tiny", "tiny-alt")
FILES = Path(__file__).parent / "files"
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "button", "evdev")
SECTOR_BYTES = 512
PARTITION_SECTOR = 2048
SPARE_BYTES = 1 << 20
FIXED_TIME_S = 1_700_000_000
KERNEL_ARGUMENTS = (
    "console=tty0 console=ttyS0,115200 quiet panic=-1 mitigations=off nokaslr no_timer_check cryptomgr.notests"
)


def build_image(variant: str, target: Path, cache: Path) -> Path:
    """Make the image ``variant`` at ``target`` (qcow2) unless it is there already. Returns ``target``.

    An image made here by an earlier recipe is made anew; a ``.recipe`` file beside it tells. One that came from elsewhere is
    left alone. ``cache`` keeps the packages (some 30 MB fetched, 115 MB unpacked). The target appears complete or not at all.
    Needs apt-get, dpkg-deb, strip (binutils, optional) and qemu-img. Raises BuildError.
    """
    if variant not in VARIANTS:
        raise BuildError(f"There is no variant {variant!r}: choose from {', '.join(VARIANTS)}.")
    recipe, noted = _recipe(), target.with_suffix(".recipe")
    if target.exists() and (not noted.exists() or noted.read_text() == recipe):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    packages = unpacked_packages(cache)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".guest-") as directory:
        work = Path(directory)
        (work / "initrd").write_bytes(_initial_ram_disk(packages, variant, work))
        shutil.copyfile(_only(packages, "boot/vmlinuz-*"), work / "vmlinuz")
        (work / "syslinux.cfg").write_text(_boot_menu())
        _bootable_disk(packages, work)
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(work / "raw"), str(work / "qcow2"))
        (work / "qcow2").rename(target)
        noted.write_text(recipe)
    return target


def _recipe() -> str:
    """A digest of all that an image is made by, but for the packages' versions."""
    digest = hashlib.sha256()
    for path in sorted([*Path(__file__).parent.glob("*.py"), *FILES.iterdir()]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _initial_ram_disk(packages: Path, variant: str, work: Path) -> bytes:
    archive = Archive()
    for path in [
        "bin",
        "dev",
        "etc",
        "etc/acpi",
        "etc/acpi/PWRF",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "sbin",
        "sys",
        "tmp",
        "var",
        "var/run",
    ]:
        archive.directory(path)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", (packages / "bin/busybox").read_bytes(), 0o755)
    archive.link("bin/sh", "busybox")
    for source, path in {
        "init": "init",
        "dhcp": "sbin/dhcp",
        "on-dhcp": "sbin/on-dhcp",
        "on-uevent": "sbin/on-uevent",
        "on-power-button": "etc/acpi/PWRF/00000080",
    }.items():
        archive.file(path, (FILES / source).read_bytes(), 0o755)
    archive.file("etc/variant", variant.encode())
    archive.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
    archive.file("etc/hosts", b"127.0.0.1 localhost\n")
    modules = _modules_in_order(packages, MODULES)
    for module in modules:
        archive.file(f"lib/modules/{module.name}", _stripped(module, work))
    archive.file("lib/modules/order", "".join(f"{module.name}\n" for module in modules).encode())
    return archive.data()


def _modules_in_order(packages: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The wanted kernel modules and what they depend on, each after its dependencies."""
    found = {path.stem.replace("-", "_"): path for path in (packages / "lib/modules").rglob("*.ko")}
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in order:
            return
        if name not in found:
            raise BuildError(f"This kernel has no module {name}.")
        depends = re.search(rb"\0depends=([^\0]*)\0", found[name].read_bytes())
        for other in depends[1].decode().split(",") if depends else ():
            if other:
                add(other.replace("-", "_"))
        order[name] = found[name]

    for name in wanted:
        add(name)
    return list(order.values())


def _stripped(module: Path, work: Path) -> bytes:
    """The module without its debug symbols, which are half of it; whole where binutils is missing."""
    if shutil.which("strip") is None:
        return module.read_bytes()
    run("strip", "--strip-debug", "-o", str(work / "module"), str(module))
    return (work / "module").read_bytes()


def _boot_menu() -> str:
    return (
        f"DEFAULT tiny\nPROMPT 0\nTIMEOUT 0\nLABEL tiny\n KERNEL vmlinuz\n INITRD initrd\n APPEND {KERNEL_ARGUMENTS}\n"
    )


def _bootable_disk(packages: Path, work: Path) -> None:
    """``work/raw``: a master boot record and one active FAT16 partition that syslinux boots."""
    raw = work / "raw"
    content = sum((work / name).stat().st_size for name in ("vmlinuz", "initrd", "syslinux.cfg"))
    size_bytes = PARTITION_SECTOR * SECTOR_BYTES + content + SPARE_BYTES
    sectors = -(-size_bytes // (1 << 20)) * (1 << 20) // SECTOR_BYTES
    boot_code = (packages / "usr/lib/SYSLINUX/mbr.bin").read_bytes()
    with raw.open("wb") as file:
        file.truncate(sectors * SECTOR_BYTES)
        file.write(_master_boot_record(boot_code, sectors - PARTITION_SECTOR))
    offset = PARTITION_SECTOR * SECTOR_BYTES
    environment = {
        "PATH": f"{packages}/usr/bin:/usr/bin:/bin",
        "MTOOLSRC": "/dev/null",
        "SOURCE_DATE_EPOCH": str(FIXED_TIME_S),
        "TZ": "UTC",
    }
    drive = f"{raw}@@{offset}"
    geometry = ("-h", "64", "-s", "32", "-T", str(sectors - PARTITION_SECTOR), "-H", str(PARTITION_SECTOR))
    run("mformat", "-i", drive, *geometry, "-c", "8", "-N", "05740001", "::", env=environment)
    for name in ("vmlinuz", "initrd", "syslinux.cfg"):
        os.utime(work / name, (FIXED_TIME_S, FIXED_TIME_S))
        run("mcopy", "-m", "-i", drive, str(work / name), f"::{name}", env=environment)
    run("syslinux", "--install", "--offset", str(offset), str(raw), env=environment)


def _master_boot_record(boot_code: bytes, partition_sectors: int) -> bytes:
    no_geometry = b"\xfe\xff\xff"
    fat16_lba = 0x0E
    entry = struct.pack("<B3sB3sII", 0x80, no_geometry, fat16_lba, no_geometry, PARTITION_SECTOR, partition_sectors)
    disk_signature = b"OSTR"
    return boot_code[:440].ljust(440, b"\0") + disk_signature + b"\0\0" + entry + bytes(48) + b"\x55\xaa"


def _only(directory: Path, pattern: str) -> Path:
    paths = list(directory.glob(pattern))
    if len(paths) != 1:
        raise BuildError(f"Expected one {pattern} in {directory}, found {len(paths)}.")
    return paths[0]
