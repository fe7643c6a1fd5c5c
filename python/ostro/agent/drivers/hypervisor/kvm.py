"""Chooses between KVM and TCG by booting something under KVM.

A readable /dev/kvm proves little: inside a virtual machine it may exist, accept a domain, and never run its kernel, or stop it at some
instruction that it can't emulate, which may be after this probe. So the processor must show VMX or SVM, which every machine does whose KVM
stands on hardware; and then a 512-byte boot sector (kvm_probe.S) goes through real, protected and 64-bit mode under ``-accel kvm -cpu host`` and leaves with
a known exit code. Its CPU time is bounded as well: 0.2 s is what real hardware takes, while a device that emulates most
instructions takes 4 s for these 60. CPU time, not time on the wall, so that a busy machine gets the same verdict.

The verdict is kept in the state directory until the host or QEMU changes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import msgspec
import trio

from ostro.model.errors import Unavailable

EMULATOR = "qemu-system-x86_64"
BOOT_SECTOR = (
    bytes.fromhex(
        "fa31c08ed88ec08ed0bc007cfcbf00106631c0b9000c66f3ab66c7060010"
        "0320000066c70600200330000066c70600308300000066b8001000000f22"
        "d80f20e06683c8200f22e066b9800000c00f32660d000100000f300f0116"
        "c07c0f20c0660d010000800f22c0ea6d7c0800b8100000008ed88ed048bb"
        "4f4b4f4b4f4b4f4b48c1eb3066baf80388d8ee88f8ee0f20d80f22d831c0"
        "0fa266baf400b010eef4ebfd660f1f440000000000000000000000000000"
        "009a200000000000009200001700a87c0000"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)
PASSED = (0x10 << 1) | 1
"""isa-debug-exit turns the byte written to it into this exit code."""

CPU_LIMIT_S = 2
OUT_OF_CPU_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
PROBE_TIMEOUT_S = 30.0


class Choice(msgspec.Struct, frozen=True):
    """``acceleration`` is kvm or tcg; ``why`` says why in a sentence; the rest is what the verdict holds for."""

    acceleration: str
    why: str
    boot_id: str
    qemu: str


def boot_id() -> str:
    """The host's own id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def choose_acceleration(state_dir: Path) -> Choice:
    """The verdict kept in ``state_dir``, or a new one (0.3 s, seconds where KVM is broken).

    Raises:
        Unavailable: QEMU isn't installed.
    """
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise Unavailable(f"{EMULATOR} is not installed: apt-get install qemu-system-x86")
    qemu = f"{emulator} {os.stat(emulator).st_mtime_ns}"
    kept = state_dir / "acceleration.json"
    choice = _read(kept)
    if choice is not None and (choice.boot_id, choice.qemu) == (boot_id(), qemu):
        return choice
    fault = _missing_device() or missing_extension(_cpuinfo()) or await _fault_of_kvm(emulator)
    if fault:
        choice = Choice("tcg", f"emulated by TCG, because {fault}", boot_id(), qemu)
    else:
        choice = Choice("kvm", "KVM: a probe booted under it", boot_id(), qemu)
    _write(kept, choice)
    return choice


def _read(kept: Path) -> Choice | None:
    try:
        return msgspec.json.decode(kept.read_bytes(), type=Choice)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _write(kept: Path, choice: Choice) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(msgspec.json.encode(choice))


def _missing_device() -> str:
    """Why /dev/kvm can't even be opened, or an empty string."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    return "" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "/dev/kvm may not be opened"


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text()


def missing_extension(cpuinfo: str) -> str:
    """Why a processor can't run guests by itself, going by /proc/cpuinfo, or an empty string."""
    flags = {word for line in cpuinfo.splitlines() if line.startswith("flags") for word in line.split()}
    return "" if flags & {"vmx", "svm"} else "the processor shows neither VMX nor SVM, so /dev/kvm would emulate, too"


async def _fault_of_kvm(emulator: str) -> str:
    """Why nothing boots under KVM, or an empty string."""
    with tempfile.TemporaryDirectory(prefix="ostro-kvm-") as directory:
        code = await _exit_code(emulator, _boot_disk(Path(directory)))
    if code == PASSED:
        return ""
    if code is None:
        return f"a probe under KVM did not end in {PROBE_TIMEOUT_S:g} s"
    if code in OUT_OF_CPU_TIME:
        return f"a probe under KVM had not booted after {CPU_LIMIT_S} s of CPU time"
    return f"a probe under KVM failed (QEMU's exit code {code})"


def _boot_disk(directory: Path) -> Path:
    disk = directory / "boot"
    disk.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
    return disk


async def _exit_code(emulator: str, disk: Path) -> int | None:
    """QEMU's exit code (negative for a signal) with the boot sector under KVM; None when it had to be ended."""
    command = ["prlimit", f"--cpu={CPU_LIMIT_S}", emulator]
    command += ["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "64", "-nodefaults", "-no-user-config"]
    command += ["-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    command += ["-drive", f"file={disk},format=raw,if=virtio"]
    with trio.move_on_after(PROBE_TIMEOUT_S):
        quiet = subprocess.DEVNULL
        done = await trio.run_process(command, check=False, stdin=quiet, stdout=quiet, stderr=quiet)
        return done.returncode
    return None
