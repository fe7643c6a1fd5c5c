"""The fake network driver against the contract, and how cheap it is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from ostro.agent.drivers.network import Network
from ostro.agent.drivers.network.fake import FakeConfig, open_
from ostro.model.wishes import RuleWish
from ostro.runtime.world import World
from ostro.testing.contracts.network import GROUP, NetworkContract, group_wish, network_wish, port_wish, put


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with open_(World(), FakeConfig()) as driver:
        yield driver


class TestFakeNetwork(NetworkContract):
    pass


async def test_a_port_costs_less_than_a_millisecond(network: Network) -> None:
    put(network, network_wish(), group_wish(RuleWish("r", "ingress", "IPv4", remote_group_id=GROUP)))
    await network.sync()
    ports = [port_wish(index) for index in range(200)]
    started_s = time.perf_counter()
    for port in ports:
        put(network, port)
        await network.plug(port.id)
        await network.sync()
    assert (time.perf_counter() - started_s) / len(ports) < 0.001
