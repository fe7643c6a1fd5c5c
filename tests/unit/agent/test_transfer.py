"""Disks between agents: whole, or not at all; to whom they are offered, once, and for so long."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent.identity import Identity
from ostro.agent.transfer import CHUNK_BYTES, OFFER_LEAST_S, OFFER_MOST_S, DiskServer, Offer, fetch, settle
from ostro.model.errors import Invalid, Unavailable, Unsupported
from ostro.runtime.certificates import Authority, make_request, new_key
from ostro.runtime.world import World

ADDRESS = "127.0.0.1"
MOVE = "0f000000-0000-4000-8000-000000000001"
NOW_US = 1_700_000_000_000_000


@dataclass
class Clock:
    """Stands where it is put."""

    at_us: int = NOW_US

    def now_us(self) -> int:
        return self.at_us


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        return int(listener.getsockname()[1])


async def read(offer: str, identity: Identity | None = None) -> bytes:
    async with aclosing(fetch(offer, identity)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read_when_up(offer: str, identity: Identity | None = None) -> bytes:
    """Tried until the server listens."""
    with trio.fail_after(30):
        while True:
            try:
                return await read(offer, identity)
            except Unavailable as error:
                if "ConnectionRefused" not in error.detail and "all attempts" not in error.detail:
                    raise
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def serving(server: DiskServer) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield
        nursery.cancel_scope.cancel()


def changed(offer: str, **changes: object) -> str:
    return msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(offer, type=Offer), **changes)).decode()


def host(folder: Path, authority: Authority, name: str) -> Identity:
    """A host that has joined the authority's cloud."""
    folder.mkdir()
    key, identity = new_key(), Identity(folder, name)
    issued, _ = authority.sign_host(make_request(key, name), name, World().now_us(), 3600.0)
    identity.keep(key, issued.pem, authority.cert_pem)
    return identity


async def test_a_file_is_fetched_whole_and_only_with_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "root.qcow2"
    content = bytes(range(256)) * (CHUNK_BYTES // 128) + b"end"
    path.write_bytes(content)
    port = free_port()
    server = DiskServer(World(), tmp_path, ADDRESS, port)
    offer = server.offer(MOVE, str(path))
    assert str(path) not in offer
    with pytest.raises(Unavailable):
        await read(offer)
    async with serving(server):
        assert await read_when_up(offer) == content
        assert await read(offer) == content, "who breaks off fetches it again"
        for stolen in (changed(offer, migration_id="another"), changed(offer, expires_s=1 << 40)):
            with pytest.raises(Unavailable, match="broken off"):
                await read(stolen)
        path.unlink()
        with pytest.raises(Unavailable, match="broken off"):
            await read(offer)


async def test_an_offer_is_used_once_and_by_nobody_after_its_time(tmp_path: Path) -> None:
    path, clock, port = tmp_path / "root.qcow2", Clock(), free_port()
    path.write_bytes(b"disk")
    world = World(clock=clock)
    server = DiskServer(world, tmp_path, ADDRESS, port)
    offer, other = server.offer(MOVE, str(path)), server.offer("other", str(path))
    assert DiskServer(world, tmp_path, ADDRESS, port).offer(MOVE, str(path)) == offer, "the same after a restart"
    expires_s = msgspec.json.decode(offer, type=Offer).expires_s
    assert OFFER_LEAST_S <= expires_s - NOW_US // 1_000_000 <= OFFER_MOST_S
    async with serving(server):
        assert await read_when_up(offer) == b"disk"
        await settle(offer)
        with pytest.raises(Unavailable):
            await read(offer)
        assert server.offer(MOVE, str(path)) == ""
        assert await read(other) == b"disk"
        server.withdraw("other")
        with pytest.raises(Unavailable):
            await read(other)
        again = server.offer("other", str(path))
        clock.at_us = expires_s * 1_000_000
        with pytest.raises(Unavailable):
            await read(again)
        renewed = server.offer("other", str(path))
        assert renewed != again
        assert await read(renewed) == b"disk"
    assert DiskServer(world, tmp_path, ADDRESS, port).offer(MOVE, str(path)) == "", "used, also after a restart"


async def test_hosts_with_certificates_give_disks_to_each_other_alone(tmp_path: Path) -> None:
    ours, theirs = Authority.make("ours", World().now_us()), Authority.make("theirs", World().now_us())
    here, there = host(tmp_path / "here", ours, "host-a"), host(tmp_path / "there", ours, "host-b")
    stranger = host(tmp_path / "stranger", theirs, "host-b")
    path, port = tmp_path / "root.qcow2", free_port()
    path.write_bytes(b"disk" * CHUNK_BYTES)
    server = DiskServer(World(), tmp_path, ADDRESS, port, here)
    offer = server.offer(MOVE, str(path))
    async with serving(server):
        assert await read_when_up(offer, there) == path.read_bytes()
        for wrong in (changed(offer, host="host-c"), offer):
            with pytest.raises(Unavailable, match="can't be fetched"):
                await read(wrong, stranger if wrong == offer else there)
        for one, other in ((offer, None), (changed(offer, host=""), there)):
            with pytest.raises(Unsupported):
                await read(one, other)
        with pytest.raises(Unavailable):
            await read(changed(offer, host=""))
        await settle(offer, there)
        with pytest.raises(Unavailable):
            await read(offer, there)


async def test_what_cannot_be_offered_or_fetched(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        DiskServer(World(), tmp_path, "", 0).offer(MOVE, "/root.qcow2")
    with pytest.raises(Invalid) as caught:
        await read('{"address": "10.0.0.1", "port": 1, "secret": "not to be told"')
    assert "not to be told" not in caught.value.message + caught.value.detail


async def test_a_file_that_was_changed_on_the_way_is_refused() -> None:
    async def lie(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all((4).to_bytes(8, "big") + b"liar" + bytes(32))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, lie, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(Unavailable, match="as it was sent"):
            await read(msgspec.json.encode(Offer(ADDRESS, port, MOVE, 1 << 40, "s")).decode())
        nursery.cancel_scope.cancel()
