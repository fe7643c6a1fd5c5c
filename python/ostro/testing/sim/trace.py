"""What happened, event by event: a digest of all of it, and the last of it in words."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from pathlib import Path

import trio

KEPT = 60


class Violation(Exception):
    """Something that must never be was seen."""


class Trace:
    """The events of one run. Two runs of a seed have the same digest, or the simulation is not deterministic.

    All of them are written to ``file``, if one is given.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=KEPT)
        self._file = file.open("w") if file else None
        self._digest = hashlib.blake2b(digest_size=16)
        self._violation = trio.Event()
        self.complaints: list[str] = []

    def note(self, kind: str, *words: object) -> None:
        """An event of a kind, and what tells it from others."""
        line = f"{trio.current_time():.6f} {kind} {' '.join(map(str, words))}".rstrip()
        self.counts[kind] += 1
        self.recent.append(line)
        self._digest.update(line.encode() + b"\n")
        if self._file:
            print(line, file=self._file)

    def complain(self, checker: str, complaint: str) -> None:
        """A checker has found something wrong: the run ends here."""
        self.note("violation", checker, complaint)
        self.complaints.append(f"{checker}: {complaint}")
        self._violation.set()

    async def wait_for_violation(self) -> None:
        """Return when there is a first complaint."""
        await self._violation.wait()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def digest(self) -> str:
        """Of everything so far."""
        return self._digest.hexdigest()
