"""A host's hold on RBD: its connection, its list of what it keeps, disks that are made whole or not at all, and flattening in the background.

What the disks are is `ostro.agent.drivers.block.rbd`'s.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from ostro.agent.drivers.block import GIB, BlockFacts, CephAccess, Contents, Stored, contents_of
from ostro.agent.drivers.block.files import FileCalls, header_bytes
from ostro.agent.drivers.block.kept import Kept
from ostro.model.errors import Conflict, NoCapacity, OstroError, Unavailable
from ostro.model.qos import from_rbd_limits
from ostro.model.volumes import CEPH
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.ceph.connection import CALL_DEADLINE_S, Ceph, State
from ostro.runtime.ceph.disks import Disk
from ostro.runtime.ceph.guests import secret_id, write_guest_conf
from ostro.runtime.ceph.new_disks import NewDisk, copy_mark
from ostro.runtime.doorbell import Bell
from ostro.runtime.world import World

T = TypeVar("T")

log = structlog.get_logger()

TIDY_AGAIN_S = 5.0
FLATTEN_AGAIN_S = 60.0
FILE_WORKERS = 2
UNKNOWN_GB = 100_000
"""What a cluster that doesn't tell its size is taken to have."""


@dataclass(frozen=True)
class RbdConfig:
    """``host`` names this host among those that share the pools; ``state_dir`` is where what QEMU needs is written."""

    ceph: CephConfig
    host: str
    state_dir: Path

    @property
    def scratch(self) -> Path:
        """A directory for images on their way."""
        return self.state_dir / "unfinished-images"

    @property
    def access(self) -> CephAccess:
        """How QEMU gets at the disks."""
        return CephAccess(str(self.state_dir / "ceph.conf"), self.ceph.user, secret_id(self.ceph))


class Clone(msgspec.Struct, frozen=True):
    """What is noted of a clone that is to be flattened: its pool, and the disk in the pool of volumes that has a snapshot for it."""

    pool: str
    source: str = ""


class RbdHost:
    """What `ostro.agent.drivers.block.rbd.RbdBlock` stands on."""

    def __init__(self, world: World, config: RbdConfig, ceph: Ceph) -> None:
        self._ceph = ceph
        self._config = config.ceph
        self._pools = config.ceph.pools
        self._host = config.host
        self._scratch = config.scratch
        self._access = config.access
        self._on_file = FileCalls(world, FILE_WORKERS)
        self._random = world.random
        self._list = f"ostro.host.{config.host}"
        self._kept = Kept(config.state_dir / "ceph")
        self._to_flatten = f"ostro.flatten.{config.host}"
        self._image_bytes: dict[str, int] = {}
        self._notes = trio.Lock()
        self._are_clones = False
        self._unfinished: set[str] = set()
        """Names of disks in the making: what is to be flattened may be noted before it is there."""
        self._bell = Bell()
        self._facts = self._describe(0)
        self.ready = trio.Event()

    async def run(self) -> None:
        """See `open_`."""
        await self._on_file(_empty, self._scratch)
        await self._on_file(write_guest_conf, self._config, Path(self._access.conf))
        while not self.ready.is_set():
            await self._ceph.wait_for(State.UP)
            try:
                await self._tidy()
            except OstroError as error:
                log.warning("ceph can't be used yet", reason=error.message, detail=error.detail)
                await trio.sleep(TIDY_AGAIN_S)
        await self._flatten_often()

    async def _tidy(self) -> None:
        """Throw away what was left unfinished, and see how much room there is; then everything else may begin."""
        for pool in dict.fromkeys((self._pools.images, self._pools.volumes)):
            await self._ceph.call(pool, disks.drop_parts, pool, self._host)
            await self._ceph.call(pool, disks.empty_trash, pool)
        found = await self._ceph.call(self._list, disks.read_keys, self._pools.volumes, self._list)
        await self._on_file(self._kept.sync, {name: value.decode() for name, value in found.items()})
        capacity_bytes = await self._ceph.call("the cluster", disks.capacity_bytes, self._pools.volumes)
        self._facts = self._describe(capacity_bytes // GIB)
        self.ready.set()

    def _describe(self, disk_gb: int) -> BlockFacts:
        where = f"Ceph, pools {self._pools.images} and {self._pools.volumes}"
        if disk_gb:
            return BlockFacts(disk_gb, where, (CEPH,))
        return BlockFacts(UNKNOWN_GB, f"{where}; it has not told its size (does a manager run?)", (CEPH,))

    @property
    def facts(self) -> BlockFacts:
        return self._facts

    async def contents(self) -> Contents:
        if not await self._on_file(self._kept.is_synced):
            self._check_ready()
        return contents_of(await self._on_file(self._kept.names))

    async def _make_at_once(
        self, make: Callable[..., bool], new: NewDisk, *args: object, clone: Clone | None = None
    ) -> None:
        """Make a disk by one of `new_disks`' functions: whole or not at all. A ``clone`` is flattened in the background."""
        self._unfinished.add(new.disk.name)
        started_s = trio.current_time()
        try:
            if clone is not None:
                await self._flatten_later(new.disk, clone)
            await self._call(new.disk.name, make, new, *args)
            log.info("disk made", name=new.disk.name, ms=round((trio.current_time() - started_s) * 1000, 1))
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._discard(new.part)
            raise
        finally:
            self._done_with(new.disk)

    def _done_with(self, disk: Disk) -> None:
        """A disk isn't being made any more. What had to wait for a quiet moment may be done after the last one."""
        self._unfinished.discard(disk.name)
        if self._are_clones and not self._unfinished:
            self._bell.ring()

    @asynccontextmanager
    async def _forgetting_what_fails(self, disk: Disk) -> AsyncIterator[None]:
        """Note a disk as this host's; if the block fails and there is none, take that back."""
        await self._keep(disk.name)
        try:
            yield
        except OstroError:
            if await self._find(disk) is None:
                await self._forget(disk.name)
            raise

    @asynccontextmanager
    async def _making_own(self, disk: Disk) -> AsyncIterator[Disk]:
        """As `_making`, for a disk that this host keeps."""
        started_s = trio.current_time()
        async with self._forgetting_what_fails(disk):
            async with self._making(disk, self._host) as part:
                yield part
            log.info("disk made", name=disk.name, ms=round((trio.current_time() - started_s) * 1000, 1))

    @asynccontextmanager
    async def _making(self, disk: Disk, owner: str) -> AsyncIterator[Disk]:
        """The name under which the block makes the disk; it gets its own at the end, or is removed."""
        part = disk.part(self._host)
        self._unfinished.add(disk.name)
        try:
            await self._call(part.name, disks.remove, part)
            yield part
            await self._call(disk.name, disks.finish, part, disk, owner)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._discard(part)
            raise
        finally:
            self._done_with(disk)

    async def _discard(self, part: Disk) -> None:
        """Remove a part if that can be done now; the next start, or the next attempt, removes it otherwise."""
        try:
            await self._call(part.name, disks.remove, part)
        except OstroError as error:
            log.warning("an unfinished disk could not be removed yet", name=part.name, reason=error.message)

    async def _find(self, disk: Disk) -> Stored | None:
        found = await self._call(disk.name, disks.look, disk)
        if found is None:
            return None
        return msgspec.structs.replace(self._looked(disk, found), reverted=found.notes.get(disks.REVERTED_KEY, ""))

    def _looked(self, disk: Disk, found: disks.Look) -> Stored:
        format_ = found.notes.get(disks.FORMAT_KEY, "raw")
        return self._stored(disk, found.size_bytes - header_bytes(format_), format_, from_rbd_limits(found.limits))

    def _stored(
        self, disk: Disk, size_bytes: int = 0, format_: str = "raw", limits: Mapping[str, int] | None = None
    ) -> Stored:
        return Stored(disk.path, format_, size_bytes, self._access, CEPH, dict(limits or {}))

    async def _adopt(self, disk: Disk) -> None:
        """A disk that is there is this host's from now on."""
        await self._keep(disk.name)
        await self._call(disk.name, disks.set_owner, disk, self._host)

    async def _drop(self, disk: Disk) -> None:
        """Delete a disk of this host's; another host's is only forgotten."""
        if await self._call(disk.name, disks.find_owner, disk) in (self._host, ""):
            await self._remove(disk)
        await self._forget(disk.name)

    async def _remove(self, disk: Disk) -> None:
        """Delete a disk, however large. Raises Unavailable while somebody has it open who doesn't let go of it soon."""
        with self._for_now():
            await self._ceph.remove_disk(disk)

    async def _keep(self, key: str, value: str = "") -> None:
        self._check_ready()
        await self._on_file(self._kept.add, key, value)
        await self._call(key, disks.set_key, self._pools.volumes, self._list, key, value.encode())

    async def _forget(self, key: str) -> None:
        await self._call(key, disks.drop_key, self._pools.volumes, self._list, key)
        await self._on_file(self._kept.drop, key)

    def _check_room(self, size_bytes: int) -> None:
        """Refuse what could never be filled. Disks are sparse, so this is no promise."""
        if size_bytes > self._facts.disk_gb * GIB:
            raise NoCapacity(f"Ceph holds {self._facts.disk_gb} GiB in all, too little for this disk.")

    async def _call(self, what: str, fn: Callable[..., T], *args: object, deadline_s: float = CALL_DEADLINE_S) -> T:
        """A call to Ceph."""
        with self._for_now():
            return await self._ceph.call(what, fn, *args, deadline_s=deadline_s)

    @contextmanager
    def _for_now(self) -> Iterator[None]:
        """Work that needs Ceph. What is in use now need not be later, so that is Unavailable here."""
        self._check_ready()
        try:
            yield
        except Conflict as error:
            raise Unavailable(error.message, retry_after_s=5, detail=error.detail) from error

    def _check_ready(self) -> None:
        if not self.ready.is_set():
            raise Unavailable("The storage (Ceph) is not there yet.", retry_after_s=5, detail=self._ceph.health)

    async def _flatten_later(self, disk: Disk, clone: Clone) -> None:
        """Note a disk that is being made to be flattened once it is there."""
        note = msgspec.json.encode(clone)
        async with self._notes:
            await self._call(disk.name, disks.set_key, self._pools.volumes, self._to_flatten, disk.name, note)
        self._are_clones = True

    # -- background ----------------------------------------------------------------------------------------------

    async def _flatten_often(self) -> None:
        """Flatten clones of volumes, one after the other, for ever: while no disk is being made, or when they have waited for long."""
        loop = self._ceph.world.metrics.loop("flattening")
        since_s = trio.current_time()
        while True:
            try:
                late = trio.current_time() - since_s >= FLATTEN_AGAIN_S
                if late or not self._unfinished:
                    with loop.run():
                        done = await self._flatten_all(patient=not late)
                    since_s = trio.current_time() if done else since_s
            except OstroError as error:
                log.warning("flattening goes on later", reason=error.message, detail=error.detail)
            await self._bell.wait(FLATTEN_AGAIN_S)

    async def _flatten_all(self, *, patient: bool) -> bool:
        """Flatten what is noted; whether that is all. Who is ``patient`` stops when a disk is to be made."""
        self._are_clones = False
        noted = await self._call(self._to_flatten, disks.read_keys, self._pools.volumes, self._to_flatten)
        for name, note in noted.items():
            if self._unfinished:
                self._are_clones = True
                if patient:
                    return False
            if name not in self._unfinished:
                await self._flatten(name, note)
        return True

    async def _flatten(self, name: str, note: bytes) -> None:
        """Flatten one clone, rid its source of the snapshot that it has for it, and forget about it. Its being gone succeeds."""
        clone = msgspec.json.decode(note, type=Clone) if note else Clone(self._pools.volumes)
        disk = Disk(clone.pool, name)
        with self._for_now():
            await self._ceph.flatten_disk(disk)
        if clone.source:
            source = Disk(self._pools.volumes, clone.source)
            await self._call(source.name, disks.drop_snapshot, source, copy_mark(disk))
        async with self._notes:
            # What failed before may be being made again, and then it is noted for that.
            if name not in self._unfinished:
                await self._call(name, disks.drop_key, self._pools.volumes, self._to_flatten, name)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
