"""The metadata server on a socket: nothing that a guest does, and no server that can't be read, ends it for the others."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator

import msgspec
import pytest
import trio

from ostro.agent.drivers.network import NetworkFacts
from ostro.agent.metadata import FindGuest, Metadata, guest_of
from ostro.agent.metadata_pages import Guest
from ostro.agent.mirror import Mirror
from ostro.model.errors import Bug
from ostro.model.wishes import Feed, Noun, PortWish, ServerWish, Wish
from ostro.runtime.world import World
from ostro.testing.network import MemoryNetwork

GUEST = Guest(ServerWish("5e000000-0000-4000-8000-000000000001", "web", "project", "user", "web", 1, 64, 1))


class LoopbackNetwork(MemoryNetwork):
    """Has the metadata address on the loopback, where every request comes from one port."""

    def __init__(self) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    @property
    def facts(self) -> NetworkFacts:
        return msgspec.structs.replace(super().facts, metadata_address="127.0.0.1", metadata_port=self.port)

    def port_at(self, address: str) -> str | None:
        return "port"


@pytest.fixture
def network() -> LoopbackNetwork:
    return LoopbackNetwork()


@pytest.fixture
async def guests(network: LoopbackNetwork, nursery: trio.Nursery) -> AsyncIterator[list[FindGuest]]:
    """Put a way to find the guest in front, to be used for the requests that follow."""
    ways: list[FindGuest] = [lambda _port_id: GUEST]
    metadata = Metadata(World(random=random.Random(1)), network, lambda port_id: ways[0](port_id))
    await nursery.start(metadata.run)
    yield ways


def test_a_port_that_only_says_so_is_not_the_servers() -> None:
    mine = PortWish("p1", "n", "victim", "fa:16:3e:00:00:01", "tap1", server_id=GUEST.server.id)
    forged = PortWish("p2", "n", "eve", "fa:16:3e:00:00:02", "tap2", server_id=GUEST.server.id)
    server = msgspec.structs.replace(GUEST.server, ports=[mine.id])
    mirror = Mirror()
    mirror.take(
        Feed(
            1,
            True,
            [
                Wish(Noun.PORT, mine.id, 1, msgspec.Raw(msgspec.json.encode(mine))),
                Wish(Noun.PORT, forged.id, 1, msgspec.Raw(msgspec.json.encode(forged))),
                Wish(Noun.SERVER, server.id, 1, msgspec.Raw(msgspec.json.encode(server))),
            ],
        )
    )
    found = guest_of(mirror, mine.id)
    assert found is not None and found.server == server and found.ports == [mine]
    assert guest_of(mirror, forged.id) is None


async def fetch(network: LoopbackNetwork, request: bytes = b"GET /latest/meta-data/hostname HTTP/1.0\r\n\r\n") -> bytes:
    with trio.fail_after(10):
        async with await trio.open_tcp_stream("127.0.0.1", network.port) as stream:
            await stream.send_all(request)
            return b"".join([part async for part in stream])


async def test_a_guest_that_resets_its_connection_ends_nothing(
    network: LoopbackNetwork, guests: list[FindGuest]
) -> None:
    for sent in (b"", b"GET / HTTP/1.0\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", network.port)) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.sendall(sent)
    assert b"web.novalocal" in await fetch(network)


async def test_a_request_that_is_no_http_is_400(network: LoopbackNetwork, guests: list[FindGuest]) -> None:
    assert (await fetch(network, b"\x16\x03\x01\x02\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert b"web.novalocal" in await fetch(network)


async def test_a_wish_that_cannot_be_read_is_500_for_its_guest_alone(
    network: LoopbackNetwork, guests: list[FindGuest]
) -> None:
    def fail(_port_id: str) -> Guest | None:
        raise Bug("The wish can't be read.")

    guests.insert(0, fail)
    assert (await fetch(network)).startswith(b"HTTP/1.1 500 ")
    guests.pop(0)
    assert b"web.novalocal" in await fetch(network)
