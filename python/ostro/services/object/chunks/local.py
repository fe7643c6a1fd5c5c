"""Chunks as files: ``ab/cd/abcd...`` below one directory, drafts in ``drafts/``.

A draft is flushed and then renamed to its name, and the directory is flushed, so a file under a chunk's name is whole even after a crash.
A rename onto a file that is there replaces it by the same bytes. A file that is found damaged is set aside as ``<name>.damaged``. The
directory belongs to one process at a time.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from ostro._core import Hasher
from ostro.services.object.chunks import VERIFIED_S, ChunkDamaged, ChunkMissing

READ_BYTES = 1 << 20
VERIFIED_MOST = 65_536
HEX = frozenset("0123456789abcdef")
ID_LENGTH = 64
DAMAGED = ".damaged"


def is_chunk_id(name: str) -> bool:
    """Whether this is a BLAKE3 digest in hexadecimal."""
    return len(name) == ID_LENGTH and HEX.issuperset(name)


class LocalDraft:
    """See ``ChunkDraft``. The lock keeps an abandoned write from going to whatever file has the number next."""

    __slots__ = ("_file", "_lock", "_path", "_store")

    def __init__(self, store: LocalChunks, path: Path) -> None:
        self._store = store
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: memoryview) -> None:
        with self._lock:
            if self._file < 0:
                return
            while data:
                data = data[os.write(self._file, data) :]

    def commit(self, chunk_id: str) -> None:
        with self._lock:
            assert self._file >= 0, "a draft is committed once"
            os.fdatasync(self._file)
            self._close()
            self._store.take_in(self._path, chunk_id)

    def discard(self) -> None:
        with self._lock:
            if self._file >= 0:
                self._close()
                self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1


class LocalChunks:
    """See ``ChunkStore``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / "drafts"
        self._number = 0
        # Tells this instance's drafts from those of an earlier process, which may have had the same number.
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}-"
        self._lock = threading.Lock()
        self._verified: OrderedDict[str, float] = OrderedDict()
        self._made: set[str] = set()

    def path(self, chunk_id: str) -> Path:
        """Where a chunk is."""
        assert is_chunk_id(chunk_id), chunk_id
        return self._root / chunk_id[:2] / chunk_id[2:4] / chunk_id

    def begin(self) -> LocalDraft:
        with self._lock:
            self._number += 1
            name = f"{self._mark}{self._number}"
            if self._number == 1:
                self._drafts.mkdir(parents=True, exist_ok=True)
        return LocalDraft(self, self._drafts / name)

    def take_in(self, draft: Path, chunk_id: str) -> None:
        """Give a flushed draft its name, durably."""
        path = self.path(chunk_id)
        self._make_folder(chunk_id)
        os.rename(draft, path)
        _sync(path.parent)

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

    def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> bytes:
        try:
            file = os.open(self.path(chunk_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ChunkMissing("A part of the object is missing.", detail=chunk_id) from error
        try:
            if start == 0 and end == size_bytes and size_bytes <= READ_BYTES:
                return self._read_whole(file, chunk_id, size_bytes)
            if not self._is_verified(chunk_id):
                self._verify(file, chunk_id)
            data = os.pread(file, end - start, start)
        finally:
            os.close(file)
        if len(data) != end - start:
            raise ChunkDamaged("A part of the object is damaged.", detail=f"{chunk_id} is shorter than {end} bytes")
        return data

    def _read_whole(self, file: int, chunk_id: str, size_bytes: int) -> bytes:
        """One read for both purposes."""
        data = os.pread(file, size_bytes + 1, 0)
        if not self._is_verified(chunk_id) or len(data) != size_bytes:
            hasher = Hasher("blake3")
            hasher.update(data)
            self._judge(chunk_id, hasher)
        return data

    def _verify(self, file: int, chunk_id: str) -> None:
        hasher = Hasher("blake3")
        offset = 0
        while data := os.pread(file, READ_BYTES, offset):
            hasher.update(data)
            offset += len(data)
        self._judge(chunk_id, hasher)

    def _judge(self, chunk_id: str, hasher: Hasher) -> None:
        if hasher.hexdigest("blake3") != chunk_id:
            # Out of the way, so that writing the same bytes again heals every object that has them.
            path = self.path(chunk_id)
            path.rename(path.with_suffix(DAMAGED))
            raise ChunkDamaged("A part of the object is damaged.", detail=f"{chunk_id} has other bytes")
        with self._lock:
            self._verified[chunk_id] = time.monotonic()
            self._verified.move_to_end(chunk_id)
            while len(self._verified) > VERIFIED_MOST:
                self._verified.popitem(last=False)

    def _is_verified(self, chunk_id: str) -> bool:
        at_s = self._verified.get(chunk_id)
        return at_s is not None and time.monotonic() - at_s < VERIFIED_S

    def has(self, chunk_id: str) -> bool:
        return self.path(chunk_id).exists()

    def delete(self, chunk_id: str) -> None:
        with self._lock:
            self._verified.pop(chunk_id, None)
        self.path(chunk_id).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        assert len(prefix) == 2 and HEX.issuperset(prefix), prefix
        first = self._root / prefix
        if not first.is_dir():
            return
        for second in os.scandir(first):
            for entry in os.scandir(second.path):
                if is_chunk_id(entry.name):
                    yield entry.name

    def discard_drafts(self) -> int:
        if not self._drafts.is_dir():
            return 0
        paths = [entry.path for entry in os.scandir(self._drafts) if not entry.name.startswith(self._mark)]
        for path in paths:
            os.unlink(path)
        return len(paths)


def _sync(folder: Path) -> None:
    """Make the names in a directory durable."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
