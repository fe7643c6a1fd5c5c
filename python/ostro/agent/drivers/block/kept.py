"""What this host keeps in Ceph, noted twice: in Ceph, where it outlives the host, and in files here, where it can be read while Ceph is away.

An entry is made here, then there, then the disk; it is removed there and then here when the disk is gone. So whatever is in Ceph is noted in
both places; and what is noted in neither can't be there. Files alone may have entries of nothing, which `sync` removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SYNCED = ".synced"


class Kept:
    """The entries in files: a name and a value each. Every method blocks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def sync(self, entries: Mapping[str, str]) -> None:
        """These are the entries in Ceph: have the same here."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for name in self.names() - set(entries):
            self.drop(name)
        for name, value in entries.items():
            self.add(name, value)
        (self._directory / SYNCED).touch()

    def is_synced(self) -> bool:
        """Whether the entries have ever been compared with those in Ceph: before that, none here says nothing."""
        return (self._directory / SYNCED).exists()

    def names(self) -> set[str]:
        """The names of all entries."""
        return {path.name for path in self._directory.iterdir()} - {SYNCED}

    def find(self, name: str) -> str | None:
        """An entry's value, None when there is none."""
        try:
            return (self._directory / name).read_text()
        except FileNotFoundError:
            return None

    def add(self, name: str, value: str) -> None:
        """Make an entry, or replace its value."""
        (self._directory / name).write_text(value)

    def drop(self, name: str) -> None:
        """Remove an entry. It being gone succeeds."""
        (self._directory / name).unlink(missing_ok=True)
