"""Entry points of the host agent: `run` until cancelled, and `stop` all that it left running."""

from __future__ import annotations

import msgspec
import structlog
import trio

from ostro.agent import link as links
from ostro.agent.agent import Agent
from ostro.agent.config import AgentConfig
from ostro.agent.opening import open_drivers, open_hypervisor, stop_parts
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
    async with (
        open_drivers(world, config) as drivers,
        links.open_(config.url, config.agent_key, incarnation) as link,
    ):
        task_status.started()
        await Agent(world, config, link, drivers, incarnation).run()


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
        async with trio.open_nursery() as nursery:
            for domain in domains:
                if domain.power is not Power.OFF:
                    log.info("switching a server off", id=domain.server_id)
                    nursery.start_soon(hypervisor.stop, domain.server_id, 0.0)
        for domain in domains:
            if purge:
                await hypervisor.delete(domain.server_id)
                continue
            await hypervisor.note(domain.server_id, msgspec.structs.replace(domain.memo, boot_id=""))
    await stop_parts(world, config)
