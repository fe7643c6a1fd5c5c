"""Entry points of the host agent: `run` until cancelled, and `stop` all that it left running."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import msgspec
import structlog
import trio

from ostro.agent import link as links
from ostro.agent.agent import Agent
from ostro.agent.config import AgentConfig
from ostro.agent.drivers.hypervisor import Hypervisor
from ostro.agent.identity import Identity, keep_renewed
from ostro.agent.opening import SERVERS_AT_ONCE, open_drivers, open_hypervisor, show_new_certificate, stop_parts
from ostro.model.errors import OstroError, Unavailable
from ostro.model.ids import new_uuid
from ostro.model.wishes import Power
from ostro.runtime.world import World

log = structlog.get_logger()


async def run(
    world: World, config: AgentConfig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Be this host's agent until cancelled; servers and their network then go on. Started once the drivers are open.

    Raises:
        Unavailable: a driver can't be opened; the message says what is missing.
        Conflict: the control plane turned into another cloud's.
    """
    incarnation = new_uuid(world.random)
    identity = Identity(config.state_dir, config.name)
    if identity.is_there and config.migrate_address:
        if identity.lay_out():
            config = dataclasses.replace(config, pki=identity.pki)
        else:
            log.warning(
                "servers move without encryption until this host's certificate has been renewed and the agent started again"
            )
    how = links.LinkConfig(config.urls, incarnation, config.agent_key)
    if not config.agent_key:
        how = dataclasses.replace(how, tls=identity.context)
    async with (
        open_drivers(world, config) as drivers,
        links.open_(world, how) as link,
        trio.open_nursery() as nursery,
    ):
        if identity.is_there:
            renewed = partial(show_new_certificate, config, drivers.hypervisor)
            nursery.start_soon(keep_renewed, world, identity, link.renew, renewed)
        task_status.started()
        await Agent(world, config, link, drivers, incarnation, identity).run()


async def switch_off(hypervisor: Hypervisor, server_ids: Sequence[str]) -> None:
    """Switch servers off, a few at a time: a call that waits for its turn comes nearer to its deadline, too.

    Raises:
        Unavailable: one or more don't end; the others are off nevertheless.
    """
    waiting, failed = list(server_ids), list[OstroError]()

    async def work() -> None:
        while waiting:
            server_id = waiting.pop()
            log.info("switching a server off", id=server_id)
            try:
                await hypervisor.stop(server_id, 0.0)
            except OstroError as error:
                log.error("a server could not be switched off", id=server_id, reason=error.message)
                failed.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(SERVERS_AT_ONCE):
            nursery.start_soon(work)
    if failed:
        raise Unavailable(f"{len(failed)} servers could not be switched off: {failed[0].message}") from failed[0]


async def stop(world: World, config: AgentConfig, cloud_id: str, purge: bool = False) -> None:
    """Switch off every server of this cloud on this host, and end the private daemons. No agent may be running.

    Servers stay defined and have lost their memory of this boot, so the next agent starts those that are wished on. With
    ``purge`` they are deleted instead; their disks are files below the state directory, which is the caller's to delete.

    Raises:
        Unavailable: something doesn't end.
    """
    async with open_hypervisor(world, config) as hypervisor:
        hypervisor.watch(cloud_id, lambda _server_id: None)
        domains = await hypervisor.domains()
        await switch_off(hypervisor, [domain.server_id for domain in domains if domain.power is not Power.OFF])
        for domain in domains:
            if purge:
                await hypervisor.delete(domain.server_id)
                continue
            await hypervisor.note(domain.server_id, msgspec.structs.replace(domain.memo, boot_id=""))
    await stop_parts(world, config)
