"""The cluster alone, by Ceph's Python binding: what everything above it is measured from. One RADOS object at most 4 MiB, as in Ostro."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import rados

from bench.api.client import Failed
from ostro.testing.ceph import CephCluster

PIECE_BYTES = 4 << 20


class Raw:
    """Objects of one size in a pool of their own; a large one is several RADOS objects, written and read together."""

    def __init__(self, cluster: CephCluster, pool: str, size_bytes: int) -> None:
        self._cluster = rados.Rados(conffile=str(cluster.conf), name="client.admin")
        self._cluster.connect(timeout=30)
        self._ioctx = self._cluster.open_ioctx(pool)
        self._size_bytes = size_bytes
        self._data = os.urandom(min(size_bytes, PIECE_BYTES))
        self._number = 0

    def put(self, depth: int, seconds: float) -> float:
        """Write new objects for so long, ``depth`` at a time; how many a second."""
        return self._run(depth, seconds, self._write)

    def get(self, depth: int, seconds: float) -> float:
        """Read what ``put`` has written, likewise."""
        return self._run(depth, seconds, self._read)

    def _run(self, depth: int, seconds: float, begin: Callable[[int, Any], Any]) -> float:
        pieces = max(1, self._size_bytes // PIECE_BYTES)
        slots, errors = threading.Semaphore(depth * min(pieces, 4)), list[int]()

        def done(completion: Any, *_data: object) -> None:
            if completion.get_return_value() < 0:
                errors.append(completion.get_return_value())
            slots.release()

        started_s, count = time.perf_counter(), 0
        written = self._number
        while time.perf_counter() - started_s < seconds or count % pieces:
            slots.acquire()
            begin(count % max(1, written), done)
            count += 1
        for _ in range(depth * min(pieces, 4)):
            slots.acquire()
        if errors:
            raise Failed(f"rados: {errors[0]}")
        return count / pieces / (time.perf_counter() - started_s)

    def _write(self, _number: int, done: Any) -> Any:
        self._number += 1
        return self._ioctx.aio_write_full(f"raw{self._size_bytes}-{self._number - 1}", self._data, done)

    def _read(self, number: int, done: Any) -> Any:
        return self._ioctx.aio_read(f"raw{self._size_bytes}-{number}", len(self._data), 0, done)

    def close(self) -> None:
        """Delete what was written and let go."""
        for number in range(self._number):
            self._ioctx.remove_object(f"raw{self._size_bytes}-{number}")
        self._ioctx.close()
        self._cluster.shutdown()
