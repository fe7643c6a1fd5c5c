"""The metadata service, asked by guests over a real switch."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from ostro.agent.metadata import Metadata
from ostro.agent.metadata_pages import Guest
from ostro.model.wishes import KeyWish, PortWish, ServerWish
from ostro.runtime.beside import beside
from ostro.runtime.world import World
from ostro.testing.contracts.network import NET, group_wish, network_wish, port_wish, put
from ostro.testing.namespaces import NamespaceGuest, guest_on
from ostro.testing.openvswitch import TestOpenVSwitch

OTHER_NET = "11000000-0000-4000-8000-000000000002"
URL = "http://169.254.169.254"


def server_of(port: PortWish) -> ServerWish:
    """A server with this one port."""
    return ServerWish(
        id=f"66000000-0000-4000-8000-0000000000{port.network_id[-2:]}",
        name=f"server on {port.network_id[-2:]}",
        project_id="p",
        user_id="u",
        hostname=f"guest-{port.network_id[-2:]}",
        vcpus=1,
        ram_mb=128,
        disk_gb=1,
        ports=[port.id],
        user_data=base64.b64encode(f"#!/bin/sh\necho {port.network_id[-2:]}\n".encode()).decode(),
        keys=[KeyWish("mine", "ssh-ed25519 AAAA mine")],
        metadata={"role": "web"},
    )


def finder(*ports: PortWish) -> Callable[[str], Guest | None]:
    """Finds the servers of these ports."""
    guests = {port.id: Guest(server_of(port), [port], {NET: network_wish()}) for port in ports}
    return guests.get


@pytest.fixture
async def guests(openvswitch: TestOpenVSwitch, tmp_path: Path) -> AsyncIterator[list[NamespaceGuest]]:
    """Two guests of the same address on networks of their own, and a third whose server is not known."""
    one, twin, stray = port_wish(1), port_wish(1, OTHER_NET), port_wish(2)
    async with (
        openvswitch.open() as network,
        guest_on(one, tmp_path) as first,
        guest_on(twin, tmp_path) as second,
        guest_on(stray, tmp_path) as third,
    ):
        put(network, network_wish(), network_wish(OTHER_NET, "other", 102), group_wish(), one, twin, stray)
        for port in (one, twin, stray):
            await network.plug(port.id)
        await network.sync()
        metadata = Metadata(World(random=random.Random(1)), network, finder(one, twin))
        async with beside() as nursery:
            await nursery.start(metadata.run)
            for guest in (first, second, third):
                await guest.dhcp()
            yield [first, second, third]
        for port in (one, twin, stray):
            await network.unplug(port.id)


async def test_each_guest_reads_of_itself_alone(guests: list[NamespaceGuest]) -> None:
    first, second, third = guests
    for guest, name in ((first, "01"), (second, "02")):
        status, body = await guest.fetch(f"{URL}/openstack/latest/meta_data.json")
        document = json.loads(body)
        assert status == 200
        assert document["uuid"].endswith(name) and document["hostname"] == f"guest-{name}.novalocal"
        assert document["meta"] == {"role": "web"} and document["keys"][0]["name"] == "mine"
        assert await guest.fetch(f"{URL}/latest/user-data") == (200, f"#!/bin/sh\necho {name}\n")
    assert await first.fetch(f"{URL}/latest/meta-data/local-ipv4") == (200, "10.0.0.11")
    assert await third.fetch(f"{URL}/latest/meta-data/local-ipv4") == (404, "404 Not Found")


async def test_a_guest_cannot_ask_for_another(guests: list[NamespaceGuest]) -> None:
    first, _, third = guests
    await third.do("ip", "address", "add", "10.0.0.11/32", "dev", "lo")
    await third.do("ip", "route", "replace", "169.254.169.254", "via", "10.0.0.2", "dev", "eth0", "src", "10.0.0.11")
    with trio.fail_after(20):
        assert not await third.is_greeted("169.254.169.254", 80), "the guard drops its packets"
    status, body = await first.fetch(f"{URL}/latest/meta-data/hostname")
    assert (status, body) == (200, "guest-01.novalocal")


async def test_large_pages_and_many_requests(guests: list[NamespaceGuest]) -> None:
    first = guests[0]
    listing = (await first.fetch(f"{URL}/2009-04-04/meta-data/"))[1].splitlines()
    assert "instance-id" in listing and "public-keys/" in listing
    for name in listing:
        status, _ = await first.fetch(f"{URL}/2009-04-04/meta-data/{name}")
        assert status == 200, name
    assert (await first.fetch(f"{URL}/latest/meta-data/public-keys/0/openssh-key"))[1] == "ssh-ed25519 AAAA mine"
    network_data = json.loads((await first.fetch(f"{URL}/openstack/latest/network_data.json"))[1])
    assert network_data["links"][0]["mtu"] == 1450
    assert network_data["networks"][0]["type"] == "ipv4_dhcp"


async def test_metadata_survives_a_killed_switch(openvswitch: TestOpenVSwitch, guests: list[NamespaceGuest]) -> None:
    from ostro.agent.parts import openvswitch as parts

    async with parts.open_(World(), openvswitch.part):
        openvswitch.kill_switch()
        with trio.fail_after(30):
            while not await guests[0].reaches("10.0.0.2", count=1):
                pass
            while (await guests[0].fetch(f"{URL}/latest/meta-data/hostname"))[0] != 200:
                pass
