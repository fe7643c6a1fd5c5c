"""The choice between KVM and TCG."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from ostro.agent.drivers.hypervisor import kvm
from ostro.agent.drivers.hypervisor.kvm import BOOT_SECTOR, Choice, choose_acceleration, missing_extension


def test_the_boot_sector_is_what_its_source_assembles_to(tmp_path: Path) -> None:
    source = Path(kvm.__file__).with_name("kvm_probe.S")
    subprocess.run(["as", "--64", "-o", str(tmp_path / "o"), str(source)], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(tmp_path / "o"), str(tmp_path / "bin")], check=True)
    assert (tmp_path / "bin").read_bytes() == BOOT_SECTOR


async def test_a_verdict_is_kept(tmp_path: Path) -> None:
    first = await choose_acceleration(tmp_path)
    assert first.acceleration in ("kvm", "tcg") and first.why
    kept = msgspec.structs.replace(first, why="kept")
    (tmp_path / "acceleration.json").write_bytes(msgspec.json.encode(kept))
    assert await choose_acceleration(tmp_path) == kept


@pytest.mark.parametrize("change", [{"boot_id": "another boot"}, {"qemu": "another qemu"}])
async def test_a_verdict_does_not_hold_for_another_boot_or_qemu(tmp_path: Path, change: dict[str, str]) -> None:
    first = await choose_acceleration(tmp_path)
    stale: Choice = msgspec.structs.replace(first, why="stale", **change)
    (tmp_path / "acceleration.json").write_bytes(msgspec.json.encode(stale))
    assert (await choose_acceleration(tmp_path)).why == first.why


async def test_a_broken_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "acceleration.json").write_bytes(b"{")
    assert (await choose_acceleration(tmp_path)).why


@pytest.mark.parametrize(
    ("cpuinfo", "runs"),
    [
        ("processor\t: 0\nflags\t\t: fpu vme vmx sse2\n", True),
        ("processor\t: 0\nflags\t\t: fpu svm\n", True),
        ("processor\t: 0\nmodel name\t: vmx svm\nflags\t\t: fpu sse2\nvmx flags\t: ept\n", False),
        ("", False),
    ],
)
def test_kvm_needs_a_processor_with_extensions(cpuinfo: str, runs: bool) -> None:
    assert (missing_extension(cpuinfo) == "") is runs
