"""RBD images: the blocking calls, one plain function each, for `Ceph.call`.

A disk is made under a name of its maker's (``part.<maker>.<name>``) and renamed when it is complete, so a disk under its own name is whole; what a
crash leaves is found by its name (`drop_parts`). Clones are of format 2: a snapshot with clones may be removed, and lives on unseen
until the last of them is gone or flattened.

**Deleting a disk that others were cloned from** moves it to RBD's trash. Deleting the last of those reaps it: `remove` looks at what the removed disk
stood on, and deletes that too if it lies in the trash and nothing else stands on it, and so on down. It can't while somebody has it open, which may be
just another host that tries the same, so that neither would do it: what is left is told, to be tried again (`Ceph.remove_disk`).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import rados
import rbd

from ostro.runtime.ceph.errors import translated
from ostro.runtime.ceph.handles import open_ioctx
from ostro.runtime.ceph.held import HELD

OBJECT_BYTES = 4 << 20
SECTOR_BYTES = 512
BASE = "base"
"""The snapshot of an image that disks are cloned from."""
FEATURES = (
    rbd.RBD_FEATURE_LAYERING
    | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    | rbd.RBD_FEATURE_OBJECT_MAP
    | rbd.RBD_FEATURE_FAST_DIFF
    | rbd.RBD_FEATURE_DEEP_FLATTEN
)
OWNER_KEY = "ostro.owner"
FORMAT_KEY = "ostro.format"
"""What the disk's bytes are, where they aren't just a guest's."""
REVERTED_KEY = "ostro.reverted"
"""What the disk was reverted by last."""
SETTING = "conf_"
"""What librbd's own settings of a disk begin with."""
QOS = "rbd_qos_"
AT_IT = (errno.EBUSY, errno.EUCLEAN, errno.ESTALE)
"""What librbd says of an image in the trash that somebody has open, or is deleting, too."""
MOST_DEPTH = 16
"""Of clones of clones; a volume's clone is flattened, so that a chain is never longer than a few."""


@dataclass(frozen=True)
class Disk:
    """Where a disk is."""

    pool: str
    name: str

    @property
    def path(self) -> str:
        """As QEMU and our hypervisor driver name it."""
        return f"rbd:{self.pool}/{self.name}"

    def part(self, maker: str) -> Disk:
        """The disk while ``maker`` makes it."""
        return Disk(self.pool, f"part.{maker}.{self.name}")


@contextmanager
def opened(cluster: Any, disk: Disk, *, snapshot: str | None = None, read_only: bool = False) -> Iterator[Any]:
    """The disk, open: for writing with whoever else in this process has it (`held`). Raises rbd.ImageNotFound."""
    if not read_only:
        with HELD.shared(cluster, disk.pool, disk.name) as image:
            yield image
        return
    with (
        open_ioctx(cluster, disk.pool) as ioctx,
        rbd.Image(ioctx, disk.name, snapshot=snapshot, read_only=True) as image,
    ):
        yield image


class OpenDisk:
    """A disk that stays open for many reads and writes, by one thread at a time. Get one from `Ceph.open_disk`.

    The connection isn't shut down while it is open. Methods raise the errors of `ostro.runtime.ceph.errors`.
    """

    def __init__(self, cluster: Any, disk: Disk, snapshot: str | None, closed: Callable[[], None]) -> None:
        self._name = disk.name
        with ExitStack() as opening:
            self._image = opening.enter_context(
                opened(cluster, disk, snapshot=snapshot, read_only=snapshot is not None)
            )
            self._size_bytes = int(self._image.size())
            # From the end: the connection may go only after the disk was closed.
            self._closing = ExitStack()
            self._closing.callback(closed)
            self._closing.enter_context(opening.pop_all())

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes, fewer at the end."""
        with translated(self._name):
            return bytes(self._image.read(offset, max(0, min(length, self._size_bytes - offset))))

    def write(self, data: bytes, offset: int) -> None:
        """Write one run of bytes."""
        with translated(self._name):
            self._image.write(data, offset)

    def resize(self, size_bytes: int) -> None:
        """Make the disk just this large."""
        with translated(self._name):
            if size_bytes != self._size_bytes:
                self._image.resize(size_bytes)
            self._size_bytes = size_bytes

    def flush(self) -> None:
        """Return when all that was written is safe."""
        with translated(self._name):
            self._image.flush()

    def close(self) -> None:
        """Let go. Idempotent."""
        with translated(self._name):
            self._closing.close()


def whole_sectors(size_bytes: int) -> int:
    """The size of a disk that can hold so many bytes."""
    return -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES


def find_size(cluster: Any, disk: Disk) -> int | None:
    """The disk's size in bytes, None when there is none."""
    try:
        with opened(cluster, disk, read_only=True) as image:
            return int(image.size())
    except rbd.ImageNotFound:
        return None


def break_lock(cluster: Any, disk: Disk) -> list[str]:
    """Take the exclusive lock from others who hold it, and shut them out of the cluster: they write nothing from then on, to any disk.

    Returns who they were. A disk that isn't there is nobody's.
    """
    broken: list[str] = []
    with suppress(rbd.ImageNotFound), opened(cluster, disk) as image:
        for owner in list(image.lock_get_owners()):
            if image.is_exclusive_lock_owner():
                break
            image.lock_break(owner["mode"], owner["owner"])
            broken.append(str(owner["owner"]))
    return broken


@dataclass(frozen=True)
class Look:
    """A disk as it was found. ``notes`` are ours; ``limits`` are librbd's own settings of the disk, by their names."""

    size_bytes: int
    notes: dict[str, str]
    limits: dict[str, int]


def look(cluster: Any, disk: Disk, snapshot: str | None = None) -> Look | None:
    """The disk, or what it was at a snapshot; None when there is no such thing."""
    try:
        with opened(cluster, disk, snapshot=snapshot, read_only=True) as image:
            notes = {str(name): str(value) for name, value in image.metadata_list()}
            size_bytes = int(image.size())
    except rbd.ImageNotFound:
        return None
    limits = {name.removeprefix(SETTING): int(value) for name, value in notes.items() if _is_limit(name, value)}
    return Look(size_bytes, {name: value for name, value in notes.items() if not name.startswith(SETTING)}, limits)


def _is_limit(name: str, value: str) -> bool:
    return name.startswith(SETTING + QOS) and value.isdigit()


def set_limits(cluster: Any, disk: Disk, limits: Mapping[str, int]) -> None:
    """Hold the disk to these limits (``rbd_qos_iops_limit``) and no others; whoever has it open learns of them. Raises rbd.ImageNotFound."""
    with opened(cluster, disk) as image:
        put_limits(image, limits)


def put_limits(image: Any, limits: Mapping[str, int]) -> None:
    """See `set_limits`; of a disk that is open."""
    known = {name: value for name, value in image.metadata_list() if name.startswith(SETTING + QOS)}
    wanted = {SETTING + name: str(value) for name, value in limits.items()}
    for name, value in wanted.items():
        if known.get(name) != value:
            image.metadata_set(name, value)
    for name in known.keys() - wanted.keys():
        image.metadata_remove(name)


def put_header(cluster: Any, disk: Disk, data: bytes, note: str) -> None:
    """Write what the disk begins with, if that is to be written yet, and note what its bytes are."""
    with opened(cluster, disk) as image:
        if data:
            image.write(data, 0)
            image.flush()
        image.metadata_set(FORMAT_KEY, note)


def list_names(cluster: Any, pool: str) -> list[str]:
    """The names of all disks in the pool."""
    with open_ioctx(cluster, pool) as ioctx:
        return list(rbd.RBD().list(ioctx))


def create(cluster: Any, disk: Disk, size_bytes: int) -> None:
    """Make a blank disk. Raises rbd.ImageExists."""
    with open_ioctx(cluster, disk.pool) as ioctx:
        rbd.RBD().create(ioctx, disk.name, size_bytes, old_format=False, features=FEATURES)


def finish(cluster: Any, part: Disk, disk: Disk, owner: str) -> bool:
    """Give a complete disk its name and owner. False, and the part is removed, when somebody else has made the same disk meanwhile."""
    set_owner(cluster, part, owner)
    with open_ioctx(cluster, part.pool) as ioctx:
        try:
            rbd.RBD().rename(ioctx, part.name, disk.name)
        except rbd.ImageExists:
            remove(cluster, part)
            return False
    return True


def set_owner(cluster: Any, disk: Disk, owner: str) -> None:
    """Say who may delete the disk."""
    with opened(cluster, disk) as image:
        image.metadata_set(OWNER_KEY, owner)


def find_owner(cluster: Any, disk: Disk) -> str | None:
    """Who may delete the disk: empty if nobody said so, None when there is no disk."""
    try:
        with opened(cluster, disk, read_only=True) as image:
            return str(image.metadata_get(OWNER_KEY))
    except rbd.ImageNotFound:
        return None
    except KeyError:
        return ""


def grow(cluster: Any, disk: Disk, size_bytes: int) -> None:
    """Make a disk at least this large. Whoever holds its exclusive lock is asked to do it. Raises rbd.ImageNotFound."""
    with opened(cluster, disk) as image:
        if image.size() < size_bytes:
            image.resize(size_bytes)


def snapshot(cluster: Any, disk: Disk, name: str) -> None:
    """Make a snapshot unless there is one of this name. Raises rbd.ImageNotFound."""
    with opened(cluster, disk) as image:
        try:
            image.create_snap(name)
        except rbd.ImageExists:
            return


def find_snapshot(cluster: Any, disk: Disk, name: str) -> int | None:
    """The size in bytes of the disk at its snapshot, None when there is no such disk or snapshot."""
    try:
        with opened(cluster, disk, snapshot=name, read_only=True) as image:
            return int(image.size())
    except rbd.ImageNotFound:
        return None


def revert(cluster: Any, disk: Disk, name: str, revert_id: str) -> None:
    """Make a disk what it was at its snapshot, and then note that. Raises rbd.ImageNotFound. Takes long."""
    with opened(cluster, disk) as image:
        image.rollback_to_snap(name)
        image.metadata_set(REVERTED_KEY, revert_id)


def _drop_snapshot(cluster: Any, disk: Disk, name: str) -> None:
    with opened(cluster, disk) as image:
        try:
            image.remove_snap(name)
        except rbd.ImageNotFound:
            return


def drop_snapshot(cluster: Any, disk: Disk, name: str) -> None:
    """Remove a snapshot; clones of it stay whole. Its being gone succeeds, and so does that of the disk."""
    try:
        _drop_snapshot(cluster, disk, name)
    except rbd.ImageNotFound:
        return


def flatten(cluster: Any, disk: Disk) -> Parent | None:
    """Copy all that a clone still has from its parent, and let go of that. No parent, or no disk, succeeds. Takes long. Returns as `reap`."""
    try:
        with opened(cluster, disk) as image:
            stood_on = _parent(image)
            if stood_on is not None:
                # Always: that may be moved to the trash meanwhile.
                with HELD.turn(cluster, stood_on.pool, stood_on.image_id):
                    image.flatten()
    except rbd.ImageNotFound:
        return None
    return reap(cluster, stood_on)


def remove(cluster: Any, disk: Disk) -> Parent | None:
    """Delete a disk with its snapshots; into the trash while there are clones of it. It being gone succeeds. Returns as `reap`.

    Raises rbd.ImageBusy while somebody has it open.
    """
    with HELD.alone(cluster, disk.pool, disk.name):
        left = _remove(cluster, disk)
    return reap(cluster, left)


def _remove(cluster: Any, disk: Disk) -> Parent | None:
    """Delete a disk that nobody else in this process opens for writing; what may be deleted with it."""
    with open_ioctx(cluster, disk.pool) as ioctx:
        stood_on, image_id = None, ""
        try:
            # Looking, which is mostly all, needs no watch and no lock: who opens a disk to write is in the way of others, and gets into theirs.
            with rbd.Image(ioctx, disk.name, read_only=True) as image:
                # librbd finds that out, too, but only after it has taken the disk's lock: it may be asked for something then, and end us (`held`).
                if next(iter(image.watchers_list()), None) is not None:
                    raise rbd.ImageBusy(f"{disk.name} is open", errno=errno.EBUSY)
                stood_on, image_id = _parent(image), image.id()
                # Others are in the trash already, kept by clones.
                kinds = {found["name"]: found["namespace"] for found in image.list_snaps()}
            marks = [name for name, kind in kinds.items() if kind == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]
            if marks:
                with rbd.Image(ioctx, disk.name) as image:
                    for mark in marks:
                        with suppress(rbd.ImageNotFound):
                            # Somebody else deletes the snapshot by itself.
                            image.remove_snap(mark)
        except rbd.ImageNotFound:
            # Half deleted before, perhaps: what is left of it goes below.
            stood_on = None
        try:
            with _turn(cluster, stood_on):
                rbd.RBD().remove(ioctx, disk.name)
        except rbd.ImageNotFound:
            return None
        except rbd.ImageHasSnapshots:
            rbd.RBD().trash_move(ioctx, disk.name, 0)
            # The last clone may have gone since, and have looked for it in the trash too early.
            stood_on = Parent(disk.pool, image_id) if image_id else None
    return stood_on


@dataclass(frozen=True)
class Parent:
    """What a clone stands on: a pool and an image's id, which stays the same in the trash."""

    pool: str
    image_id: str


def _parent(image: Any) -> Parent | None:
    try:
        return Parent(image.get_parent_image_spec()["pool_name"], image.parent_id())
    except rbd.ImageNotFound:
        return None


@contextmanager
def _turn(cluster: Any, stood_on: Parent | None) -> Iterator[None]:
    """Delete what stands on that as the only one here, if librbd has to open that by itself: when it lies in the trash. Raises rbd.ImageBusy."""
    if stood_on is None or not _is_in_trash(cluster, stood_on):
        yield
        return
    with HELD.turn(cluster, stood_on.pool, stood_on.image_id):
        yield


def _is_in_trash(cluster: Any, image: Parent) -> bool:
    with open_ioctx(cluster, image.pool) as ioctx:
        try:
            rbd.RBD().trash_get(ioctx, image.image_id)
        except rbd.ImageNotFound:
            return False
    return True


def reap(cluster: Any, candidate: Parent | None) -> Parent | None:
    """Delete what a disk stood on if it is in the trash and nothing else stands on it; then what that stood on.

    Returns what could not be looked after because somebody has it open, None when that is nothing.
    """
    for _depth in range(MOST_DEPTH):
        if candidate is None:
            return None
        if not _is_in_trash(cluster, candidate):
            return None
        with open_ioctx(cluster, candidate.pool) as ioctx:
            try:
                with HELD.turn(cluster, candidate.pool, candidate.image_id):
                    with rbd.Image(ioctx, image_id=candidate.image_id, read_only=True) as image:
                        below = _parent(image)
                    with _turn(cluster, below):
                        rbd.RBD().trash_remove(ioctx, candidate.image_id)
            except (rbd.ImageNotFound, rbd.ImageHasSnapshots):
                # Not in the trash, reaped by somebody else, or still stood on.
                return None
            except rbd.OSError as error:
                if error.errno not in AT_IT:
                    raise
                return candidate
        candidate = below
    return candidate


def empty_trash(cluster: Any, pool: str) -> None:
    """Delete whatever in the pool's trash nothing stands on any more: what a crash between two steps of `remove` left."""
    with open_ioctx(cluster, pool) as ioctx:
        found = [entry["id"] for entry in rbd.RBD().trash_list(ioctx)]
    for image_id in found:
        reap(cluster, Parent(pool, image_id))


def drop_parts(cluster: Any, pool: str, maker: str) -> int:
    """Delete what ``maker`` has left unfinished; how many there were. Nothing may be in the making."""
    mine = [name for name in list_names(cluster, pool) if name.startswith(f"part.{maker}.")]
    for name in mine:
        remove(cluster, Disk(pool, name))
    return len(mine)


def capacity_bytes(cluster: Any, pool: str) -> int:
    """How much the pool holds and could hold in all, 0 when the cluster doesn't say (it has no manager)."""
    code, out, _complaint = cluster.mon_command(json.dumps({"prefix": "df", "format": "json"}), b"", timeout=10)
    if code:
        return 0
    for found in json.loads(out).get("pools", ()):
        if found["name"] == pool:
            stats = found["stats"]
            return int(stats.get("stored", 0)) + int(stats.get("max_avail", 0))
    return 0


# -- what a host keeps -------------------------------------------------------------------------------------------


def read_keys(cluster: Any, pool: str, name: str) -> dict[str, bytes]:
    """The omap of an object, empty when there is none."""
    out: dict[str, bytes] = {}
    with open_ioctx(cluster, pool) as ioctx:
        while True:
            after = max(out, default="")
            with rados.ReadOpCtx() as op:
                page, _ = ioctx.get_omap_vals(op, after, "", 1000)
                try:
                    ioctx.operate_read_op(op, name)
                except rados.ObjectNotFound:
                    return out
                # The binding has None for a value without bytes, now and then.
                found = {key: value or b"" for key, value in page}
            if not found:
                return out
            out.update(found)


def read_key(cluster: Any, pool: str, name: str, key: str) -> bytes | None:
    """One value of an object's omap, None when there is no such key or object."""
    with open_ioctx(cluster, pool) as ioctx, rados.ReadOpCtx() as op:
        found, _ = ioctx.get_omap_vals_by_keys(op, (key,))
        try:
            ioctx.operate_read_op(op, name)
        except rados.ObjectNotFound:
            return None
        return dict(found).get(key)


def set_key(cluster: Any, pool: str, name: str, key: str, value: bytes) -> None:
    """Set one key of an object's omap, making the object."""
    with open_ioctx(cluster, pool) as ioctx, rados.WriteOpCtx() as op:
        ioctx.set_omap(op, (key,), (value,))
        ioctx.operate_write_op(op, name)


def drop_key(cluster: Any, pool: str, name: str, key: str) -> None:
    """Remove one key of an object's omap. It being gone succeeds, and so does there being no such object yet."""
    with open_ioctx(cluster, pool) as ioctx, rados.WriteOpCtx() as op, suppress(rados.ObjectNotFound):
        ioctx.remove_omap_keys(op, (key,))
        ioctx.operate_write_op(op, name)
