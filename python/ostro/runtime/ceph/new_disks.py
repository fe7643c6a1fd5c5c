"""New disks, each by one blocking call for `Ceph.call` and with as few round trips as librbd allows.

A disk is opened once to be finished: for its size, its owner, notes and limits. It is made under its maker's name (`disks.Disk.part`), and a part that a
dead attempt has left is removed only when it is found to be in the way. What librbd costs shows in the OSD's count of operations, which a test holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import rbd

from ostro.runtime.ceph.disks import FEATURES, OWNER_KEY, Disk, opened, put_limits, remove
from ostro.runtime.ceph.handles import open_ioctx


@dataclass(frozen=True)
class NewDisk:
    """What shall be made. A ``size_bytes`` of 0 is that of what it is made from; ``notes`` are kept with it.

    ``limits`` by librbd's names; None leaves a copy those of its source. ``snapshot`` names one that it is given at the end.
    """

    disk: Disk
    maker: str
    owner: str
    size_bytes: int
    notes: Mapping[str, str]
    limits: Mapping[str, int] | None = None
    snapshot: str = ""

    @property
    def part(self) -> Disk:
        """It while it is made."""
        return self.disk.part(self.maker)


def make_blank(cluster: Any, new: NewDisk) -> bool:
    """Make a blank disk. False when somebody else has made the same disk meanwhile."""
    with open_ioctx(cluster, new.part.pool) as ioctx:
        _afresh(
            cluster,
            new.part,
            lambda: rbd.RBD().create(ioctx, new.part.name, new.size_bytes, old_format=False, features=FEATURES),
        )
        return _finish(cluster, ioctx, new)


def make_clone(cluster: Any, new: NewDisk, parent: Disk, snapshot: str) -> bool:
    """Make a disk that shows what the parent's snapshot holds. Raises rbd.ImageNotFound. Returns as `make_blank`."""
    with open_ioctx(cluster, parent.pool) as parents, open_ioctx(cluster, new.part.pool) as ioctx:
        _afresh(
            cluster,
            new.part,
            lambda: rbd.RBD().clone(parents, parent.name, snapshot, ioctx, new.part.name, features=FEATURES),
        )
        return _finish(cluster, ioctx, new)


def make_copy(cluster: Any, new: NewDisk, source: Disk) -> bool:
    """Make a disk that shows what another one holds now, by a snapshot (`copy_mark`) that stays with the source, to be dropped.

    Raises rbd.ImageNotFound. Returns as `make_blank`.
    """
    mark = copy_mark(new.disk)
    with opened(cluster, source) as image:
        with suppress(rbd.ImageNotFound):
            # Of an attempt that broke off: the source holds something else now.
            image.remove_snap(mark)
        image.create_snap(mark)
    return make_clone(cluster, new, source, mark)


def copy_mark(disk: Disk) -> str:
    """The snapshot that a disk's source has since it was copied."""
    return f"copy.{disk.name}"


def _afresh(cluster: Any, part: Disk, make: Callable[[], None]) -> None:
    """Make the part, in the place of one that is there."""
    try:
        make()
    except rbd.ImageExists:
        remove(cluster, part)
        make()


def _finish(cluster: Any, ioctx: Any, new: NewDisk) -> bool:
    """Give a part its size, what is noted of it, and at last its name."""
    with opened(cluster, new.part) as image:
        if new.size_bytes > image.size():
            image.resize(new.size_bytes)
        for name, value in {OWNER_KEY: new.owner, **new.notes}.items():
            image.metadata_set(name, value)
        if new.limits is not None:
            put_limits(image, new.limits)
        if new.snapshot:
            image.create_snap(new.snapshot)
    try:
        rbd.RBD().rename(ioctx, new.part.name, new.disk.name)
    except rbd.ImageExists:
        remove(cluster, new.part)
        return False
    return True
