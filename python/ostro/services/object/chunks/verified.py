"""Whether chunks are what their names say, and which files were found to be so, and when."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict

from ostro._core import Hasher

VERIFIED_S = 600.0
"""A file that was found right so long ago, and wasn't changed since, is not hashed again for a part of it."""
SETTLED_NS = 50_000_000
"""File systems tell times to a few milliseconds: a file that was changed just now may be changed again without showing it."""
VERIFIED_MOST = 65_536


def name_of(*pieces: bytes) -> str:
    """The name of a chunk of these bytes, one after the other."""
    hasher = Hasher("blake3")
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest("blake3")


class Verified:
    """Remembers the last ``VERIFIED_MOST`` chunks for ``VERIFIED_S``, each as the file that it was. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[float, tuple[int, ...]]] = OrderedDict()

    def knows(self, chunk_id: str, stat: os.stat_result) -> bool:
        """Whether the chunk was found right in just this file, and nobody has written to that since."""
        at_s, stamp = self._found.get(chunk_id, (0.0, ()))
        return stamp == _stamp(stat) and time.monotonic() - at_s < VERIFIED_S

    def judge(self, chunk_id: str, name: str, stat: os.stat_result) -> bool:
        """Whether what has this name by its bytes is the chunk; remembered if so, unless the file is too new.

        ``stat`` is from before the bytes were read.
        """
        if name != chunk_id:
            return False
        if time.time_ns() - stat.st_ctime_ns < SETTLED_NS:
            return True
        with self._lock:
            self._found[chunk_id] = (time.monotonic(), _stamp(stat))
            self._found.move_to_end(chunk_id)
            while len(self._found) > VERIFIED_MOST:
                self._found.popitem(last=False)
        return True

    def forget(self, chunk_id: str) -> None:
        """The chunk is to be looked at again."""
        with self._lock:
            self._found.pop(chunk_id, None)


def _stamp(stat: os.stat_result) -> tuple[int, ...]:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns)
