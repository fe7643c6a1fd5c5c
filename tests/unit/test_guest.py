"""The guest image's builder, without building one."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from ostro.guest import build_image
from ostro.guest.build import FILES
from ostro.guest.cpio import Archive
from ostro.guest.packages import BuildError, run


def make_archive() -> bytes:
    archive = Archive()
    archive.directory("d")
    archive.file("d/hello", b"hello, world", 0o755)
    archive.file("d/empty", b"")
    archive.link("d/link", "hello")
    return archive.data()


def unpack(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by path, read as cpio(5) describes the "newc" format."""
    entries: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        assert data[at : at + 6] == b"070701"
        mode, size_bytes, name_bytes = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_bytes - 1].decode()
        start = -(-(at + 110 + name_bytes) // 4) * 4
        if name == "TRAILER!!!":
            return entries
        entries[name] = (mode, data[start : start + size_bytes])
        at = -(-(start + size_bytes) // 4) * 4


def test_an_archive_holds_what_was_put_in() -> None:
    assert unpack(make_archive()) == {
        "d": (stat.S_IFDIR | 0o755, b""),
        "d/hello": (stat.S_IFREG | 0o755, b"hello, world"),
        "d/empty": (stat.S_IFREG | 0o644, b""),
        "d/link": (stat.S_IFLNK | 0o777, b"hello"),
    }


def test_an_archive_is_reproducible() -> None:
    assert make_archive() == make_archive()


def test_an_image_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    target = tmp_path / "tiny.qcow2"
    target.write_bytes(b"here")
    assert build_image("tiny", target, tmp_path / "cache") == target
    assert target.read_bytes() == b"here"


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="tiny-alt"):
        build_image("huge", tmp_path / "huge.qcow2", tmp_path / "cache")


def test_a_failing_tool_is_told_with_its_words() -> None:
    with pytest.raises(BuildError, match="no such thing"):
        run("sh", "-c", "echo no such thing >&2; exit 3")
    with pytest.raises(BuildError, match="not installed"):
        run("ostro-has-no-such-tool")


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.name)
def test_the_guests_scripts_are_sound_shell(path: Path) -> None:
    subprocess.run(["sh", "-n", str(path)], check=True)
