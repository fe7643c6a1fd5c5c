"""The host agent: makes this host as the control plane wishes it, and tells what it found.

It registers, mirrors the change feed in memory, and has a *keeper* per noun (`ostro.agent.host.Keeper`) that compares wishes with
the host and acts. Nothing is decided from what changed: a change of the feed, an event of the hypervisor and the periodic
inspection merely wake keepers. Starting again therefore needs no memory of the past and disturbs nothing that is as wished.

What bears this cloud's tag and is wished by nobody is removed, once a full feed has come; but only if the control plane knows the host
by the same id as ever. A host under a new id gets an empty feed, and that must not cost anybody a server.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from ostro.agent.asks import Asks
from ostro.agent.config import AgentConfig
from ostro.agent.fence import Fence
from ostro.agent.host import Host, Keeper
from ostro.agent.identity import Identity
from ostro.agent.images import Images
from ostro.agent.link import Link
from ostro.agent.metadata import Metadata, guest_of
from ostro.agent.mirror import Key, Mirror
from ostro.agent.opening import Drivers
from ostro.agent.ports import Ports
from ostro.agent.reports import Reports
from ostro.agent.servers import Servers
from ostro.agent.snapshots import Snapshots
from ostro.agent.transfer import DiskServer
from ostro.agent.uploads import Uploads
from ostro.agent.volumes import Volumes
from ostro.model.errors import Conflict, NotFound, OstroError, Unauthenticated, Unavailable
from ostro.model.registration import Inventory, Registered, Registration
from ostro.model.volumes import storage_trait
from ostro.model.wishes import Feed, Noun, Phase, Report
from ostro.runtime.backoff import Backoff
from ostro.runtime.doorbell import Bell
from ostro.runtime.world import World

T = TypeVar("T")

log = structlog.get_logger()

INSPECT_EVERY_S = 60.0
FULL_FEED_EVERY_S = 900.0
KNOWN_FOR_S = 60.0
"""An agent that was known for so long registers again without much delay."""
SETTLE_AGAIN_S = 1.0
GATHER_S = 0.01
"""After a change the next poll waits this long: a busy control plane then answers one poll with many changes."""


class Agent:
    """One host's agent. See the module's docstring."""

    def __init__(
        self,
        world: World,
        config: AgentConfig,
        link: Link,
        drivers: Drivers,
        incarnation: str,
        identity: Identity | None = None,
    ) -> None:
        self._world = world
        self._config = config
        self._link = link
        self._incarnation = incarnation
        self._drivers = drivers
        self._cloud_id = ""
        self._inspect = Bell()
        mirror = Mirror()
        identity = identity or Identity(config.state_dir, config.name)
        self.fence = Fence(world, config.state_dir, drivers.hypervisor, mirror)
        self.host = Host(
            world,
            link,
            drivers.hypervisor,
            drivers.network,
            drivers.block,
            mirror,
            Reports(world),
            self._wake,
            self.fence,
            DiskServer(world, config.state_dir, config.migrate_address, config.migrate_port + 1, identity),
            identity,
        )
        self.keepers: Sequence[Keeper] = (
            Images(self.host),
            Volumes(self.host),
            Snapshots(self.host),
            Uploads(self.host),
            Ports(self.host),
            Servers(self.host, drivers.server_width),
            Asks(self.host),
        )
        self._feed = world.metrics.loop("feed")
        self._inspections = world.metrics.loop("inspection")
        self._keeper_of = {noun: keeper for keeper in self.keepers for noun in keeper.nouns}

    async def run(self) -> None:
        """Register, follow the feed and keep the host as wished, until cancelled."""
        metadata = Metadata(self._world, self._drivers.network, partial(guest_of, self.host.mirror))
        known = _read_identity(self._config.state_dir / "host.json")
        if known is not None:
            # What must stand still does so before anybody answers.
            self._drivers.hypervisor.watch(known.cloud_id, self._domain_changed)
        async with trio.open_nursery() as nursery:
            await nursery.start(metadata.run)
            nursery.start_soon(self.fence.run)
            for keeper in self.keepers:
                nursery.start_soon(keeper.run)
            nursery.start_soon(self._inspect_often)
            backoff, failures = Backoff(first_s=0.5, most_s=15.0), 0
            while True:
                registered = await self._register()
                since_s = trio.current_time()
                await self._follow(registered)
                failures = failures + 1 if trio.current_time() - since_s < KNOWN_FOR_S else 1
                # Another agent of the same name may be why: two that took over from each other at once would never rest.
                delay_s = backoff.delay_s(failures, self._world.random)
                log.warning("the control plane does not know this agent any more", retry_s=round(delay_s, 1))
                await trio.sleep(delay_s)

    def _wake(self, keys: Iterable[Key]) -> None:
        """Have objects looked at by their keepers. Before a full feed was settled nothing is: all would seem unwished, or still ours."""
        if not self.fence.settled:
            return
        shares: dict[Keeper, list[Key]] = {}
        for key in keys:
            shares.setdefault(self._keeper_of[key[0]], []).append(key)
        for keeper, share in shares.items():
            keeper.wake(share)

    def _domain_changed(self, server_id: str) -> None:
        if server_id:
            self._wake([(Noun.SERVER, server_id)])
        else:
            self._inspect.ring()

    async def _inspect_often(self) -> None:
        """Look at the whole host now and then, and when asked to."""
        while True:
            await self._inspect.wait(INSPECT_EVERY_S)
            if not self.fence.settled:
                continue
            for keeper in self.keepers:
                try:
                    with self._inspections.run():
                        await keeper.inspect()
                except OstroError as error:
                    log.warning("inspection failed", keeper=type(keeper).__name__, reason=error.message)

    async def _register(self) -> Registered:
        """Register, trying until it is done."""
        hypervisor, network, block = (
            self._drivers.hypervisor.facts,
            self._drivers.network.facts,
            self._drivers.block.facts,
        )
        inventory = Inventory(
            vcpus=hypervisor.vcpus,
            ram_mb=hypervisor.ram_mb,
            disk_gb=block.disk_gb,
            hypervisor_type=hypervisor.hypervisor_type,
            hypervisor_version=hypervisor.hypervisor_version,
            cpu_info=hypervisor.cpu_info,
            traits=[*hypervisor.traits, *(storage_trait(kind) for kind in block.backends)],
        )
        while True:
            fence = self.fence
            registration = Registration(
                self._config.name, self._incarnation, network.tunnel_ip, inventory, fence.epoch, fence.fence_s
            )
            registered = await self._persist("registering", partial(self._link.register, registration))
            self._adopt(registered)
            # What it goes by now must be known there, too, before it counts.
            if (registration.epoch or 1, registration.fence_s) == (registered.epoch or 1, registered.fence_s):
                break
        log.info("registered", host=self._config.name, host_id=registered.host_id, cloud_id=registered.cloud_id)
        return registered

    def _adopt(self, registered: Registered) -> None:
        """Take on the cloud's and the host's ids."""
        if not self._cloud_id:
            self._cloud_id = registered.cloud_id
            self._drivers.hypervisor.watch(registered.cloud_id, self._domain_changed)
        if self._cloud_id != registered.cloud_id:
            raise Conflict(f"The control plane was cloud {self._cloud_id} and is now {registered.cloud_id}.")
        self.fence.adopt(registered)
        path = self._config.state_dir / "host.json"
        known = _read_identity(path)
        if known is None:
            _write_identity(path, registered)
        self.host.orphans_may_go = known is None or known.host_id == registered.host_id
        if not self.host.orphans_may_go:
            log.warning(
                "this host has another id than before: nothing that is unwished will be removed", path=str(path)
            )

    async def _follow(self, registered: Registered) -> None:
        """Read the feed and send reports until the control plane doesn't know the host any more."""
        async with trio.open_nursery() as nursery:

            async def until_unknown(work: Callable[[Registered], Awaitable[None]]) -> None:
                try:
                    await work(registered)
                except NotFound:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(until_unknown, self._send_reports)
            nursery.start_soon(until_unknown, self._read_feed)

    async def _send_reports(self, registered: Registered) -> None:
        async def send(batch: Sequence[Report]) -> None:
            sent_s = trio.current_time()
            await self._link.report(registered.host_id, batch)
            self.fence.contact(sent_s)
            for report in batch:
                if report.phase is Phase.ABSENT:
                    self.host.mirror.forget(report.noun, report.id, report.generation)

        self.host.reports.send_all_again()
        await self.host.reports.run(send)

    async def _read_feed(self, registered: Registered) -> None:
        wait_s = poll_wait_s(registered)
        full_at_s = trio.current_time()
        while True:
            full = trio.current_time() >= full_at_s or not self.fence.settled
            since = 0 if full else self.host.mirror.revision
            read = partial(self._link.read_wishes, registered.host_id, since, wait_s)
            with self._feed.run():
                feed = await self._persist("reading the feed", read)
            if feed.full:
                full_at_s = trio.current_time() + FULL_FEED_EVERY_S
            news = self._take(feed)
            if feed.full and not self.fence.settled:
                if await self.fence.settle(self.host.orphans_may_go):
                    self._wake_all()
                else:
                    await trio.sleep(SETTLE_AGAIN_S)
            elif news:
                await trio.sleep(GATHER_S)

    def _take(self, feed: Feed) -> bool:
        """Take in an answer of the feed and wake what it concerns. Returns whether it said anything new."""
        # In an order that no hash decides: simulations are repeated exactly.
        changed = sorted(self.host.mirror.take(feed))
        for key in changed:
            held = self.host.mirror.find(*key)
            if held is not None:
                asked_by = held.wish.request_id
                log.debug("wished", noun=key[0], id=key[1], generation=held.generation, request_id=asked_by)
            else:
                self.host.reports.forget(*key)
        self._wake(changed)
        if feed.full and self.fence.settled:
            self._look_at_all()
        return bool(changed)

    def _wake_all(self) -> None:
        self._wake([(noun, id_) for noun in self._keeper_of for id_ in self.host.mirror.ids(noun)])
        self._look_at_all()

    def _look_at_all(self) -> None:
        """After a full feed, even an empty one: what it doesn't name may be on this host."""
        self._keeper_of[Noun.PORT].wake([])
        self._inspect.ring()

    async def _persist(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds. The control plane may be away for long, and nothing here ends for it."""
        backoff = Backoff(first_s=0.2, most_s=10.0)
        failures = 0
        while True:
            try:
                sent_s = trio.current_time()
                answer = await call()
                self.fence.contact(sent_s)
                return answer
            except (Unavailable, Unauthenticated) as error:
                failures += 1
                self._feed.errors += 1
                delay_s = backoff.delay_s(failures, self._world.random)
                log.warning(f"{what} failed", reason=error.message, detail=error.detail, retry_s=round(delay_s, 1))
                await trio.sleep(delay_s)


def poll_wait_s(registered: Registered) -> int:
    """How long the control plane may hold a poll, so that the next sign of life is well within the lease, and the next contact within the
    fence: a contact counts from when its request was sent, so there may be two polls between one contact and the news of the next."""
    most_s = registered.lease_s / 3
    if registered.fence_s:
        most_s = min(most_s, registered.fence_s / 4)
    return max(1, int(most_s))


def _read_identity(path: Path) -> Registered | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Registered)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{path} is damaged. If this host belongs to this cloud, delete the file.") from error


def _write_identity(path: Path, registered: Registered) -> None:
    """Whole or not at all, whatever happens to the machine."""
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(registered))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
