"""Writes a "newc" cpio archive, the form of Linux's initial RAM file systems, with fixed owners and times."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field


@dataclass
class Archive:
    """Collects entries in memory; ``data`` is the archive. Parents must be added before their children."""

    _parts: list[bytes] = field(default_factory=list)
    _inode: int = 0

    def directory(self, path: str) -> None:
        """An empty directory."""
        self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """A plain file."""
        self._entry(path, stat.S_IFREG | mode, content)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int) -> None:
        """A character device node."""
        self._entry(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def data(self) -> bytes:
        """The whole archive, closed by its trailer."""
        return b"".join([*self._parts, _record(0, "TRAILER!!!", 0, b"", (0, 0))])

    def _entry(self, path: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        self._parts.append(_record(self._inode, path, mode, content, device))


def _record(inode: int, path: str, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    name = path.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
