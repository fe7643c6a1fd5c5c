"""What this process has open for writing: each disk once, however many threads use it.

In librbd 16, who holds a disk's lock does what others that have the disk open ask of it: snapshots, sizes, notes. If it closes the disk while the change is still being
made known, librbd frees what shall answer and then finds that it is in use, which ends the process (``AsyncOpTracker.cc: FAILED
ceph_assert(m_pending_ops == 0)``). Threads of one process are others to each other, and are on one disk at once all the time: a copy of a volume is
flattened, and its mark dropped, while the volume is deleted. So all of them use the same handle, which none needs to ask and which the last of them closes.

To delete a disk, librbd opens it by itself; so nobody here has it open meanwhile. To delete or flatten a clone, it also opens what that stands on, if that lies
in the trash; two that do so at once may wait for each other for ever, so in this process they take turns.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rbd

from ostro.runtime.ceph.handles import open_ioctx

TURN_S = 5.0


@dataclass
class _Held:
    """One disk. There is no image while somebody opens, closes or deletes it."""

    ioctx: Any = None
    image: Any = None
    users: int = 0


class Held:
    """The disks of all connections. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[tuple[Any, str, str], _Held] = {}
        self._turns: set[tuple[Any, str, str]] = set()

    @contextmanager
    def shared(self, cluster: Any, pool: str, name: str) -> Iterator[Any]:
        """The disk, open for whoever wants it. Raises rbd.ImageNotFound."""
        key = (cluster, pool, name)
        held = self._enter(key)
        try:
            yield held.image
        finally:
            self._leave(key, held)

    @contextmanager
    def alone(self, cluster: Any, pool: str, name: str) -> Iterator[None]:
        """Nobody here opens the disk for writing meanwhile. Raises rbd.ImageBusy while somebody has it open."""
        key = (cluster, pool, name)
        with self._changed:
            while (held := self._held.get(key)) is not None:
                if held.users:
                    raise rbd.ImageBusy(f"{name} is open", errno=errno.EBUSY)
                self._changed.wait()
            self._held[key] = _Held()
        try:
            yield
        finally:
            self._forget(key)

    @contextmanager
    def turn(self, cluster: Any, pool: str, image_id: str) -> Iterator[None]:
        """Nobody else here does anything to what stands on that image meanwhile. Raises rbd.ImageBusy when it takes too long."""
        key = (cluster, pool, image_id)
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._turns, TURN_S):
                raise rbd.ImageBusy(f"what stands on {image_id} is being changed", errno=errno.EBUSY)
            self._turns.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._turns.discard(key)
                self._changed.notify_all()

    def _enter(self, key: tuple[Any, str, str]) -> _Held:
        with self._changed:
            while (held := self._held.get(key)) is not None:
                if held.users:
                    held.users += 1
                    return held
                self._changed.wait()
            held = self._held[key] = _Held()
        cluster, pool, name = key
        try:
            held.ioctx = open_ioctx(cluster, pool)
            try:
                held.image = rbd.Image(held.ioctx, name)
            except BaseException:
                held.ioctx.close()
                raise
        except BaseException:
            self._forget(key)
            raise
        with self._changed:
            held.users = 1
            self._changed.notify_all()
        return held

    def _leave(self, key: tuple[Any, str, str], held: _Held) -> None:
        with self._changed:
            held.users -= 1
            if held.users:
                return
        try:
            held.image.close()
        finally:
            held.ioctx.close()
            self._forget(key)

    def _forget(self, key: tuple[Any, str, str]) -> None:
        with self._changed:
            del self._held[key]
            self._changed.notify_all()


HELD = Held()
"""The process's."""
