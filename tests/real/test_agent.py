"""The real agent with real servers: libvirt, files, the tiny guest; only the control plane and the network are simulated."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ostro.agent.agent import Agent
from ostro.agent.config import AgentConfig
from ostro.agent.drivers.block import local
from ostro.agent.drivers.hypervisor import libvirt
from ostro.agent.opening import Drivers
from ostro.agent.parts import libvirtd as parts
from ostro.model.wishes import AskWish, AttachmentWish, Noun, Phase, Power, Report, ServerWish, VolumeWish
from ostro.runtime.world import World
from ostro.testing.control import MemoryControl
from ostro.testing.libvirt import GUEST_WAIT_S, TestLibvirtd, console_says
from ostro.testing.network import MemoryNetwork

SERVER = "a9e00000-0000-4000-8000-000000000001"
IMAGE = "a9e00000-0000-4000-8000-000000000002"
VOLUME = "a9e00000-0000-4000-8000-000000000003"
ATTACHED = [AttachmentWish("attachment", VOLUME, "vdb")]


class RealHost:
    """Starts agents on one host, against one control plane in memory."""

    def __init__(self, libvirtd: TestLibvirtd, state_dir: Path) -> None:
        self.control = MemoryControl(cloud_id="real-agent")
        self.libvirtd = libvirtd
        self.state_dir = state_dir

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[libvirt.LibvirtHypervisor]:
        """An agent, until the block ends; yields its hypervisor."""
        world = World(random=random.Random(1))
        config = AgentConfig((), "key", self.state_dir, name="real")
        async with (
            parts.open_(world, self.libvirtd.config),
            libvirt.open_(world, self.libvirtd.driver(self.state_dir)) as hypervisor,
            local.open_(world, local.LocalConfig(self.state_dir)) as block,
            trio.open_nursery() as nursery,
        ):
            agent = Agent(world, config, self.control, Drivers(hypervisor, MemoryNetwork(), block, 4), "incarnation")
            nursery.start_soon(agent.run)
            yield hypervisor
            nursery.cancel_scope.cancel()

    def wish(self, power: Power = Power.ON, **more: object) -> int:
        """Wish for the server; its generation."""
        fields = {"image_id": IMAGE, "power": power, **more}
        wish = ServerWish(SERVER, "web", "project", "user", "web", 1, 96, 1, **fields)  # type: ignore[arg-type]
        return self.control.wish(Noun.SERVER, SERVER, wish)

    async def reported(self, phase: Phase = Phase.READY, generation: int | None = None) -> Report:
        """Wait for a report of the server."""
        with trio.fail_after(GUEST_WAIT_S):
            return await self.control.reported(Noun.SERVER, SERVER, phase, generation)

    async def power_reported(self, power: Power) -> None:
        """Wait for the server's power to be reported."""
        with trio.fail_after(GUEST_WAIT_S):
            while self.control.now(Noun.SERVER, SERVER).power is not power:
                await self.control.next_report()


@pytest.fixture
def tiny(tiny_image: Path) -> bytes:
    return tiny_image.read_bytes()


@pytest.fixture
async def host(libvirtd: TestLibvirtd, tmp_path: Path, tiny: bytes) -> AsyncIterator[RealHost]:
    real = RealHost(libvirtd, tmp_path)
    image = real.control.keep_image(IMAGE, tiny, "qcow2")
    real.control.wish(Noun.IMAGE, IMAGE, image)
    yield real
    async with libvirt.open_(World(), libvirtd.driver(tmp_path)) as hypervisor:
        hypervisor.watch("real-agent", lambda _id: None)
        for domain in await hypervisor.domains():
            await hypervisor.delete(domain.server_id)


async def test_the_life_of_a_server(host: RealHost) -> None:
    control = host.control
    async with host.agent() as hypervisor:
        host.wish()
        assert (await host.reported()).power is Power.ON
        await console_says(hypervisor, SERVER, "guest: ready")

        control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 1))
        host.wish(attachments=ATTACHED)
        assert (await host.reported()).attached == [VOLUME]
        await console_says(hypervisor, SERVER, "guest: disk vdb size_bytes=1073741824")
        control.wish(Noun.VOLUME, VOLUME, VolumeWish(VOLUME, 2))
        assert (await control.reported(Noun.VOLUME, VOLUME, Phase.READY)).size_gb == 2
        await console_says(hypervisor, SERVER, "guest: disk vdb resized size_bytes=2147483648")
        host.wish()
        assert (await host.reported()).attached == []

        host.wish(reboots=1)
        assert (await host.reported()).reboots == 1
        said = await console_says(hypervisor, SERVER, "guest: ready", times=2)
        assert "guest: power button" in said

        control.wish(Noun.ASK, "ask", AskWish("ask", "console_log", SERVER, -1))
        assert "guest: ready" in (await control.reported(Noun.ASK, "ask", Phase.READY)).answer

        gone = control.wish_absence(Noun.SERVER, SERVER)
        await host.reported(Phase.ABSENT, gone)
        volume = control.wish_absence(Noun.VOLUME, VOLUME)
        await control.reported(Noun.VOLUME, VOLUME, Phase.ABSENT, volume)
        assert await hypervisor.domains() == []
    left = {path.name for path in host.state_dir.rglob("*") if path.is_file()}
    assert left == {f"{IMAGE}.qcow2", "fence.json", "host.json"}


async def test_what_happens_while_no_agent_runs_is_found_by_the_next(host: RealHost) -> None:
    async with host.agent():
        host.wish(image_id="")
        await host.reported()
    guest = host.libvirtd.guest_pid(SERVER)
    async with host.agent():
        await host.control.next_report()
        assert host.libvirtd.guest_pid(SERVER) == guest
    os.kill(guest, signal.SIGKILL)
    async with host.agent():
        await host.power_reported(Power.CRASHED)
        host.wish(image_id="", metadata={"again": "please"})
        assert (await host.reported()).power is Power.ON
        os.kill(host.libvirtd.guest_pid(SERVER), signal.SIGKILL)
        await host.power_reported(Power.CRASHED)


async def test_a_killed_libvirtd_costs_neither_servers_nor_reports(host: RealHost) -> None:
    async with host.agent():
        host.wish(image_id="")
        await host.reported()
        guest = host.libvirtd.guest_pid(SERVER)
        os.kill(host.libvirtd.pid, signal.SIGKILL)
        host.wish(image_id="", metadata={"while": "away"})
        assert (await host.reported()).power is Power.ON
        assert host.libvirtd.guest_pid(SERVER) == guest
