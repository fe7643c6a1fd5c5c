"""Chunk stores against the contract."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from ostro.runtime.world import World
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.chunks.local import LocalChunks
from ostro.services.object.chunks.memory import MemoryChunks
from ostro.services.object.chunks.verified import name_of
from ostro.testing.contracts.chunks import ChunkStoreContract, keep, marked, names

WRITER = """
import sys
from pathlib import Path

from ostro.runtime.world import World
from ostro.services.object.chunks.local import LocalChunks
from ostro.services.object.chunks.verified import name_of

store = LocalChunks(World(), Path(sys.argv[1]))


def begin():
    draft = store.begin()
    draft.write([b"another"])
    print("written", flush=True)
    return draft


draft = begin()
while sys.stdin.readline():
    store.take_in(draft.path, name_of(b"another"))
    draft.close()
    print("kept", flush=True)
    draft = begin()
"""
"""Another process: writes a draft of the chunk ``another``, and gives it its name and begins again for every line."""


def open_writer(root: Path) -> Popen[str]:
    """It, with pipes."""
    return Popen([sys.executable, "-c", WRITER, str(root)], stdin=PIPE, stdout=PIPE, text=True)


class TestLocalChunks(ChunkStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ChunkStore:
        return LocalChunks(World(), tmp_path / "chunks")

    async def damage(self, store: ChunkStore, chunk_id: str) -> None:
        assert isinstance(store, LocalChunks)
        with store.path(chunk_id).open("r+b") as file:
            file.write(b"?")

    async def test_drafts_of_the_dead_are_discarded_and_not_those_of_another_process(self, tmp_path: Path) -> None:
        root = tmp_path / "chunks"
        store = LocalChunks(World(), root)
        with open_writer(root) as other:
            assert other.stdin is not None and other.stdout is not None
            assert other.stdout.readline() == "written\n"
            assert await store.discard_drafts() == 0
            other.stdin.write("commit\n")
            other.stdin.flush()
            assert other.stdout.readline() == "kept\n"
            assert other.stdout.readline() == "written\n"
            other.kill()
        assert b"".join(await store.read(name_of(b"another"), 7, 0, 7)) == b"another"
        assert await store.discard_drafts() == 1
        assert await store.discard_drafts() == 0
        assert await names(store) == {name_of(b"another")}

    async def test_a_chunk_that_another_process_uses_again_is_not_deleted(self, tmp_path: Path) -> None:
        root = tmp_path / "chunks"
        store = LocalChunks(World(), root)
        await keep(store, b"another")
        mark = await marked(store, name_of(b"another"))
        with open_writer(root) as other:
            assert other.communicate("commit\n")[0] == "written\nkept\nwritten\n"
        assert not await store.delete(name_of(b"another"), mark)
        assert b"".join(await store.read(name_of(b"another"), 7, 0, 7)) == b"another"

    async def test_two_processes_write_and_delete_one_chunk(self, tmp_path: Path) -> None:
        """Whatever overtakes what: a chunk whose commit has returned is only ever deleted by a mark taken after it."""
        root = tmp_path / "chunks"
        store = LocalChunks(World(), root)
        name = name_of(b"another")
        with open_writer(root) as other:
            assert other.stdin is not None and other.stdout is not None
            assert other.stdout.readline() == "written\n"
            for _ in range(50):
                mark = await store.mark(name)
                other.stdin.write("commit\n")
                other.stdin.flush()
                if mark is not None:
                    await store.delete(name, mark)
                assert [other.stdout.readline(), other.stdout.readline()] == ["kept\n", "written\n"]
                assert b"".join(await store.read(name, 7, 0, 7)) == b"another"


class TestMemoryChunks(ChunkStoreContract):
    @pytest.fixture
    def store(self) -> ChunkStore:
        return MemoryChunks()

    async def damage(self, store: ChunkStore, chunk_id: str) -> None:
        assert isinstance(store, MemoryChunks)
        store.chunks[chunk_id].data = b"?" + store.chunks[chunk_id].data[1:]
