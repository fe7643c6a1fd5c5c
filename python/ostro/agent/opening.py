"""Opens the drivers of a host, and starts or finds the daemons that they need."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from ostro.agent.config import AgentConfig
from ostro.agent.drivers.block import Block
from ostro.agent.drivers.block import fake as fake_block
from ostro.agent.drivers.block import local as local_block
from ostro.agent.drivers.hypervisor import Hypervisor
from ostro.agent.drivers.hypervisor import fake as fake_hypervisor
from ostro.agent.drivers.hypervisor.kvm import choose_acceleration
from ostro.agent.drivers.network import Network
from ostro.agent.drivers.network import fake as fake_network
from ostro.agent.drivers.network import openvswitch as openvswitch_network
from ostro.agent.parts import libvirtd, openvswitch
from ostro.model.errors import Unavailable
from ostro.model.volumes import CEPH, LOCAL
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

if TYPE_CHECKING:
    from ostro.agent.drivers.hypervisor import libvirt

log = structlog.get_logger()

SERVERS_AT_ONCE = 8
"""Starting a domain is mostly waiting, 0.3 s of it; this is also the number of libvirt's workers."""

FAKE_SERVERS_AT_ONCE = 64
LOOK_AGAIN_S = 10.0


@dataclass(frozen=True)
class Drivers:
    """The opened drivers of a host. ``server_width`` is how many servers are worked on at once."""

    hypervisor: Hypervisor
    network: Network
    block: Block
    server_width: int


@asynccontextmanager
async def open_drivers(world: World, config: AgentConfig) -> AsyncIterator[Drivers]:
    """All drivers that the configuration chooses. On leaving, what they run goes on.

    Raises:
        Unavailable: one can't be opened; the message says what is missing.
    """
    async with AsyncExitStack() as stack:
        hypervisor = await stack.enter_async_context(open_hypervisor(world, config))
        network = await stack.enter_async_context(open_network(world, config))
        block = await stack.enter_async_context(open_block(world, config))
        log.info(
            "drivers are open",
            hypervisor=hypervisor.facts.hypervisor_type,
            acceleration=hypervisor.facts.acceleration,
            acceleration_why=hypervisor.facts.why,
            network=network.facts.driver,
            datapath=network.facts.datapath,
            datapath_why=network.facts.datapath_why,
            storage=block.facts.why,
        )
        width = FAKE_SERVERS_AT_ONCE if config.hypervisor == "fake" else SERVERS_AT_ONCE
        yield Drivers(hypervisor, network, block, width)


@asynccontextmanager
async def open_hypervisor(world: World, config: AgentConfig) -> AsyncIterator[Hypervisor]:
    """The hypervisor driver alone, with its daemon."""
    if config.hypervisor == "fake":
        async with fake_hypervisor.open_(world, fake_hypervisor.FakeConfig(config.state_dir)) as fake:
            yield fake
        return
    # Only here, because the bindings need not be there where the fake is used.
    from ostro.agent.drivers.hypervisor import libvirt

    choice = await choose_acceleration(config.state_dir)
    async with libvirtd.open_(world, _libvirtd_config(config, choice.acceleration == "kvm")) as daemon:
        log.info("libvirt", uri=daemon.uri, why=daemon.why)
        secret = await _ceph_secret(world, config)
        async with libvirt.open_(
            world,
            libvirt.LibvirtConfig(
                daemon.uri, choice, config.state_dir, secret=secret, listen=_listen(config) if daemon.private else None
            ),
        ) as driver:
            yield driver


async def _ceph_secret(world: World, config: AgentConfig) -> libvirt.Secret | None:
    """The key of the hosts' user of Ceph, for libvirt to hand to QEMU."""
    if config.ceph is None:
        return None
    from ostro.agent.drivers.hypervisor import libvirt
    from ostro.runtime.ceph.guests import find_key, secret_id

    key = await world.threads.run(Pool("Ceph's key", 1), find_key, config.ceph)
    return libvirt.Secret(secret_id(config.ceph), config.ceph.entity, base64.b64decode(key))


@asynccontextmanager
async def open_block(world: World, config: AgentConfig) -> AsyncIterator[Block]:
    """The block driver alone: files, and Ceph beside them if that is configured."""
    if config.hypervisor == "fake":
        backends = (CEPH, LOCAL) if config.ceph else (LOCAL,)
        async with fake_block.open_(world, fake_block.FakeConfig(backends=backends)) as fake:
            yield fake
        return
    files = local_block.LocalConfig(config.state_dir)
    if config.ceph is None:
        async with local_block.open_(world, files) as local:
            yield local
        return
    # Only here, because the bindings need not be there without Ceph.
    from ostro.agent.drivers.block import rbd_host, several

    both = several.SeveralConfig(files, rbd_host.RbdConfig(config.ceph, config.name, config.state_dir))
    async with several.open_(world, both) as driver:
        yield driver


@asynccontextmanager
async def open_network(world: World, config: AgentConfig) -> AsyncIterator[Network]:
    """The network driver alone, with its daemons."""
    if config.hypervisor == "fake":
        async with fake_network.open_(world, fake_network.FakeConfig()) as fake:
            yield fake
        return
    async with openvswitch.open_(world, _openvswitch_config(config)) as switch:
        log.info("Open vSwitch", run_dir=str(switch.run_dir), why=switch.why)
        async with openvswitch_network.open_(world, _network_config(config, switch)) as driver:
            yield driver


async def show_new_certificate(config: AgentConfig, hypervisor: Hypervisor) -> None:
    """The host's certificate is a new one: have it shown to other hosts, once no guest is on its way."""
    if config.hypervisor == "fake" or config.pki is None:
        return
    while await _is_sending(hypervisor):  # noqa: ASYNC110 - another process may be sending
        await trio.sleep(LOOK_AGAIN_S)
    await libvirtd.restart_to_show_certificates(_libvirtd_config(config, use_kvm=False))


async def _is_sending(hypervisor: Hypervisor) -> bool:
    """Whether a guest is on its way, or may be."""
    try:
        return any(domain.moving for domain in await hypervisor.domains())
    except Unavailable:
        return True


async def stop_parts(world: World, config: AgentConfig) -> None:
    """Take this host's network down, and end the private daemons, if there are any."""
    part = _openvswitch_config(config)
    if openvswitch.is_used(part):
        # Even if it doesn't run: what it has left on this host is known to its database.
        async with openvswitch.open_(world, part) as switch:
            await openvswitch_network.remove(world, _network_config(config, switch))
        await openvswitch.stop(part)
    await libvirtd.stop(_libvirtd_config(config, use_kvm=False))


def _openvswitch_config(config: AgentConfig) -> openvswitch.OpenVSwitchPartConfig:
    return openvswitch.OpenVSwitchPartConfig(config.state_dir, config.use_system_parts)


def _network_config(config: AgentConfig, switch: openvswitch.OpenVSwitch) -> openvswitch_network.OpenVSwitchConfig:
    return openvswitch_network.OpenVSwitchConfig(
        state_dir=config.state_dir,
        db_socket=switch.db_socket,
        run_dir=switch.run_dir,
        datapath_type=switch.datapath_type,
        datapath_why=switch.datapath_why,
        physical=config.physical,
    )


def _libvirtd_config(config: AgentConfig, use_kvm: bool) -> libvirtd.LibvirtdConfig:
    listening = None
    if config.migrate_address:
        listening = libvirtd.Listening(config.migrate_address, config.migrate_port, config.name, config.pki)
    return libvirtd.LibvirtdConfig(config.state_dir, use_kvm, config.use_system_parts, listening=listening)


def _listen(config: AgentConfig) -> libvirt.Listen | None:
    from ostro.agent.drivers.hypervisor import libvirt

    if not config.migrate_address:
        return None
    names = _libvirtd_config(config, use_kvm=False).names
    return libvirt.Listen(config.migrate_address, config.migrate_port, config.pki, config.name, names)
