"""Chunks as files: ``ab/cd/abcd...`` below one directory, drafts in ``drafts/``.

A draft is flushed and then renamed to its name, and the directory is flushed, so a file under a chunk's name is whole even after a crash.
A file that is found damaged is set aside as ``<name>.damaged``. What is read whole is hashed each time; for a part of a large chunk the file is hashed
unless it was a moment ago and is unchanged.

Any number of processes may share the directory, also by a network file system that has ``flock`` and one clock within hours. Giving a chunk its
name, using it again and deleting it happen under the lock of its first two digits, a file in ``locks/``. Using it again gives it another time, which
is its mark's version, so it isn't deleted by an older mark. A draft is locked by who writes it, and lost by who died, so only those of the
dead are discarded.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ostro._core import Hasher
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.services.object.chunks import ChunkDamaged, ChunkMissing, Mark, is_chunk_id
from ostro.services.object.chunks.verified import Verified, name_of
from ostro.services.object.limits import PIECE_BYTES

READ_BYTES = 1 << 20
DAMAGED = ".damaged"
READS = Pool("object-read", 8)
FLUSHES = Pool("object-flush", 16)
DELETES = Pool("object-delete", 2)
READ_MOST_S = 120.0
BLOCK_BYTES = 4096
"""What is written past the page cache comes in blocks of this size."""
FLUSH_MOST_S = 300.0
STAGES_MOST = 4
_stages: list[mmap.mmap] = []
"""Memory for such writes that nobody uses now. Threads take from it and put back to it in one step each."""


class LocalDraft:
    """A chunk that has no name yet: a file that is ours alone. It is given one by ``LocalChunks.take_in`` or discarded."""

    __slots__ = ("_file", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _create_locked(path)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write all of them, durably. Raises OSError."""
        for piece in pieces:
            rest = memoryview(piece)[_write_past_cache(self._file, piece) :]
            while rest:
                rest = rest[os.write(self._file, rest) :]
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file, and remove it unless it has a name by now."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)


class LocalChunks:
    """See ``ChunkStore``."""

    piece_bytes = READ_BYTES

    def __init__(self, world: World, root: Path) -> None:
        self.threads = world.threads
        self._world = world
        self._root = root
        self._drafts = root / "drafts"
        self._locks = root / "locks"
        self._number = 0
        # Tells this instance's drafts from those of other processes, which may have the same number on other machines.
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}-{world.random.getrandbits(64):016x}-"
        self._lock = threading.Lock()
        self._verified = Verified()
        self._made: set[str] = set()

    def path(self, chunk_id: str) -> Path:
        """Where a chunk is."""
        assert is_chunk_id(chunk_id), chunk_id
        return self._root / chunk_id[:2] / chunk_id[2:4] / chunk_id

    async def keep(self, chunk_id: str, pieces: Sequence[bytes]) -> None:
        await self.threads.run(FLUSHES, self._keep, chunk_id, pieces, deadline_s=FLUSH_MOST_S)

    def _keep(self, chunk_id: str, pieces: Sequence[bytes]) -> None:
        if self.use_again(chunk_id):
            return
        draft = self.begin()
        try:
            draft.write(pieces)
            # It stays open, and so locked, until it has its name.
            self.take_in(draft.path, chunk_id)
        finally:
            draft.close()

    def begin(self) -> LocalDraft:
        """A new draft. Raises OSError."""
        with self._lock:
            self._number += 1
            name = f"{self._mark}{self._number}"
            if self._number == 1:
                self._drafts.mkdir(parents=True, exist_ok=True)
                self._locks.mkdir(exist_ok=True)
        return LocalDraft(self._drafts / name)

    def take_in(self, draft: Path, chunk_id: str) -> None:
        """Give a flushed draft its name, durably, or drop it when another has come first."""
        path = self.path(chunk_id)
        self._make_folder(chunk_id)
        with self._locked(chunk_id):
            if self._touch(path):
                draft.unlink()
                return
            self._touch(draft)
            os.rename(draft, path)
            _sync(path.parent)

    def use_again(self, chunk_id: str) -> bool:
        """Give a chunk that is there another mark; whether it is there."""
        path = self.path(chunk_id)
        if not path.exists():
            return False
        with self._locked(chunk_id):
            return self._touch(path)

    def _touch(self, path: Path) -> bool:
        """Give the file a time that it hasn't had; whether it is there."""
        try:
            before_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        now_ns = max(self._world.now_us() * 1000, before_ns + 1000)
        os.utime(path, ns=(now_ns, now_ns))
        return True

    @contextmanager
    def _locked(self, chunk_id: str) -> Iterator[None]:
        """No other thread or process writes or deletes this chunk meanwhile."""
        try:
            file = self._open_lock(chunk_id)
        except FileNotFoundError:
            self._locks.mkdir(parents=True, exist_ok=True)
            file = self._open_lock(chunk_id)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _open_lock(self, chunk_id: str) -> int:
        return os.open(self._locks / chunk_id[:2], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _make_folder(self, chunk_id: str) -> None:
        """The two levels above a chunk, durable before anything is in them."""
        key = chunk_id[:4]
        if key in self._made:
            return
        first = self._root / chunk_id[:2]
        (first / chunk_id[2:4]).mkdir(parents=True, exist_ok=True)
        _sync(first)
        _sync(self._root)
        self._made.add(key)

    async def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> list[bytes]:
        data = await self.threads.run(READS, self._read, chunk_id, size_bytes, start, end, deadline_s=READ_MOST_S)
        return [data]

    def hint(self, chunk_id: str, size_bytes: int, start: int, end: int, ahead: int = 1) -> None:
        """The kernel reads ahead by itself."""

    def _read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> bytes:
        try:
            file = os.open(self.path(chunk_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ChunkMissing("A part of the object is missing.", detail=chunk_id) from error
        try:
            if start == 0 and end == size_bytes and size_bytes <= READ_BYTES:
                return self._read_whole(file, chunk_id, size_bytes)
            if not self._verified.knows(chunk_id, os.fstat(file)):
                self._verify(file, chunk_id)
            data = os.pread(file, end - start, start)
        finally:
            os.close(file)
        if len(data) != end - start:
            raise ChunkDamaged("A part of the object is damaged.", detail=f"{chunk_id} is shorter than {end} bytes")
        return data

    def _read_whole(self, file: int, chunk_id: str, size_bytes: int) -> bytes:
        """One read for both purposes."""
        stat = os.fstat(file)
        data = os.pread(file, size_bytes + 1, 0)
        self._judge(file, chunk_id, name_of(data), stat)
        return data

    def _verify(self, file: int, chunk_id: str) -> None:
        stat = os.fstat(file)
        hasher = Hasher("blake3")
        offset = 0
        while data := os.pread(file, READ_BYTES, offset):
            hasher.update(data)
            offset += len(data)
        self._judge(file, chunk_id, hasher.hexdigest("blake3"), stat)

    def _judge(self, file: int, chunk_id: str, name: str, stat: os.stat_result) -> None:
        if not self._verified.judge(chunk_id, name, stat):
            # Out of the way, so that writing the same bytes again heals every object that has them.
            self._set_aside(file, chunk_id)
            raise ChunkDamaged("A part of the object is damaged.", detail=f"{chunk_id} has other bytes")

    def _set_aside(self, file: int, chunk_id: str) -> None:
        """Do so unless another has meanwhile, or has healed it."""
        path = self.path(chunk_id)
        with self._locked(chunk_id):
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                path.rename(path.with_suffix(DAMAGED))

    async def mark(self, chunk_id: str) -> Mark | None:
        return await self.threads.run(DELETES, self._mark_of, chunk_id)

    def _mark_of(self, chunk_id: str) -> Mark | None:
        try:
            found = self.path(chunk_id).stat()
        except FileNotFoundError:
            return None
        return Mark(found.st_mtime_ns, max(0.0, self._world.now_us() / 1e6 - found.st_mtime))

    async def delete(self, chunk_id: str, mark: Mark) -> bool:
        return await self.threads.run(DELETES, self._delete, chunk_id, mark)

    def _delete(self, chunk_id: str, mark: Mark) -> bool:
        self._verified.forget(chunk_id)
        path = self.path(chunk_id)
        with self._locked(chunk_id):
            if path.exists() and path.stat().st_mtime_ns != mark.version:
                return False
            path.unlink(missing_ok=True)
        return True

    async def pages(self) -> AsyncGenerator[list[str], None]:
        for prefix in await self.threads.run(DELETES, self._prefixes):
            yield await self.threads.run(DELETES, self._list, prefix)

    def _prefixes(self) -> list[Path]:
        """The folders below the first level that chunks are in."""
        if not self._root.is_dir():
            return []
        return sorted(path for path in self._root.iterdir() if len(path.name) == 2 and path.is_dir())

    def _list(self, folder: Path) -> list[str]:
        return [entry.name for second in os.scandir(folder) for entry in os.scandir(second) if is_chunk_id(entry.name)]

    async def discard_drafts(self) -> int:
        return await self.threads.run(DELETES, self._discard_drafts)

    def _discard_drafts(self) -> int:
        if not self._drafts.is_dir():
            return 0
        others = [entry.path for entry in os.scandir(self._drafts) if not entry.name.startswith(self._mark)]
        return sum(_unlink_abandoned(path) for path in others)


def _take_stage(size_bytes: int) -> mmap.mmap:
    if size_bytes <= PIECE_BYTES:
        with suppress(IndexError):
            return _stages.pop()
    return mmap.mmap(-1, max(size_bytes, PIECE_BYTES))


def _write_past_cache(file: int, piece: bytes) -> int:
    """Write the piece's whole blocks straight to the disk where that can be done; how many bytes were written.

    Filling the page cache with what is flushed at once takes several times longer than writing it.
    """
    whole_bytes = len(piece) - len(piece) % BLOCK_BYTES
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    if not whole_bytes or os.lseek(file, 0, os.SEEK_CUR) % BLOCK_BYTES:
        return 0
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT)
    except OSError:
        return 0  # Not on this file system.
    try:
        # Such a write wants memory that begins where a page does. It is kept for the next one: new memory costs as much as copying to it.
        stage = _take_stage(whole_bytes)
        with memoryview(stage) as room:
            room[:whole_bytes] = memoryview(piece)[:whole_bytes]
            written = os.write(file, room[:whole_bytes])
        if len(_stages) < STAGES_MOST and len(stage) == PIECE_BYTES:
            _stages.append(stage)
        return written
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0  # The file system wants larger blocks, or none of this.
    finally:
        fcntl.fcntl(file, fcntl.F_SETFL, flags)


def _create_locked(path: Path) -> int:
    """A new file that is ours, open and locked."""
    while True:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file
        except BaseException:
            os.close(file)
            raise
        # A sweep came between creating and locking, and took it for one of the dead.
        os.close(file)


def _unlink_abandoned(path: str) -> bool:
    """Remove a draft unless a process has it open; whether that was done."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another sweep may have removed it, or its writer may have given it its name and let go of it, since it was opened.
        if not os.path.exists(path):
            return False
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _sync(folder: Path) -> None:
    """Make the names in a directory durable."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
