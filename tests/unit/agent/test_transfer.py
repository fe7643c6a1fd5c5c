"""Disks between agents: whole, or not at all."""

from __future__ import annotations

import socket
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent.transfer import CHUNK_BYTES, DiskServer, Offer, fetch
from ostro.model.errors import Invalid, Unavailable, Unsupported
from ostro.runtime.world import World

ADDRESS = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        return int(listener.getsockname()[1])


async def read(offer: str) -> bytes:
    async with aclosing(fetch(offer)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read_when_up(offer: str) -> bytes:
    """Tried until the server listens."""
    with trio.fail_after(30):
        while True:
            try:
                return await read(offer)
            except Unavailable as error:
                if "ConnectionRefused" not in error.detail and "all attempts" not in error.detail:
                    raise
                await trio.lowlevel.checkpoint()


async def test_a_file_is_fetched_whole_and_only_with_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "root.qcow2"
    content = bytes(range(256)) * (CHUNK_BYTES // 128) + b"end"
    path.write_bytes(content)
    port = free_port()
    server = DiskServer(World(), tmp_path, ADDRESS, port)
    offer = server.offer(str(path))
    assert DiskServer(World(), tmp_path, ADDRESS, port).offer(str(path)) == offer, "the same after a restart"
    with pytest.raises(Unavailable):
        await read(offer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        assert await read_when_up(offer) == content
        other = tmp_path / "other"
        other.write_bytes(b"not for you")
        stolen = msgspec.structs.replace(msgspec.json.decode(offer, type=Offer), path=str(other))
        with pytest.raises(Unavailable, match="broken off"):
            await read(msgspec.json.encode(stolen).decode())
        path.unlink()
        with pytest.raises(Unavailable, match="broken off"):
            await read(offer)
        nursery.cancel_scope.cancel()


async def test_what_cannot_be_offered_or_fetched(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        DiskServer(World(), tmp_path, "", 0).offer("/root.qcow2")
    with pytest.raises(Invalid):
        await read("nonsense")


async def test_a_file_that_was_changed_on_the_way_is_refused(tmp_path: Path) -> None:
    async def lie(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all((4).to_bytes(8, "big") + b"liar" + bytes(32))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, lie, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(Unavailable, match="as it was sent"):
            await read(msgspec.json.encode(Offer(ADDRESS, port, "/x", "s")).decode())
        nursery.cancel_scope.cancel()
