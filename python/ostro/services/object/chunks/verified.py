"""Which chunks were found to be what their names say, and when."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from ostro._core import Hasher
from ostro.services.object.chunks import VERIFIED_S

VERIFIED_MOST = 65_536


def name_of(*pieces: bytes) -> str:
    """The name of a chunk of these bytes, one after the other."""
    hasher = Hasher("blake3")
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest("blake3")


class Verified:
    """Remembers the last ``VERIFIED_MOST`` chunks for ``VERIFIED_S``. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, chunk_id: str) -> bool:
        at_s = self._at_s.get(chunk_id)
        return at_s is not None and time.monotonic() - at_s < VERIFIED_S

    def judge(self, chunk_id: str, name: str) -> bool:
        """Whether what has this name by its bytes is the chunk; remembered if so."""
        if name != chunk_id:
            return False
        with self._lock:
            self._at_s[chunk_id] = time.monotonic()
            self._at_s.move_to_end(chunk_id)
            while len(self._at_s) > VERIFIED_MOST:
                self._at_s.popitem(last=False)
        return True

    def forget(self, chunk_id: str) -> None:
        """The chunk is to be looked at again."""
        with self._lock:
            self._at_s.pop(chunk_id, None)
