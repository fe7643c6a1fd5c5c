"""What ``inspect_image`` says of images that the real qemu-img has made, honest ones and dangerous ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ostro._core import IMAGE_HEADER_BYTES, inspect_image

SIZE = 48 << 20
NAMES = {"vpc": "vhd"}
"""Where qemu-img calls a format otherwise."""


def make(path: Path, format_: str, *options: str) -> dict[str, object]:
    """What the header of a new image says."""
    subprocess.run(["qemu-img", "create", "-q", "-f", format_, *options, str(path), str(SIZE)], check=True)
    with path.open("rb") as image:
        return inspect_image(image.read(IMAGE_HEADER_BYTES))


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("qcow2", []),
        ("qcow2", ["-o", "compat=0.10"]),
        ("qcow2", ["-o", "extended_l2=on,cluster_size=128k"]),
        ("qcow2", ["-o", "compression_type=zstd,lazy_refcounts=on"]),
        ("qcow", []),
        ("qed", []),
        ("vmdk", []),
        ("vdi", []),
        ("vhdx", []),
        ("vpc", ["-o", "force_size=on"]),
    ],
)
def test_honest_images_are_known_and_safe(tmp_path: Path, format_: str, options: list[str]) -> None:
    found = make(tmp_path / "image", format_, *options)
    assert found["format"] == NAMES.get(format_, format_)
    assert found["safe"], found["dangers"]
    if found["virtual_size_bytes"] is not None:
        assert found["virtual_size_bytes"] == SIZE


@pytest.mark.parametrize("format_", ["qcow2", "qcow", "qed", "vmdk"])
def test_a_backing_file_is_a_danger(tmp_path: Path, format_: str) -> None:
    make(tmp_path / "base", "raw" if format_ != "vmdk" else "vmdk")
    under = ["-b", str(tmp_path / "base"), "-F", "raw" if format_ != "vmdk" else "vmdk"]
    found = make(tmp_path / "image", format_, *under)
    assert found["backing_file"] and not found["safe"]


def test_data_elsewhere_is_a_danger(tmp_path: Path) -> None:
    found = make(tmp_path / "image", "qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on")
    assert found["data_file"] and not found["safe"]
    found = make(tmp_path / "flat", "vmdk", "-o", "subformat=monolithicFlat")
    assert found["data_file"] and not found["safe"]


def test_an_encrypted_image_says_so(tmp_path: Path) -> None:
    secret = ["--object", "secret,id=s,data=open-sesame"]
    assert make(tmp_path / "luks", "luks", *secret, "-o", "key-secret=s,iter-time=10")["format"] == "luks"
    found = make(
        tmp_path / "image", "qcow2", *secret, "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    )
    assert found["encrypted"]
