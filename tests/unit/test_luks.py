"""LUKS headers, opened by QEMU's own tools."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from ostro.agent.drivers.block.luks import HEADER_BYTES, make_header

UUID = "70000000-0000-4000-8000-000000000001"
PASSPHRASE = "0123456789abcdef" * 4


@pytest.mark.parametrize(("bits", "cipher"), [(256, "aes-128"), (512, "aes-256")])
@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_qemu_opens_what_the_passphrase_opens(tmp_path: Path, bits: int, cipher: str) -> None:
    disk, key = tmp_path / "disk", tmp_path / "key"
    header = make_header(PASSPHRASE, bits, UUID, random.Random(1))
    assert len(header) == HEADER_BYTES and PASSPHRASE.encode() not in header
    disk.write_bytes(header + bytes(1 << 20))
    found = subprocess.run(["qemu-img", "info", str(disk)], check=True, capture_output=True, text=True).stdout
    assert f"cipher alg: {cipher}" in found and UUID in found and "virtual size: 1 MiB" in found
    options = f"driver=luks,key-secret=k,file.driver=file,file.filename={disk}"
    words = ["qemu-io", "--object", f"secret,id=k,file={key}", "--image-opts", options]
    for passphrase, opens in ((PASSPHRASE, True), ("another", False)):
        key.write_text(passphrase)
        done = subprocess.run([*words, "-c", "write -P 7 4k 4k", "-c", "read -P 7 4k 4k"], capture_output=True)
        assert (done.returncode == 0) is opens


def test_every_volume_has_a_key_of_its_own() -> None:
    chance = random.Random(1)
    assert make_header(PASSPHRASE, 256, UUID, chance) != make_header(PASSPHRASE, 256, UUID, chance)
