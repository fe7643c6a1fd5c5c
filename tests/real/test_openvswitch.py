"""Ostro's own Open vSwitch: started, adopted, shared, supervised, ended."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ostro.agent.drivers.network import Network
from ostro.agent.drivers.network import openvswitch as driver
from ostro.agent.drivers.network.openvswitch import OpenVSwitchConfig
from ostro.agent.parts.openvswitch import OpenVSwitch, OpenVSwitchPartConfig, OwnOpenVSwitch, is_used, open_, stop
from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.world import World


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ostro-ovs-"))
    yield path
    for root in path.glob("openvswitch-*"):
        trio.run(OwnOpenVSwitch(root).end)  # what a failed test has left running
    shutil.rmtree(path)


def config_of(base: Path, name: str) -> OpenVSwitchPartConfig:
    return OpenVSwitchPartConfig(base / name, allow_system=False, base=base)


def driver_config(config: OpenVSwitchPartConfig, switch: OpenVSwitch) -> OpenVSwitchConfig:
    return OpenVSwitchConfig(
        state_dir=config.state_dir,
        db_socket=switch.db_socket,
        run_dir=switch.run_dir,
        datapath_type="netdev",
        datapath_why="a test",
    )


def devices() -> set[str]:
    return set(os.listdir("/sys/class/net"))


async def test_it_is_shared_and_the_last_one_ends_it(base: Path) -> None:
    before = devices()
    one, two = config_of(base, "one"), config_of(base, "two")
    for config in (one, two):
        async with open_(World(), config) as switch:
            assert switch.own and switch.datapath_why
            assert ("was running already" in switch.why) == (config is two)
            async with driver.open_(World(), driver_config(config, switch)) as network:
                assert network.facts.version.count(".") == 2
    own = one.own
    pids = [own.pid(daemon) for daemon in own.daemons]
    assert all(pids), "it goes on when nobody has it open"
    assert len(own.users()) == 2 and is_used(one)

    for config in (one, two):
        async with open_(World(), config) as switch:
            await driver.remove(World(), driver_config(config, switch))
        await stop(config)
        await stop(config)
        assert not is_used(config)
        assert own.is_running() == (config is one)
    assert not own.root.exists()
    assert devices() == before


async def reach(network: Network) -> None:
    """Sync until the switch is there."""
    while True:
        try:
            await network.sync()
            return
        except Unavailable as error:
            await trio.sleep(error.retry_after_s / 100)


async def test_daemons_that_die_are_started_again(base: Path) -> None:
    config = config_of(base, "one")
    async with open_(World(), config) as switch, driver.open_(World(), driver_config(config, switch)) as network:
        for daemon in config.own.daemons:
            pid = config.own.pid(daemon)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            with trio.fail_after(20):
                while config.own.pid(daemon) in (None, pid):  # noqa: ASYNC110  # another process is awaited
                    await trio.sleep(0.02)
                await reach(network)
            assert await network.tables()
        await driver.remove(World(), driver_config(config, switch))
    await stop(config)


async def test_one_whose_user_has_vanished_can_be_ended(base: Path) -> None:
    one, two = config_of(base, "one"), config_of(base, "two")
    for config in (one, two):
        async with open_(World(), config):
            pass
    shutil.rmtree(one.state_dir)
    await stop(two)
    assert not two.own.root.exists()


async def test_a_path_too_long_is_refused(base: Path) -> None:
    with pytest.raises(Invalid):
        async with open_(World(), OpenVSwitchPartConfig(base / "one", allow_system=False, base=base / ("x" * 90))):
            pass
