"""A cloud whose whole state is on a disk that fills up: it refuses, reads, and goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import openstack
import pytest

from ostro.testing.up import Up

DISK_BYTES = 128 << 20
RECOVER_S = 30.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def take_all_room(folder: Path) -> Path:
    """Fill the file system to its last byte."""
    path = folder / "filling"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return path


def status_of_create(conn: openstack.connection.Connection, name: str) -> int:
    body = {"network": {"name": name, "description": "d" * 250}}
    return int(conn.network.post("/networks", json=body).status_code)


def test_the_cloud_survives_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    state = small_disk / "state"
    with Up(state, log=tmp_path / "up.log") as up:
        up.start()
        conn = up.connect()
        assert status_of_create(conn, "before") == 201
        filling = take_all_room(small_disk)
        statuses = [status_of_create(conn, f"n{number}") for number in range(200)]
        made = statuses.count(201)
        assert set(statuses) <= {201, 503, 507} and statuses[-1] == 507, statuses
        names = {network.name for network in conn.network.networks()}
        assert len([name for name in names if name != "before"]) == made
        image = conn.image.post("/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"})
        assert image.status_code == 507
        assert up.process.poll() is None
        filling.unlink()
        deadline_s = time.monotonic() + RECOVER_S
        while status_of_create(conn, "after") != 201:
            assert time.monotonic() < deadline_s
        conn.image.create_image(
            name="i", disk_format="raw", container_format="bare", data=os.urandom(1 << 16), wait=True
        )
        assert up.process.poll() is None
