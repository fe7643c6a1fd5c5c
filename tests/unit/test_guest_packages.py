"""Fetching what the guest image is made of, with an apt whose lists are older than its mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.guest.packages import BuildError, unpacked_packages

APT_GET = """#!/bin/sh
for word; do case $word in
update) echo >>"$APT/updates"; exit "$UPDATE" ;;
download) [ -e "$APT/updates" ] || { echo "404  Not Found"; exit 100; }; touch "$PWD/kernel.deb"; exit ;;
esac; done
"""
APT_CACHE = '#!/bin/sh\necho "  Depends: linux-image-6.1.0-1-cloud-amd64"\n'
DPKG_DEB = '#!/bin/sh\ntouch "$3/vmlinuz"\n'


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tools in apt's place keep what they were asked for."""
    place = tmp_path / "apt"
    place.mkdir()
    for name, text in (("apt-get", APT_GET), ("apt-cache", APT_CACHE), ("dpkg-deb", DPKG_DEB)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("APT", str(place))
    monkeypatch.setenv("UPDATE", "0")
    return place


def test_lists_that_are_too_old_are_read_again(apt: Path, tmp_path: Path) -> None:
    assert [path.name for path in unpacked_packages(tmp_path / "cache").iterdir()] == ["vmlinuz"]
    assert len((apt / "updates").read_text().splitlines()) == 1


def test_a_mirror_that_does_not_answer_leaves_nothing(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDATE", "100")
    with pytest.raises(BuildError, match="update failed"):
        unpacked_packages(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
