"""Sweeps: slow loops that find what nobody wakes for.

Each sweep is a plain coroutine function that does one bounded round and returns; it runs once at the start and then every so often, and for some
whenever their topic rings. A sweep that fails is logged and runs again at its next turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from ostro.model.ids import new_uuid
from ostro.services.agents.asks import sweep_asks
from ostro.services.cloud import Cloud
from ostro.services.compute.resizing import confirm_late
from ostro.services.controllers import sweep_controllers
from ostro.services.image.uploads import free_deleted_images, sweep_images
from ostro.services.object.sweeps import sweep_objects, sweep_stray_chunks
from ostro.store.changes import forget_gone, mark_reached
from ostro.store.federation import forget_used_logins
from ostro.store.images import FREE_TOPIC
from ostro.store.kept_answers import forget_answers
from ostro.store.oauth1 import forget_expired
from ostro.store.servers import forget_tombstones
from ostro.store.tokens import sweep_revocations
from ostro.store.users import forget_failures

log = structlog.get_logger()

TRASH_MOST_S = 6 * 3600.0
TOMBSTONE_S = 86_400
"""How long a deleted server can still be looked up."""
TOMBSTONES_AT_ONCE = 200
GONE_S = 86_400
"""How long a watch may have been away and still be told what has gone meanwhile."""
CONFIRMS_AT_ONCE = 50
KEPT_S = 86_400
"""How long an Idempotency-Key is good."""
KEPT_AT_ONCE = 500
FAILURES_S = 3_600
"""How long wrong passwords in a row are counted together."""


@dataclass(frozen=True)
class Sweep:
    """One round of tidying, how often, and at the ring of which topic besides."""

    name: str
    run: Callable[[Cloud], Awaitable[None]]
    every_s: float
    topic: str = ""


async def forget_revocations(cloud: Cloud) -> None:
    """Revocations of tokens that have expired anyway."""
    await cloud.db.run(sweep_revocations, cloud.world.now_us())


async def forget_logins(cloud: Cloud) -> None:
    """Wrong passwords that lock nobody out any more, and what consumers and browsers did not bring to its end in time."""
    now_us = cloud.world.now_us()
    locked_us = max(cloud.tokens.compliance.lockout_duration, FAILURES_S) * 1_000_000
    await cloud.db.run(forget_failures, now_us - locked_us)
    await cloud.db.run(forget_expired, now_us)
    await cloud.db.run(forget_used_logins, now_us)


async def read_directories(cloud: Cloud) -> None:
    """Users and groups of LDAP servers: who is out there is out here within the minute."""
    await cloud.directories.refresh_all()


async def take_back_asks(cloud: Cloud) -> None:
    """Questions to hosts that nobody waits for any more."""
    await cloud.db.run(sweep_asks, cloud.world.now_us())


async def empty_trash(cloud: Cloud) -> None:
    """What deaths half-way through deletions have left in Ceph's trash."""
    if cloud.ceph is None:
        return
    # Only here, because the bindings need not be there without Ceph.
    from ostro.runtime.ceph import disks

    pools = cloud.ceph.config.pools
    for pool in dict.fromkeys((pools.images, pools.volumes)):
        await cloud.ceph.call(pool, disks.empty_trash, pool, deadline_s=TRASH_MOST_S)


async def forget_servers(cloud: Cloud) -> None:
    """Servers that were deleted a day ago or longer."""
    before_us = cloud.world.now_us() - TOMBSTONE_S * 1_000_000
    while await cloud.db.run(forget_tombstones, before_us, TOMBSTONES_AT_ONCE) == TOMBSTONES_AT_ONCE:
        pass


async def forget_kept_answers(cloud: Cloud) -> None:
    """Answers to requests that can't come again as the same ones."""
    before_us = cloud.world.now_us() - KEPT_S * 1_000_000
    while await cloud.db.run(forget_answers, before_us, KEPT_AT_ONCE) == KEPT_AT_ONCE:
        pass


async def forget_changes(cloud: Cloud) -> None:
    """What has been gone for a day: a watch that is so far behind starts again."""
    now_us = cloud.world.now_us()
    await cloud.db.run(mark_reached, now_us)
    await cloud.db.run(forget_gone, now_us - GONE_S * 1_000_000)


async def confirm_resizes(cloud: Cloud) -> None:
    """Resizes and cold migrations that nobody has confirmed or reverted in time."""
    window_us = int(cloud.config.resize_confirm_window_s * 1e6)
    if window_us:
        now_us = cloud.world.now_us()
        new_id = partial(new_uuid, cloud.world.random)
        await cloud.db.run(confirm_late, cloud.placement, new_id, now_us - window_us, now_us, CONFIRMS_AT_ONCE)


SWEEPS: tuple[Sweep, ...] = (
    Sweep("revocations", forget_revocations, 3600.0),
    Sweep("logins", forget_logins, 600.0),
    Sweep("directories", read_directories, 60.0),
    Sweep("asks", take_back_asks, 60.0),
    Sweep("tombstones", forget_servers, 600.0),
    Sweep("kept answers", forget_kept_answers, 600.0),
    Sweep("changes", forget_changes, 3600.0),
    Sweep("resizes", confirm_resizes, 60.0),
    Sweep("controllers", sweep_controllers, 600.0),
    Sweep("images", sweep_images, 60.0),
    Sweep("deleted images", free_deleted_images, 60.0, FREE_TOPIC),
    Sweep("trash", empty_trash, 600.0),
    Sweep("objects", sweep_objects, 5.0),
    Sweep("stray chunks", sweep_stray_chunks, 6 * 3600.0),
)


async def run_sweeps(cloud: Cloud) -> None:
    """Run every sweep in its rhythm until cancelled."""
    async with trio.open_nursery() as nursery:
        for sweep in SWEEPS:
            nursery.start_soon(_repeat, cloud, sweep)


async def _repeat(cloud: Cloud, sweep: Sweep) -> None:
    loop = cloud.world.metrics.loop(f"sweep: {sweep.name}")
    with cloud.db.doorbell.listen(*filter(None, (sweep.topic,))) as bell:
        while True:
            try:
                with loop.run():
                    await sweep.run(cloud)
            except Exception:
                log.exception("sweep failed", sweep=sweep.name)
            await bell.wait(sweep.every_s)
